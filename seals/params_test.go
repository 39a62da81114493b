package seals

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func envOf(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

func TestParamsPrecedence(t *testing.T) {
	t.Parallel()
	env := map[string]string{"B_LABEL": "from b", "A_EMPTY": "", "B_TOKEN": "by its other name"}
	c := Config{Name: "s", Type: "t", Getenv: envOf(env), Params: map[string]string{
		"label": "from stanza", "empty": "from stanza", "module": "alias", "token_label": "from stanza", "name": "s"}}
	p := NewParams(c, "A_", "B_")
	for name, want := range map[string]string{"label": "from b", "empty": "from stanza", "missing": ""} {
		if got := p.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := p.Get("lib", "module"); got != "alias" {
		t.Errorf("lib is %q", got)
	}
	if got := p.Get("token_label", "token"); got != "by its other name" {
		t.Errorf("token_label is %q", got)
	}
	if err := p.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
	env["A_LABEL"] = "from a"
	if got := p.Get("label"); got != "from a" {
		t.Errorf("label is %q", got)
	}
}

func TestParamsCheckSuggestsNames(t *testing.T) {
	t.Parallel()
	c := Config{Name: "hsm", Type: "pkcs11", Params: map[string]string{
		"token_lable": "x", "qqqqqqqqqqqqqqqqqq": "y", "lib": "1", "module": "2", "prioriti": "1"}}
	p := NewParams(c)
	p.Get("lib", "module")
	p.Get("token_label")
	err := p.Check()
	if ClassOf(err) != Misconfigured {
		t.Fatalf("Check: %v", err)
	}
	for _, want := range []string{
		`"token_lable"; did you mean "token_label"?`, `"prioriti"; did you mean "priority"?`,
		`"lib" and "module" name the same parameter`, "the parameters of a pkcs11 seal are: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), `"qqqqqqqqqqqqqqqqqq"; did`) {
		t.Errorf("a name that resembles none got a suggestion: %v", err)
	}
}

func TestResolveSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + path
	}
	full := strings.Repeat("x", maxSecretFile)
	getenv := envOf(map[string]string{"PIN": "1234", "LOOP": "env://PIN"})
	for _, c := range []struct{ value, want, raw string }{
		{"1234", "1234", "1234"},
		{"env://PIN", "1234", "1234"},
		{"env://LOOP", "env://PIN", "env://PIN"},
		{file("pin", "12 34\r\n\n"), "12 34", "12 34\r\n\n"},
		{file("env", "env://PIN"), "env://PIN", "env://PIN"},
		{file("full", full), full, full},
	} {
		if got, err := ResolveSecret(c.value, getenv); err != nil || string(got.Expose()) != c.want {
			t.Errorf("%q gives %q, %v", c.value, got.Expose(), err)
		}
		if got, err := ResolveRaw(c.value, getenv); err != nil || string(got.Expose()) != c.raw {
			t.Errorf("%q gives %q raw, %v", c.value, got.Expose(), err)
		}
	}
	for _, bad := range []string{
		"env://NONE", "env://", "file://" + dir, "file://" + dir + "/none", "file:///dev/zero",
		file("empty", ""), file("large", strings.Repeat("x", maxSecretFile+1)),
	} {
		if s, err := ResolveSecret(bad, getenv); !errors.Is(err, ErrNoSecret) || s != nil {
			t.Errorf("%q: %v", bad, err)
		}
		if s, err := ResolveRaw(bad, nil); !errors.Is(err, ErrNoSecret) || s != nil {
			t.Errorf("%q raw: %v", bad, err)
		}
	}
	if _, err := ResolveSecret(file("newlines", "\n\n"), nil); !errors.Is(err, ErrNoSecret) {
		t.Errorf("a file of newlines: %v", err)
	}
}

func TestParamsSecretNamesTheParameter(t *testing.T) {
	t.Parallel()
	c := Config{Name: "hsm", Type: "pkcs11", Params: map[string]string{"pin": "env://NOT_SET"}}
	p := NewParams(c)
	if _, err := p.Secret("pin"); !errors.Is(err, ErrNoSecret) ||
		!strings.Contains(err.Error(), `parameter "pin" of seal "hsm"`) {
		t.Errorf("Secret: %v", err)
	}
	if s, err := p.Secret("other"); s != nil || err != nil {
		t.Errorf("a parameter that is not set: %v, %v", s, err)
	}
	if s, err := p.Raw("other"); s != nil || err != nil {
		t.Errorf("a parameter that is not set: %v, %v", s, err)
	}
}
