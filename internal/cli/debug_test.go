package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// debugged is a server with secrets in all its responses.
func debugged() map[string][]answer {
	return map[string][]answer{
		"GET sys/health":      {ok(`{"initialized":true,"sealed":false,"version":"1.2.3"}`)},
		"GET sys/seal-status": {ok(unsealedHSM)},
		"GET sys/leader":      {ok(noHA)},
		"GET sys/config/state/sanitized": {
			ok(`{"request_id":"r","data":{"seals":[{"type":"pkcs11","config":{"pin":1234,"token_label":"ours","lib":"/l.so"}}],"storage":{"connection_url":"postgres://u:hunter2@db/x"},"api_addr":"https://a:8200"}}`)},
		"GET sys/host-info": {refusal(403, "permission denied")},
		"GET sys/in-flight-req": {
			ok(`{"u-1":{"request_path":"/v1/auth/token/lookup?token=s.hunter2","request_method":"GET","client_remote_address":"10.0.0.1:1"}}`)},
		"GET sys/replication/status": {refusal(404, "")},
		"GET sys/metrics": {
			ok(`{"Gauges":[{"Name":"vault.token.count","Value":3,"Labels":{"auth_method":"token"}}]}`),
			{200, "vault_core_unsealed 1\n"}},
		"GET sys/monitor": {
			ok("2026-01-02 [INFO] started password=hunter2\n2026-01-02 [INFO] s.hunter2hunter2hunter2hun\n")},
		"GET sys/pprof/goroutine":         {ok("goroutines")},
		"GET sys/pprof/heap":              {refusal(500, "1 error occurred:\n\t* broken s.hunter2hunter2hunter2hun\n\n")},
		"GET sys/pprof/allocs":            {ok("a"), refusal(404, "")}, // later it has none
		"GET sys/pprof/block":             {ok("b")},
		"GET sys/pprof/mutex":             {ok("m")},
		"GET sys/pprof/threadcreate":      {ok("t")},
		"GET sys/internal/not/asked/ever": {ok("{}")},
	}
}

func TestDebug(t *testing.T) {
	short := []string{"debug", "-duration=10s", "-interval=5s", "-metrics-interval=10s", "-output=HOME/b.tar.gz",
		"-target=metrics", "-target=server-status,host"}
	runAll(t, []run{
		{name: "debug", args: short, answers: debugged()},
		{name: "debug-static-only", args: []string{"debug", "-target=config", "-compress=false", "-output=HOME/b/"},
			answers: debugged()},
		{name: "debug-times", args: []string{"debug", "-duration=1s", "-interval=1m", "-metrics-interval=2s",
			"-target=config,what", "-output=HOME/b"}, answers: debugged()},
		{name: "debug-no-target", args: []string{"debug", "-target=what"}, want: 1},
		{name: "debug-exists", args: []string{"debug", "-output=HOME/b"}, files: map[string]string{"b.tar.gz": ""}, want: 1},
		{name: "debug-connection-refused", args: []string{"debug", "-output=HOME/b"},
			env: map[string]string{"SEALGATE_MAX_RETRIES": "0"}, want: 2,
			answers: map[string][]answer{"GET sys/health": {lost}}},
		{name: "debug-sealed", args: []string{"debug", "-duration=5s", "-interval=5s", "-metrics-interval=5s",
			"-target=server-status,config", "-output=HOME/b"}, answers: map[string][]answer{
			"GET sys/health": {ok(`{"sealed":true,"version":"1.2.3"}`)}, "GET sys/seal-status": {ok(sealedOne)},
			"GET sys/leader":                 {refusal(503, "Vault is sealed")},
			"GET sys/config/state/sanitized": {refusal(503, "Vault is sealed")}}},
	})
}

// TestDebugBundleHoldsNoSecret collects all targets and searches every file of the bundle.
func TestDebugBundleHoldsNoSecret(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(&scripted{t: t, answers: debugged()})
	defer srv.Close()
	folder := filepath.Join(t.TempDir(), "bundle")
	var out bytes.Buffer
	env := Env{Stdout: &out, Stderr: &out, Getenv: func(k string) string {
		return map[string]string{"SEALGATE_ADDR": srv.URL, "SEALGATE_TOKEN": "hunter2-by-id", "SEALGATE_MAX_RETRIES": "0"}[k]
	}, Pause: func(time.Duration) {}}
	for _, args := range [][]string{{"debug", "-output=" + folder},
		{"debug", "-compress=false", "-log-format=json", "-output=" + folder}} {
		if code := Run(args, env); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &out)
		}
	}
	files := unpack(t, folder+".tar.gz")
	want := []string{"config.json", "index.json", "metrics.json", "requests.json", "sealgate.log", "server_status.json"}
	var plain []string
	for name, text := range files {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "1234") {
			t.Errorf("a secret is in %s:\n%s", name, text)
		}
		if !strings.Contains(name, ".prof") {
			plain = append(plain, name)
		}
	}
	if slices.Sort(plain); !slices.Equal(plain, want) {
		t.Errorf("files %v, want %v", plain, want)
	}
	for name, part := range map[string]string{"config.json": `"token_label": "ours"`,
		"metrics.json": "vault_core_unsealed 1", "requests.json": "10.0.0.1:1",
		"server_status.json": "11111111-1111", "sealgate.log": "started password=(redacted)",
		"index.json": "the server returned status 403: permission denied"} {
		if !strings.Contains(files[name], part) {
			t.Errorf("%s lacks %q:\n%s", name, part, files[name])
		}
	}
	var frames []any
	if err := json.Unmarshal([]byte(files["metrics.json"]), &frames); err != nil || len(frames) != 13 {
		t.Errorf("%d frames of metrics in two minutes, %v", len(frames), err)
	}
	if strings.Contains(out.String(), "hunter2hunter2") {
		t.Errorf("it prints a secret:\n%s", &out)
	}
	onlyTheOwnerReads(t, folder)
}

func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for all := tar.NewReader(zip); ; {
		head, err := all.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(all)
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(head.Name, "bundle/")
		if !ok || head.Mode != 0o600 {
			t.Errorf("%s, mode %o", head.Name, head.Mode)
		}
		files[name] = string(text)
	}
}

func onlyTheOwnerReads(t *testing.T, folder string) {
	t.Helper()
	check := func(path string, _ fs.DirEntry, err error) error {
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v, %v", path, info, err, statErr)
		}
		return nil
	}
	_ = check(folder+".tar.gz", nil, nil)
	if err := filepath.WalkDir(folder, check); err != nil {
		t.Fatal(err)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	r := newRedactor("custom-id", "x")
	for in, want := range map[string]string{
		"custom-id":                      "(redacted)",
		"x":                              "x",
		"a s.abcdefghijklmnopqrstuvwx b": "a (redacted) b",
		"hvs.CAESIabcdefghijklmnopqrstuvwxyz.ns1,":          "(redacted),",
		"Authorization: Bearer abcdefghijk":                 "Authorization: Bearer (redacted)",
		"pkcs11:token=ours;object=k?pin-value=1234":         "pkcs11:token=(redacted);object=k?pin-value=(redacted)",
		"client_secret=abc def":                             "client_secret=(redacted) def",
		`{"password": "a b", "n": 1}`:                       `{"password": "(redacted)", "n": 1}`,
		"amqp://u:p@h/x and https://h:8200/a@b":             "amqp://(redacted)@h/x and https://h:8200/a@b",
		"-----BEGIN EC PRIVATE KEY-----\nabc":               "(redacted)",
		"AKIAIOSFODNN7EXAMPLE":                              "(redacted)",
		"AGE-SECRET-KEY-1QQQ":                               "(redacted)",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc":          "(redacted)",
		"token_label=ours key_id=1 cluster 10.0.0.1:8200":   "token_label=ours key_id=1 cluster 10.0.0.1:8200",
		"vault.token.create sealgate.barrier.get_seconds 5": "vault.token.create sealgate.barrier.get_seconds 5",
	} {
		if got := r.text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	dec := json.NewDecoder(strings.NewReader(`{"token":"a","secret_id":"a","clientSecret":"a","Api-Key":"a","keys":["a"],"auth":{"deep":["a",1,true,null]},
		"pin":1,
		"key_id":"b","token_label":"b","tls_key_file":"b","tokens":5,"t":3,"empty":{"token":""},"disable_token":true}`))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(r.tree(tree))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Api-Key":"(redacted)","auth":{"deep":["(redacted)",1,true,null]},"clientSecret":"(redacted)","disable_token":true,` +
		`"empty":{"token":""},"key_id":"b","keys":["(redacted)"],"pin":"(redacted)","secret_id":"(redacted)","t":3,"tls_key_file":"b",` +
		`"token":"(redacted)","token_label":"b","tokens":5}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestMonitorFollows checks that lines arrive as the server writes them, and that an interrupt
// exits with 0.
func TestMonitorFollows(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	cmd := exec.Command(os.Args[0], "monitor")
	cmd.Env = append(os.Environ(), childVariable+"=1", "SEALGATE_ADDR="+srv.URL, "SEALGATE_TOKEN=s.token")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "one\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestCompletion(t *testing.T) {
	complete := func(line string) map[string]string { return map[string]string{"COMP_LINE": line} }
	runAll(t, []run{
		{name: "complete-command", env: complete("sealgate p")},
		{name: "complete-subcommand", env: complete("sealgate token ")},
		{name: "complete-flag", env: complete("sealgate token create -o")},
		{name: "complete-flag-value", env: complete("sealgate status -format ")},
		{name: "complete-flag-value-equals", env: complete("sealgate read -format=y")},
		{name: "complete-method", env: complete("sealgate login -method=")},
		{name: "complete-argument", env: complete("sealgate auth enable ")},
		{name: "complete-free", env: complete("sealgate read secret/")},
		{name: "complete-point", env: map[string]string{"COMP_LINE": "sealgate tok create", "COMP_POINT": "12"}},
		{name: "complete-program-flag", env: complete("sealgate -auto")},
		{name: "complete-unknown", env: complete("sealgate nosuch ")},
		{name: "completion-bash", args: []string{"completion", "bash"}},
		{name: "completion-zsh", args: []string{"completion", "zsh"}},
		{name: "completion-fish", args: []string{"completion", "fish"}},
		{name: "completion-other", args: []string{"completion", "ksh"}, want: 1},
		{name: "completion-install-nowhere", args: []string{"-autocomplete-install"}, want: 1},
		{name: "completion-install", args: []string{"-autocomplete-install"}, files: map[string]string{".bashrc": "a\n"}},
		{name: "completion-install-twice", args: []string{"-autocomplete-install"}, want: 1,
			files: map[string]string{".bashrc": "complete -C /usr/bin/sealgate sealgate\n"}},
		{name: "completion-uninstall-nothing", args: []string{"-autocomplete-uninstall"}, want: 1,
			files: map[string]string{".bashrc": "a\n"}},
	})
}

func TestInstallAndUninstall(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	before := map[string]string{".bashrc": "", ".profile": "b\n", ".zshrc": "autoload -U +X bashcompinit && " +
		"bashcompinit\n"}
	for name, text := range before {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(home, ".config/fish"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := Env{Home: home, Program: "/usr/bin/sealgate", Stdout: io.Discard, Stderr: os.Stderr}
	state := func() map[string]string {
		files := map[string]string{}
		err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			name, _ := filepath.Rel(home, path)
			files[name] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	if code := Run([]string{"-autocomplete-install"}, env); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	after := state()
	if after[".bashrc"] != "complete -C /usr/bin/sealgate sealgate\n" || after[".profile"] != "b\n" ||
		after[".zshrc"] != before[".zshrc"]+"complete -o nospace -C /usr/bin/sealgate sealgate\n" ||
		!strings.HasPrefix(after[".config/fish/completions/sealgate.fish"], "function __complete_sealgate\n") {
		t.Errorf("%q", after)
	}
	if code := Run([]string{"-autocomplete-uninstall"}, env); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	if got := state(); !maps.Equal(got, before) {
		t.Errorf("%q, want %q", got, before)
	}
	if info, err := os.Stat(filepath.Join(home, ".bashrc")); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	env.Program = "/opt/my programs/sealgate"
	env.Stderr = io.Discard
	if code := Run([]string{"-autocomplete-install"}, env); code != exitLocal {
		t.Errorf("exit code %d", code)
	}
}
