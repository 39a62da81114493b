package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// auditEntry is what tests read of an entry.
type auditEntry struct {
	Type    string
	Error   string
	Auth    struct{ Accessor string }
	Request struct {
		ID, Operation, Path string
		Data                map[string]any
	}
	Response struct {
		Share struct {
			Target, Holder string
			Number         int
		}
	}
}

// entries reads a log of the server's, every line of which must be an entry.
func (r *harness) entries(names ...string) (all []auditEntry) {
	r.t.Helper()
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(r.Dir, name))
		if err != nil {
			r.t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			var e auditEntry
			if err := json.Unmarshal(line, &e); err != nil {
				r.t.Fatalf("%s: not an entry: %q: %v", name, line, err)
			}
			all = append(all, e)
		}
		if found := r.known.in(raw); len(found) > 0 {
			r.t.Errorf("%s shows %v", name, found)
		}
	}
	return all
}

// newAuditedHarness is a server that is initialised, with one device of the given type and options.
func newAuditedHarness(t *testing.T, kind string, options map[string]string) *harness {
	t.Helper()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "PUT", "sys/audit/main", map[string]any{"type": kind, "options": options})
	return r
}

func (r *harness) logDir() string {
	r.t.Helper()
	dir := filepath.Join(r.Dir, "logs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	return dir
}

// nothingHappens checks that the server refuses, and does nothing of, what it can be asked. Changes
// of audit devices by a root token are the exception: see TestOnlyAuditDeviceDead.
func (r *harness) nothingHappens(what string) {
	r.t.Helper()
	for _, q := range []struct{ method, path, body string }{
		{"PUT", "kv/unaudited", `{"v":"x"}`}, {"GET", "kv/a", ""}, {"DELETE", "kv/a", ""}, {"LIST", "kv/", ""},
		{"PUT", "sys/rotate", ""},
		{"POST", "sys/mounts/other", `{"type":"kv"}`}, {"PUT", "sys/seal", ""},
		{"PUT", "sys/generate-root/attempt", `{}`},
		{"PUT", "sys/rekey-recovery-key/init", `{"secret_shares":1,"secret_threshold":1}`},
		{"POST", "auth/token/create", `{}`}, {"GET", "nowhere/x", ""},
	} {
		reply := r.call(q.method, q.path, q.body)
		if reply.Code != 500 || !strings.Contains(reply.Errors(), "cannot be audited") {
			r.t.Errorf("%s: %s %s: %d %s", what, q.method, q.path, reply.Code, reply.Body)
		}
	}
	r.must(200, "GET", "sys/health", nil)
}

// nothingHappened checks it afterwards.
func (r *harness) nothingHappened(what string) {
	r.t.Helper()
	r.mustGet("a", "1")
	if _, reply := r.get("unaudited"); reply.Code != 404 {
		r.t.Errorf("%s: a write took effect: %d %s", what, reply.Code, reply.Body)
	}
	for path, unwanted := range map[string]string{"sys/mounts": `"other/"`, "sys/generate-root/attempt": `"started":true`,
		"sys/key-status": `"term":2`} {
		if reply := r.must(200, "GET", path, nil); strings.Contains(string(reply.Body), unwanted) {
			r.t.Errorf("%s: %s: %s", what, path, reply.Body)
		}
	}
}

// TestAuditFileGone: no space on the disk, and the folder removed.
func TestAuditFileGone(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	log := filepath.Join(r.logDir(), "audit.log")
	r.must(204, "PUT", "sys/audit/main",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "logs/audit.log", "mode": "0000"}})
	r.mustPut("a", "1")

	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", log); err != nil { // a disk with no space left
		t.Fatal(err)
	}
	r.hup()
	r.eventually(patience, "the full disk is met", func() bool { return r.call("GET", "kv/a", nil).Code == 500 })
	r.nothingHappens("disk full")
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	r.nothingHappened("disk full")

	if err := os.RemoveAll(filepath.Dir(log)); err != nil {
		t.Fatal(err)
	}
	r.nothingHappens("folder removed")
	r.logDir()
	r.nothingHappened("folder removed")
	r.entries("logs/audit.log")
}

func (r *harness) hup() {
	r.t.Helper()
	if err := r.Signal(syscall.SIGHUP); err != nil {
		r.t.Fatal(err)
	}
}

// TestAuditSocketHangs: the other end accepts the connection and reads nothing, then resumes, then
// disappears.
func TestAuditSocketHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(conns)
				return
			}
			conns <- c
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
		for c := range conns {
			_ = c.Close()
		}
	})
	r := newAuditedHarness(t, "socket", map[string]string{"address": l.Addr().String(), "write_timeout": "500ms"})
	long := strings.Repeat("x", 1200)
	fill := func() bool {
		begin := time.Now()
		reply := r.call("GET", "kv/"+long, nil)
		if took := time.Since(begin); took > patience/2 { // it waits for the socket, not for the client
			t.Errorf("a request took %s", took)
		}
		return reply.Code == 500
	}
	r.mustPut("a", "1")
	r.load(fill)
	r.nothingHappens("hung socket")
	wg.Go(func() { // it reads again
		for c := range conns {
			wg.Go(func() {
				defer c.Close()
				buf := make([]byte, 1<<16)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
			})
		}
	})
	r.eventually(patience, "entries are taken again", func() bool { return r.call("GET", "kv/a", nil).Code == 200 })
	r.nothingHappened("hung socket")
	_ = l.Close()
}

// load repeats a request from many sides until it says that it is enough.
func (r *harness) load(enough func() bool) {
	r.t.Helper()
	var done atomic.Bool
	var wg sync.WaitGroup
	end := time.Now().Add(60 * time.Second)
	for range 8 {
		wg.Go(func() {
			for !done.Load() && time.Now().Before(end) {
				if enough() {
					done.Store(true)
				}
			}
		})
	}
	wg.Wait()
	if !done.Load() {
		r.t.Fatal("never enough")
	}
}

// TestAuditRotation: SIGHUP under traffic. Not one entry is missing, and every request has two.
func TestAuditRotation(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	log := filepath.Join(r.logDir(), "audit.log")
	r.must(204, "PUT", "sys/audit/main",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "logs/audit.log"}})
	var stop atomic.Bool
	var sent atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				r.mustPut(fmt.Sprintf("r%d/%d", w, i), "v")
				sent.Add(1)
			}
		})
	}
	names := []string{"logs/audit.log"}
	for i := range 5 {
		before := sent.Load()
		r.eventually(patience, "traffic continues", func() bool { return sent.Load() > before+20 })
		name := fmt.Sprint("logs/audit.log.", i)
		if err := os.Rename(log, filepath.Join(r.Dir, name)); err != nil {
			t.Fatal(err)
		}
		r.hup()
		r.eventually(patience, "the new file is there", func() bool { _, err := os.Stat(log); return err == nil })
		names = append(names, name)
	}
	stop.Store(true)
	wg.Wait()
	both := map[string]int{}
	writes := 0
	for _, e := range r.entries(names...) {
		if strings.HasPrefix(e.Request.Path, "kv/r") {
			writes++
			both[e.Request.ID]++
		}
	}
	if int64(writes) != 2*sent.Load() {
		t.Errorf("%d entries of %d writes", writes, sent.Load())
	}
	for id, n := range both {
		if n != 2 {
			t.Errorf("request %s has %d entries", id, n)
		}
	}
}

// TestAuditSurvivesKill: every answered request is in the log when the server is killed, and the
// log continues after the restart.
func TestAuditSurvivesKill(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.logDir()
	r.must(204, "PUT", "sys/audit/main",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "logs/audit.log"}})
	answered := 0
	for ; answered < 50; answered++ {
		r.mustPut(fmt.Sprint("k", answered), "v")
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	r.mustPut("after", "v")
	seen := map[string]int{}
	for _, e := range r.entries("logs/audit.log") {
		seen[e.Request.Path]++
	}
	for i := range answered {
		if n := seen[fmt.Sprint("kv/k", i)]; n != 2 {
			t.Errorf("write %d has %d entries", i, n)
		}
	}
	if seen["kv/after"] != 2 {
		t.Error("after the restart nothing is audited")
	}
}

// TestDeclaredAudit: a device of the configuration is there before the server is initialised;
// custodians are on record by number and name.
func TestDeclaredAudit(t *testing.T) {
	t.Parallel()
	r := newHarness(t, t.TempDir(), "audit \"file\" \"main\" {\n  options {\n    file_path = \"logs/audit.log\"\n    "+
		"log_raw = true\n  }\n}\n"+
		"unsafe_allow_api_audit_creation = false\n")
	r.logDir()
	r.mustStart()
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", map[string]any{"secret_shares": 2, "secret_threshold": 2,
		"holders": []string{"alice", "bob"}}), &out)
	r.root = out.RootToken
	wrong := strings.Repeat("ab", 33)
	r.known.add("a wrong share", wrong)
	if reply := r.call("PUT", "sys/unseal", map[string]string{"key": wrong}); reply.Code != 400 {
		t.Errorf("a wrong share: %d %s", reply.Code, reply.Body)
	}
	for _, key := range out.Keys {
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": key})
	}
	if reply := r.call("DELETE", "sys/audit/main", nil); reply.Code != 400 {
		t.Errorf("removing it: %d %s", reply.Code, reply.Body)
	}
	if reply := r.call("PUT", "sys/audit/other",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "stdout"}}); reply.Code != 400 ||
		!strings.Contains(reply.Errors(), "cannot enable audit device via API; ") {
		t.Errorf("enabling another: %d %s", reply.Code, reply.Body)
	}
	var holders []string
	seen := map[string]int{}
	for _, e := range r.entries("logs/audit.log") {
		seen[e.Type+" "+e.Request.Path]++
		if e.Error != "" {
			seen["error "+e.Request.Path]++
		}
		if s := e.Response.Share; s.Number > 0 {
			holders = append(holders, fmt.Sprint(s.Target, s.Number, s.Holder))
		}
	}
	if got := strings.Join(holders, " "); got != "barrier1alice barrier2bob" {
		t.Errorf("the holders are %s", got)
	}
	for what, n := range map[string]int{"request sys/init": 1, "response sys/init": 1, "request sys/unseal": 3,
		"response sys/unseal": 3, "error sys/unseal": 1} {
		if seen[what] != n {
			t.Errorf("%s: %d times, want %d", what, seen[what], n)
		}
	}
	if err := os.RemoveAll(filepath.Join(r.Dir, "logs")); err != nil {
		t.Fatal(err)
	}
	r.nothingHappens("declared, and its folder removed")
}

// TestAuditedBeforeTheEffect: with a log that cannot be written a server cannot be initialised or
// unsealed either.
func TestAuditedBeforeTheEffect(t *testing.T) {
	t.Parallel()
	r := newHarness(t, t.TempDir(), "audit \"file\" \"main\" {\n  options {\n    file_path = \"logs/audit.log\"\n  }\n}\n")
	r.mustStart()
	init := map[string]int{"secret_shares": 1, "secret_threshold": 1}
	r.must(500, "PUT", "sys/init", init)
	if r.status().Initialized {
		t.Fatal("initialised without a trail")
	}
	dir := r.logDir()
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", init), &out)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r.must(500, "PUT", "sys/unseal", map[string]string{"key": out.Keys[0]})
	if !r.status().Sealed {
		t.Error("unsealed without a trail")
	}
	r.logDir()
	r.must(200, "PUT", "sys/unseal", map[string]string{"key": out.Keys[0]})
	if r.status().Sealed {
		t.Error("not unsealed with a trail")
	}
}

// TestAuditSyslogGone takes the place of the machine's log where it has none.
func TestAuditSyslogGone(t *testing.T) {
	const place = "/dev/log"
	if _, err := os.Lstat(place); err == nil {
		t.Logf("this machine has a log of its own at %s: the test of internal/audit has to do", place)
		return
	}
	daemon, err := net.ListenPacket("unixgram", place)
	if err != nil {
		t.Logf("no socket can be made at %s (%v): the test of internal/audit has to do", place, err)
		return
	}
	var wg sync.WaitGroup
	var taken atomic.Int64
	wg.Go(func() {
		for buf := make([]byte, 1<<16); ; {
			n, _, err := daemon.ReadFrom(buf)
			if err != nil {
				return
			}
			if bytes.Contains(buf[:n], []byte(`"request":{`)) {
				taken.Add(1)
			}
		}
	})
	r := newAuditedHarness(t, "syslog", map[string]string{"tag": "sealgate"})
	r.mustPut("a", "1")
	_ = daemon.Close()
	_ = os.Remove(place)
	wg.Wait()
	if taken.Load() < 3 {
		t.Errorf("%d entries were taken", taken.Load())
	}
	r.nothingHappens("syslog gone")
}

// TestOnlyAuditDeviceDead: the only device is lost. Status and health say so to those who may see
// it, doctor fails, and a root token can remove the device or add another one; the log and the
// transcript have what no audit log can.
func TestOnlyAuditDeviceDead(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	log := filepath.Join(r.logDir(), "audit.log")
	r.must(204, "PUT", "sys/audit/main",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "logs/audit.log", "mode": "0000"}})
	r.must(204, "PUT", "sys/policies/acl/auditor", map[string]string{
		"policy": `path "sys/audit/*" { capabilities = ["create", "update", "delete", "sudo"] }`})
	var made struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	r.decode(r.must(200, "POST", "auth/token/create", map[string]any{"policies": []string{"auditor"}}), &made)
	r.known.add("the auditor's token", made.Auth.ClientToken)
	warnings := func(path string) string {
		var out struct {
			Warnings []string `json:"warnings"`
		}
		r.decode(r.must(200, "GET", path, nil), &out)
		return strings.Join(out.Warnings, "\n")
	}
	if w := warnings("sys/seal-status") + warnings("sys/health"); strings.Contains(w, "audit") {
		t.Errorf("a warning without a failure: %s", w)
	}
	die := func() {
		if err := errors.Join(os.Remove(log), os.Symlink("/dev/full", log)); err != nil {
			t.Fatal(err)
		}
		r.hup()
		r.eventually(patience, "the full disk is met", func() bool { return r.call("GET", "kv/a", nil).Code == 500 })
	}
	die()
	for _, path := range []string{"sys/seal-status", "sys/health"} {
		for _, want := range []string{"no audit device accepts entries", "audit.log", "is a symbolic link",
			"sealgate audit disable main/"} {
			if w := warnings(path); !strings.Contains(w, want) {
				t.Errorf("%s: no %q in %s", path, want, w)
			}
		}
	}
	root := r.root
	r.root = ""
	if w := warnings("sys/seal-status") + warnings("sys/health"); strings.Contains(w, "audit.log") {
		t.Errorf("anybody sees %s", w)
	}
	r.doctor().has(t, "error", "audit", "cannot write to file logs/audit.log")
	r.root = made.Auth.ClientToken
	r.must(500, "DELETE", "sys/audit/main", nil)
	r.root = root
	r.must(500, "DELETE", "kv/a", nil)
	r.must(204, "PUT", "sys/audit/second", map[string]any{"type": "file",
		"options": map[string]string{"file_path": "logs/second.log"}})
	r.must(204, "PUT", "kv/a", map[string]string{"v": "1"})
	r.must(204, "DELETE", "sys/audit/main", nil)
	r.mustPut("a", "2")
	if w := warnings("sys/seal-status"); strings.Contains(w, "audit") {
		t.Errorf("still a warning: %s", w)
	}
	r.logs("no audit device accepts entries, and a root token changes the devices",
		"operation=update path=sys/audit/second")
	if body := string(r.must(200, "GET", "sys/recovery/transcripts", nil).Body); !strings.Contains(body, "audit-devices") {
		t.Errorf("the transcript has no record: %s", body)
	}
}
