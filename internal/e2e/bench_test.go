package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/testkit"
)

// The benchmarks measure the program as it is shipped, in ratios within one run. The load comes
// from the same machine.

// buildPlain builds the program without the race detector and without failpoints, as `make build`
// does, with build tags.
func buildPlain(b testing.TB, tags ...string) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "sealgate")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", strings.Join(tags, ","), "-o", bin,
		"github.com/sealgate/sealgate/cmd/sealgate")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// benchHarness is a server with the static seal, initialised, with kv mounted and one value in it.
func benchHarness(b *testing.B, bin string) *Server {
	b.Helper()
	addr, err := FreeAddr()
	if err != nil {
		b.Fatal(err)
	}
	s := &Server{Bin: bin, Dir: b.TempDir(), Addr: addr}
	seal := "seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = \"" + strings.Repeat("5c", 32) +
		"\"\n}\nlog_level = \"warn\"\n"
	if err := s.WriteConfig(Config(addr, seal)); err != nil {
		b.Fatal(err)
	}
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	})
	if err := s.UntilUp(); err != nil {
		b.Fatal(err)
	}
	return s
}

// value64 are 64 bytes.
var value64 = strings.Repeat("x", 64)

func benchInit(b testing.TB, s *Server) (token string) {
	b.Helper()
	var out initReply
	benchDo(b, s, "", 200, "PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1}, &out)
	benchDo(b, s, out.RootToken, 204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"}, nil)
	benchDo(b, s, out.RootToken, 204, "PUT", "kv/one", map[string]string{"v": value64}, nil)
	return out.RootToken
}

func benchDo(b testing.TB, s *Server, token string, code int, method, path string, body, out any) {
	b.Helper()
	r, err := s.Do(context.Background(), method, path, token, body)
	if err != nil || r.Code != code {
		b.Fatalf("%s %s: %d %s %v\n%s", method, path, r.Code, r.Body, err, s.Log())
	}
	if out != nil {
		if err := r.Decode(out); err != nil {
			b.Fatal(err)
		}
	}
}

// newHSMHarnessAt prepares a server on a throw-away SoftHSM token.
func newHSMHarnessAt(b *testing.B, bin string) *Server {
	b.Helper()
	dir := b.TempDir()
	token, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	addr, err := FreeAddr()
	if err != nil {
		b.Fatal(err)
	}
	s := &Server{Bin: bin, Dir: dir, Addr: addr, Env: token.Environ()}
	b.Cleanup(func() {
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	})
	if err :=
		s.WriteConfig(Config(addr, "seal \"pkcs11\" \"hsm\" {\n  key_label = \"root\"\n  generate_key = "+
			"true\n}\n")); err != nil {
		b.Fatal(err)
	}
	return s
}

// load sends one request after the other on each of n kept connections for a while; next is called
// for each request.
func load(b *testing.B, addr string, n int, d time.Duration, want int, next func(conn, i int) string) (rate float64,
	latency []time.Duration) {
	b.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	begin := time.Now()
	for c := range n {
		wg.Go(func() {
			mine, err := oneConnection(addr, begin.Add(d), want, func(i int) string { return next(c, i) })
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			latency = append(latency, mine...)
		})
	}
	wg.Wait()
	slices.Sort(latency)
	return float64(len(latency)) / time.Since(begin).Seconds(), latency
}

func oneConnection(addr string, until time.Time, want int, next func(i int) string) ([]time.Duration, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	var latency []time.Duration
	for i := 0; ; i++ {
		begin := time.Now()
		if begin.After(until) {
			return latency, nil
		}
		if _, err := io.WriteString(c, next(i)); err != nil {
			return latency, err
		}
		code, err := readResponse(r)
		if err != nil || code != want {
			return latency, fmt.Errorf("status %d, want %d: %v", code, want, err)
		}
		latency = append(latency, time.Since(begin))
	}
}

// readResponse reads a response and little else: the load must cost less than the server.
func readResponse(r *bufio.Reader) (code int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if code, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	length, chunked := 0, false
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return code, err
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return code, err
			}
		}
		chunked = chunked || string(line) == "Transfer-Encoding: chunked\r\n"
	}
	for chunked {
		if line, err = r.ReadSlice('\n'); err != nil {
			return code, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(line)), 16, 32)
		if err != nil {
			return code, err
		}
		chunked = n > 0
		if _, err := r.Discard(int(n) + len("\r\n")); err != nil {
			return code, err
		}
	}
	_, err = r.Discard(length)
	return code, err
}

func getRequest(path, token string) string {
	return "GET /v1/" + path + " HTTP/1.1\r\nHost: x\r\nX-Vault-Token: " + token + "\r\n\r\n"
}

func putRequest(path, token, body string) string {
	return fmt.Sprintf("PUT /v1/%s HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\nContent-Length: %d\r\n\r\n%s", path,
		token, len(body), body)
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

const window = 3 * time.Second

// BenchmarkReads compares a kv read with the server's own sys/health, on 16 kept connections.
func BenchmarkReads(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	health, read := getRequest("sys/health", ""), getRequest("kv/one", token)
	for b.Loop() {
		h, _ := load(b, s.Addr, 16, window, 200, func(int, int) string { return health })
		k, _ := load(b, s.Addr, 16, window, 200, func(int, int) string { return read })
		b.ReportMetric(h, "health/s")
		b.ReportMetric(k, "reads/s")
		b.ReportMetric(k/h, "read/health")
	}
}

// BenchmarkWrites compares sixteen writers with one: they share the disk's flushes.
func BenchmarkWrites(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	write := func(c, i int) string {
		return putRequest(fmt.Sprintf("kv/w%d/%d", c, i%1000), token, `{"v":"0123456789012345678901234567890123456789"}`)
	}
	for b.Loop() {
		one, _ := load(b, s.Addr, 1, window, 204, write)
		many, _ := load(b, s.Addr, 16, window, 204, write)
		b.ReportMetric(one, "1-writer/s")
		b.ReportMetric(many, "16-writers/s")
		b.ReportMetric(many/one, "16/1")
	}
}

// BenchmarkAudit compares reads and writes with one file device and without, by turns in one run.
func BenchmarkAudit(b *testing.B) {
	bin := buildPlain(b)
	plain, audited := benchHarness(b, bin), benchHarness(b, bin)
	tokens := map[*Server]string{plain: benchInit(b, plain), audited: benchInit(b, audited)}
	benchDo(b, audited, tokens[audited], 204, "PUT", "sys/audit/file",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "audit.log"}}, nil)
	kinds := []struct {
		name          string
		code          int
		request       func(token string) func(conn, i int) string
		with, without *party
	}{
		{name: "reads", code: 200, request: func(token string) func(int, int) string {
			return same(getRequest("kv/one", token))
		}},
		{name: "writes", code: 204, request: func(token string) func(int, int) string {
			return func(c, i int) string {
				return putRequest(fmt.Sprintf("kv/w%d/%d", c, i%1000), token, `{"v":"0123456789012345678901234567890123456789"}`)
			}
		}},
	}
	for i := range kinds {
		k := &kinds[i]
		k.with = &party{addr: audited.Addr, pid: audited.Pid(), code: k.code, request: k.request(tokens[audited])}
		k.without = &party{addr: plain.Addr, pid: plain.Pid(), code: k.code, request: k.request(tokens[plain])}
	}
	for b.Loop() {
		for range 3 { // short turns: other load of the machine meets both
			for _, k := range kinds {
				k.without.turn(b, window/2)
				k.with.turn(b, window/2)
			}
		}
	}
	for _, k := range kinds {
		testkit.AtLeast(b, k.name+" with one file audit device / without",
			compare(b, "audited/plain-"+k.name, k.with, k.without), 0.8)
	}
}

// BenchmarkReadsWhileRotating compares the 99th percentile of reads, paced below saturation, with
// twenty rotations a second and without.
func BenchmarkReadsWhileRotating(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	read := getRequest("kv/one", token)
	paced := func(int, int) string { time.Sleep(time.Millisecond); return read }
	for b.Loop() {
		_, idle := load(b, s.Addr, 8, window, 200, paced)
		ctx, cancel := context.WithTimeout(context.Background(), window)
		rotations := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; rotations++ {
				<-tick.C
				if r, err := s.Do(context.Background(), http.MethodPut, "sys/rotate", token, nil); err != nil || r.Code != 204 {
					b.Errorf("rotate: %d %s %v", r.Code, r.Body, err)
				}
			}
		})
		_, busy := load(b, s.Addr, 8, window, 200, paced)
		cancel()
		wg.Wait()
		b.ReportMetric(float64(rotations), "rotations")
		b.ReportMetric(float64(p99(idle).Microseconds()), "p99-idle-us")
		b.ReportMetric(float64(p99(busy).Microseconds()), "p99-rotating-us")
		b.ReportMetric(float64(p99(busy))/float64(p99(idle)), "p99-ratio")
	}
}

// BenchmarkReadsDuringRekeys compares the 99th percentile of paced reads while recovery shares are
// rekeyed again and again, to 255 shares each time, with the same without.
func BenchmarkReadsDuringRekeys(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	var out initReply
	benchDo(b, s, "", 200, "PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1}, &out)
	token, share := out.RootToken, out.RecoveryKeys[0]
	benchDo(b, s, token, 204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"}, nil)
	benchDo(b, s, token, 204, "PUT", "kv/one", map[string]string{"v": "x"}, nil)
	read := getRequest("kv/one", token)
	paced := func(int, int) string { time.Sleep(time.Millisecond); return read }
	shares := []string{share}
	rekey := func() {
		var st struct{ Nonce string }
		var done updated
		benchDo(b, s, token, 200, "PUT", "sys/rekey-recovery-key/init", map[string]int{"secret_shares": 255,
			"secret_threshold": 2}, &st)
		for _, share := range shares {
			benchDo(b, s, "", 200, "PUT", "sys/rekey-recovery-key/update", map[string]string{"key": share, "nonce": st.Nonce},
				&done)
		}
		shares = done.Keys[:2]
	}
	for b.Loop() {
		_, idle := load(b, s.Addr, 8, window, 200, paced)
		ctx, cancel := context.WithTimeout(context.Background(), window)
		rekeys := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			for ; ctx.Err() == nil; rekeys++ {
				rekey()
				time.Sleep(100 * time.Millisecond)
			}
		})
		_, busy := load(b, s.Addr, 8, window, 200, paced)
		cancel()
		wg.Wait()
		b.ReportMetric(float64(rekeys), "rekeys")
		b.ReportMetric(float64(p99(busy))/float64(p99(idle)), "p99-ratio")
	}
}

// BenchmarkStart measures from the start of the process to an unsealed answer, on SoftHSM, and what
// it then takes.
func BenchmarkStart(b *testing.B) {
	bin := buildPlain(b)
	r := newHSMHarnessAt(b, bin)
	if err := r.Start(); err != nil {
		b.Fatal(err)
	}
	if err := r.UntilUp(); err != nil {
		b.Fatal(err)
	}
	benchInit(b, r)
	var took []time.Duration
	for b.Loop() {
		if err := r.Kill(); err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		if err := r.Start(); err != nil {
			b.Fatal(err)
		}
		if err := r.UntilUnsealed(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	started := float64(took[len(took)/2].Microseconds()) / 1000
	idle := idleRSS(b, r.Pid())
	b.ReportMetric(started, "ms-to-unsealed")
	b.ReportMetric(idle, "MB-RSS")
	testkit.AtMost(b, "start to unsealed on SoftHSM in ms", started, 45)
	testkit.AtMost(b, "resident memory of the idle server in MB", idle, 40)
}

// BenchmarkSize measures nothing over time: it compares the size of the stripped program with its
// targets.
func BenchmarkSize(b *testing.B) {
	for _, p := range []struct {
		seals string
		want  float64
		tags  []string
	}{
		{seals: "all seals", want: 42},
		{seals: "PKCS#11 and AWS only", want: 25, tags: []string{"no_alicloudkms", "no_azurekeyvault", "no_gcpckms",
			"no_kmip", "no_ocikms", "no_tpm2", "no_transit"}},
	} {
		info, err := os.Stat(buildPlain(b, p.tags...))
		if err != nil {
			b.Fatal(err)
		}
		testkit.AtMost(b, "stripped program with "+p.seals+" in MB", float64(info.Size())/1e6, p.want)
	}
	for b.Loop() {
	}
}

// idleRSS is the resident memory once it has been the same for a second, as after the start.
func idleRSS(b *testing.B, pid int) float64 {
	b.Helper()
	for last := 0.0; ; {
		now := rss(b, pid)
		if now >= last*0.99 && now <= last*1.01 {
			return now
		}
		last = now
		time.Sleep(2 * time.Second)
	}
}

// rss is the resident memory of a process in megabytes.
func rss(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1000
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
