package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// hostile has what a terminal obeys: a colour, the 8-bit form of an escape, a change of the
// direction of text, a carriage return and a deletion.
const hostile = "a\x1b[31m\u009b1m\u202eb\rc\x7f\nd\te"

// TestTerminalObeysNoServer: what others have written into a secret, an error or a list is shown,
// and moves no cursor.
func TestTerminalObeysNoServer(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		switch {
		case strings.HasSuffix(r.URL.Path, "/refused"):
			w.WriteHeader(http.StatusBadRequest)
			answer = map[string]any{"errors": []string{hostile}}
		case r.URL.Query().Has("list"):
			answer = map[string]any{"data": map[string]any{"keys": []string{hostile}}}
		default:
			answer = map[string]any{"data": map[string]any{"name": hostile, hostile: 1}, "warnings": []string{hostile}}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	for _, line := range []string{
		"read secret/a", "read -format=json secret/a", "read -format=yaml secret/a", "read secret/refused", "list secret/",
		"list -format=json secret/", "read -format=json -field=name secret/a",
	} {
		var out, errs bytes.Buffer
		Run(strings.Fields(line), Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Rand: nil,
			Getenv: func(name string) string { return map[string]string{"VAULT_ADDR": srv.URL, "VAULT_TOKEN": "t"}[name] }})
		all := out.String() + errs.String()
		if strings.ContainsAny(all, "\x1b\u009b\u202e\r\x7f") {
			t.Errorf("%s: %q", line, all)
		}
		if !strings.Contains(all, "31m") {
			t.Errorf("%s does not show the text: %q", line, all)
		}
		if strings.Contains(line, "-format=json secret/a") || strings.HasPrefix(line, "list -format=json") {
			d := json.NewDecoder(&out)
			var v any
			if err := d.Decode(&v); err != nil && err != io.EOF || !strings.Contains(strings.Join(textsOf(v), "|"), hostile) {
				t.Errorf("%s: JSON has lost the text: %v, %q", line, err, v)
			}
		}
	}
	var out bytes.Buffer
	Run([]string{"read", "-field=name", "secret/a"}, Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard,
		Getenv: func(name string) string { return map[string]string{"VAULT_ADDR": srv.URL, "VAULT_TOKEN": "t"}[name] }})
	if out.String() != hostile {
		t.Errorf("a field is for programs, and is not changed: %q", out.String())
	}
}

// textsOf returns all strings in a JSON value.
func textsOf(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			all = append(all, textsOf(one)...)
		}
	case map[string]any:
		for _, one := range v {
			all = append(all, textsOf(one)...)
		}
	}
	return all
}

func TestVisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ü\n\tx\r\ny":  "plain ü\n\tx\r\ny",
		"\x1b]0;t\x07":       `\x1b]0;t\x07`,
		"\u009b":             `\xc2\x9b`,
		"\x9b":               `\x9b`,
		"\ufffd":             "\ufffd",
		"\u2066a\r":          `\u2066a\x0d`,
		"a \u202e b \x00 \r": `a \u202e b \x00 \x0d`,
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
