package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/e2e"
)

var (
	binary string // the real program
	axe    string // the text of axe-core
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sealgate-ui-")
	if err == nil {
		defer os.RemoveAll(dir)
		if binary, err = e2e.Build(dir); err == nil {
			axe, err = installAxe()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// installAxe installs axe-core as the lock file says, once, into build/.
func installAxe() (string, error) {
	dir, err := filepath.Abs("../../../build/axe")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")
	lock, err := os.ReadFile("../../../testdata/ui/package-lock.json")
	if err != nil {
		return "", err
	}
	if old, err := os.ReadFile(filepath.Join(dir, "package-lock.json")); err == nil && string(old) == string(lock) {
		if text, err := os.ReadFile(file); err == nil {
			return string(text), nil
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		raw, err := os.ReadFile("../../../testdata/ui/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s\nNode with npm and its package index are needed; .ci/setup installs the first",
			err, out)
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// chromium is where Debian and other systems have it.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium: install it (make setup does on Debian)")
	return ""
}

// newBrowser starts a browser that ends with the test.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	temp, err := os.MkdirTemp("", "ui-") // Chromium leaves folders there; the path of its socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 900),
		chromedp.Env("TMPDIR="+temp))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() { cancel(); stop() })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx
}

// visitor is one window with cookies of its own.
type visitor struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu     sync.Mutex
	faults []string // refused by the content policy, or errors of script
}

// newVisitor opens a window that shares nothing with others.
func newVisitor(t *testing.T, browser context.Context, base string) *visitor {
	t.Helper()
	v := &visitor{t: t, base: base}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(v.listen))
	t.Cleanup(cancel)
	v.ctx = ctx
	call(v, log.Enable, cdp.Empty{})
	call(v, runtime.Enable, cdp.Empty{})
	call(v, page.Enable, page.EnableParams{})
	return v
}

// listen collects what a correct page never causes.
func (v *visitor) listen(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if strings.Contains(e.Entry.Text, "Content Security Policy") || e.Entry.Level == log.EntryLevelError &&
			!strings.Contains(e.Entry.Text, "the server responded with a status of") &&
			!strings.Contains(e.Entry.Text, "net::ERR_") {
			v.faults = append(v.faults, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		v.faults = append(v.faults, e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		v.faults = append(v.faults, "a script opened a dialog: "+e.Message)
	}
}

// call sends a command of the protocol.
func call[P, R any](v *visitor, command cdp.Command[P, R], params P) {
	v.t.Helper()
	if _, err := chromedp.Call(v.ctx, command, params); err != nil {
		v.t.Fatalf("%s: %v", command.Method, err)
	}
}

// eval evaluates an expression in the page, and waits for its promise.
func eval[T any](v *visitor, what, expression string) T {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, time.Minute)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		v.t.Fatalf("%s: %v", what, err)
	}
	return out
}

// text is what the page shows.
func (v *visitor) text() string {
	v.t.Helper()
	return eval[string](v, "reading the page", "document.body.innerText")
}

// texts are the texts of the elements of a selector.
func (v *visitor) texts(selector string) []string {
	v.t.Helper()
	return eval[[]string](v, selector, fmt.Sprintf("[...document.querySelectorAll(%q)].map(e => e.textContent)", selector))
}

func (v *visitor) open(path string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(v.base+path)); err != nil {
		v.t.Fatalf("opening %s: %v", path, err)
	}
}

// until waits until an expression is true.
func (v *visitor) until(what, expression string) {
	v.t.Helper()
	end := time.Now().Add(time.Minute)
	for {
		ctx, cancel := context.WithTimeout(v.ctx, 20*time.Second)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		cancel()
		if ok && err == nil {
			return
		}
		if time.Now().After(end) {
			v.t.Fatalf("%s: not within a minute (%v)\n%s", what, err, v.text())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// sees waits until the page shows a text.
func (v *visitor) sees(text string) {
	v.t.Helper()
	v.until(fmt.Sprintf("seeing %q", text), fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// submit fills in the form that a selector names, sends it, and waits for the next page.
func (v *visitor) submit(form string, values map[string]string) {
	v.t.Helper()
	raw, err := json.Marshal(values)
	if err != nil {
		v.t.Fatal(err)
	}
	sent := eval[bool](v, "filling in "+form, fmt.Sprintf(`(() => {
		const form = document.querySelector(%q);
		if (!form) return false;
		document.documentElement.dataset.old = 1;
		for (const [name, value] of Object.entries(%s || {})) form.querySelector("[name=" + name + "]").value = value;
		setTimeout(() => form.requestSubmit());
		return true;
	})()`, form, raw))
	if !sent {
		v.t.Fatalf("there is no %s on\n%s", form, v.text())
	}
	v.until("sending "+form, "!document.documentElement.dataset.old && document.readyState === 'complete'")
}

func (v *visitor) login(token string) {
	v.t.Helper()
	v.open("/ui/login")
	v.submit("form:has(#token)", map[string]string{"token": token})
	v.sees("Signed in as")
}

// check looks at a page in every way that all pages have to stand: no violation of axe in both
// colour schemes, nothing that the content policy refused, and no scrolling sideways at 320 pixels.
func (v *visitor) check(name string) {
	v.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		call(v, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}}})
		v.accessible(name + " (" + scheme + ")")
		if scheme == "light" {
			v.screenshot(name)
		}
	}
	call(v, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 320, Height: 700,
		DeviceScaleFactor: 1})
	if wide := eval[int](v, "measuring", "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
		v.t.Errorf("%s: %d pixels too wide at 320", name, wide)
	}
	v.accessible(name + " (320 pixels)")
	v.screenshot(name + "-320")
	call(v, emulation.ClearDeviceMetricsOverride, cdp.Empty{})
	call(v, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
	v.clean(name)
}

// clean fails if a page caused a fault.
func (v *visitor) clean(name string) {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, fault := range v.faults {
		v.t.Errorf("%s: %s", name, fault)
	}
	v.faults = nil
}

// accessible runs axe-core: WCAG 2.2 AA and best practices. The text of axe is evaluated by the
// debugger, which the content policy does not concern.
func (v *visitor) accessible(name string) {
	v.t.Helper()
	type violation struct {
		ID, Help string
		Nodes    []struct{ HTML, FailureSummary string }
	}
	eval[int](v, "axe", "if (!window.axe) {"+axe+"\n}; 0")
	out := eval[[]violation](v, "axe", `axe.run(document, {resultTypes: ["violations"], runOnly: {type: "tag", values:
		["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}).then(r => r.violations.map(
		v => ({id: v.id, help: v.help, nodes: v.nodes.map(n => ({html: n.html, failureSummary: n.failureSummary}))})))`)
	for _, one := range out {
		raw, _ := json.MarshalIndent(one.Nodes, "", " ")
		v.t.Errorf("%s: axe %s: %s\n%s", name, one.ID, one.Help, raw)
	}
}

func (v *visitor) screenshot(name string) {
	v.t.Helper()
	dir := "../../../build/screenshots"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		v.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(v.ctx, time.Minute)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		v.t.Fatalf("a screenshot of %s: %v", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		v.t.Fatal(err)
	}
}

// server is the real program on a throw-away SoftHSM token.
type server struct {
	*e2e.Server
	root   string
	shares []string
}

// newServer starts one with the web interface, 2 of 3 recovery shares, and their holders' names.
func newServer(t *testing.T, holders ...string) *server {
	t.Helper()
	dir := t.TempDir()
	token, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := e2e.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Server: &e2e.Server{Bin: binary, Dir: dir, Addr: addr, Env: token.Environ()}}
	config := e2e.Config(addr, "seal \"pkcs11\" \"hsm\" {\n  key_label = \"root\"\n  generate_key = true\n}\n")
	gateways := fmt.Sprintf("gateway \"kmsv2\" {\n  key = \"kube\"\n  policies = [\"kube\"]\n  socket = %q\n}\n",
		filepath.Join(dir, "kms.sock")) + "gateway \"xks\" {}\n"
	if err := s.WriteConfig("ui = true\n" + config + gateways); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("%v\n%s", err, s.Log())
		}
		if strings.Contains(s.Log(), "WARNING: DATA RACE") {
			t.Errorf("the server raced:\n%s", s.Log())
		}
		for _, share := range s.shares {
			if strings.Contains(s.Log(), share) {
				t.Error("a share is in the log")
			}
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.UntilUp(); err != nil {
		t.Fatal(err)
	}
	var out struct {
		RootToken    string   `json:"root_token"`
		RecoveryKeys []string `json:"recovery_keys_base64"`
	}
	s.must(t, "PUT", "sys/init", map[string]any{"recovery_shares": 3, "recovery_threshold": 2, "holders": holders}, &out)
	s.root, s.shares = out.RootToken, out.RecoveryKeys
	return s
}

// must sends a request that has to succeed.
func (s *server) must(t *testing.T, method, path string, body, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reply, err := s.Do(ctx, method, path, s.root, body)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, reply.Code, reply.Errors())
	}
	if into != nil {
		if err := reply.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
}
