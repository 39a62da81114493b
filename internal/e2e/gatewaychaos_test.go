//go:build linux && cgo && chaos

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kms "k8s.io/kms/apis/v2"

	"github.com/sealgate/sealgate/internal/testkit"
)

// These tests are part of `make chaos`: they take minutes, and want the machine for themselves.

// AWS KMS drops a key store whose proxy is slower than 250 ms, and sends up to 1,800 requests a
// second.
const (
	xksRate     = 1800
	xksMinute   = time.Minute
	xksIdle     = 5000
	xksP99      = 50 * time.Millisecond
	xksSenders  = 64
	chaosLimit  = time.Minute      // until everything works again after an event
	chaosAnswer = 10 * time.Second // the longest answer: the deadline is 5 s
)

// aad is the additional data of all requests.
var chaosAAD = base64.StdEncoding.EncodeToString([]byte("aad"))

// encryptBody and decryptBody are requests as AWS sends them.
func (a *awsKMS) encryptBody(text string) []byte {
	return a.body("Encrypt", map[string]any{"plaintext": base64.StdEncoding.EncodeToString([]byte(text)),
		"encryptionAlgorithm": "AES_GCM", "additionalAuthenticatedData": chaosAAD})
}

func (a *awsKMS) decryptBody(sealed xksReply) []byte {
	m := map[string]any{"encryptionAlgorithm": "AES_GCM", "additionalAuthenticatedData": chaosAAD}
	for _, name := range []string{"ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"} {
		m[name] = sealed.Body[name]
	}
	return a.body("Decrypt", m)
}

// try sends a signed request, which may fail.
func (a *awsKMS) try(path string, body []byte) (xksReply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*chaosAnswer)
	defer cancel()
	return a.send(a.signed(ctx, path, body))
}

// overTLS gives the caller connections of its own to the gateway's listener.
func (g *gatewayBench) overTLS(connections int) *awsKMS {
	a := *g.aws
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
		TLSClientConfig: &tls.Config{RootCAs: g.pool, ServerName: "localhost"}}
	a.client = &http.Client{Transport: transport}
	g.Cleanup(transport.CloseIdleConnections)
	return &a
}

// TestChaosSustainedLoad: for a minute a key in the token serves 1,800 requests a second, half of
// them decryptions, while 5,000 TLS connections are idle; none fails, and the 99th percentile stays
// below 50 ms. The time of a request counts from when it was due.
func TestChaosSustainedLoad(t *testing.T) {
	g := newGatewayBench(t)
	a := g.overTLS(xksSenders)
	sealed, err := a.try("keys/orders/encrypt", a.encryptBody("text"))
	if err != nil || sealed.Code != 200 {
		t.Fatalf("%+v %v", sealed, err)
	}
	for _, c := range g.idle(xksIdle) {
		defer c.Close()
	}
	want := base64.StdEncoding.EncodeToString([]byte("text"))
	bodies := [2][]byte{a.encryptBody("text"), a.decryptBody(sealed)}
	var next atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	failures := map[string]int{}
	const total = int64(xksRate * int64(xksMinute/time.Second))
	begun := time.Now()
	var senders sync.WaitGroup
	for range xksSenders {
		senders.Go(func() {
			var mine []time.Duration
			for n := next.Add(1); n <= total; n = next.Add(1) {
				due := begun.Add(time.Duration(n) * time.Second / xksRate)
				time.Sleep(time.Until(due))
				path := [2]string{"keys/orders/encrypt", "keys/orders/decrypt"}[n%2]
				reply, err := a.try(path, bodies[n%2])
				mine = append(mine, time.Since(due))
				if err != nil || reply.Code != 200 || n%2 == 1 && reply.Body["plaintext"] != want {
					mu.Lock()
					failures[fmt.Sprintf("%d %s %v", reply.Code, reply.name(), err)]++
					mu.Unlock()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	senders.Wait()
	slices.Sort(took)
	rate := float64(len(took)) / time.Since(begun).Seconds()
	median, p99, worst := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	t.Logf("%.0f requests a second for %s beside %d idle connections: median %s, p99 %s, worst %s", rate, xksMinute,
		xksIdle, median, p99, worst)
	if len(failures) > 0 {
		t.Errorf("requests failed: %v", failures)
	}
	if p99 > xksP99 || rate < 0.99*xksRate {
		t.Errorf("p99 is %s at %.0f requests a second, want at most %s at %d", p99, rate, xksP99, xksRate)
	}
}

// idle opens TLS connections that send nothing.
func (g *gatewayBench) idle(count int) (all []net.Conn) {
	g.Helper()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute},
		Config: &tls.Config{RootCAs: g.pool, ServerName: "localhost"}}
	addr := strings.TrimPrefix(g.aws.url, "https://")
	for range count {
		c, err := dialer.DialContext(g.Context(), "tcp", addr)
		if err != nil {
			g.Fatalf("after %d idle connections: %v (ulimit -n must allow %d)", len(all), err, 2*count)
		}
		all = append(all, c)
	}
	return all
}

// chaosGateway is the gateways under load.
type chaosGateway struct {
	*gatewayBench
	aws *awsKMS
	api map[string]*apiServer // by key

	credential sync.RWMutex // held by requests while they use it
	trouble    atomic.Bool  // the device may refuse
	absent     atomic.Bool  // the server may be down
	mu         sync.Mutex
	done       map[string]int
	faults     map[string]int
}

func (g *chaosGateway) count(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done[what]++
}

func (g *chaosGateway) fault(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults[fmt.Sprintf(format, args...)]++
}

// judge says whether a failure is one that the moment allows. Only the key in the device may be
// affected by the device.
func (g *chaosGateway) judge(what, key string, began time.Time, before bool, refused bool, text string) {
	switch {
	case time.Since(began) > chaosAnswer:
		g.fault("%s: answered after %s: %s", what, time.Since(began).Round(time.Second), text)
	case g.absent.Load() || before:
		g.count(what + " while the server restarts")
	case refused && key == "orders" && g.trouble.Load():
		g.count(what + " refused in trouble")
	default:
		g.fault("%s: %s", what, text)
	}
}

// xksClient encrypts and decrypts as AWS KMS until ctx ends.
func (g *chaosGateway) xksClient(ctx context.Context, key string) {
	var kept []xksReply
	var texts []string
	for n := 0; ctx.Err() == nil; n++ {
		what, path, text := "XKS encrypt "+key, "keys/"+key+"/encrypt", fmt.Sprint("text ", n)
		pick := -1
		if n%2 == 1 && len(kept) > 0 {
			pick = rand.IntN(len(kept))
			what, path, text = "XKS decrypt "+key, "keys/"+key+"/decrypt", texts[pick]
		}
		began, absent := time.Now(), g.absent.Load()
		g.credential.RLock()
		body := g.aws.encryptBody(text)
		if pick >= 0 {
			body = g.aws.decryptBody(kept[pick])
		}
		reply, err := g.aws.try(path, body)
		g.credential.RUnlock()
		switch {
		case err != nil || reply.Code != 200:
			g.judge(what, key, began, absent, reply.name() == "DependencyTimeoutException",
				fmt.Sprintf("%d %s %v", reply.Code, reply.name(), err))
			time.Sleep(20 * time.Millisecond)
		case pick < 0:
			g.count(what)
			if len(kept) < 500 {
				kept, texts = append(kept, reply), append(texts, text)
			}
		case reply.Body["plaintext"] != base64.StdEncoding.EncodeToString([]byte(text)):
			g.fault("%s: a wrong text", what)
		default:
			g.count(what)
		}
	}
}

// apiClient does the same as an API server.
func (g *chaosGateway) apiClient(ctx context.Context, key string) {
	api := g.api[key]
	var kept []*kms.EncryptResponse
	var texts []string
	for n := 0; ctx.Err() == nil; n++ {
		what, text := "KMS v2 encrypt "+key, fmt.Sprint("text ", n)
		began, absent := time.Now(), g.absent.Load()
		var err error
		if n%2 == 1 && len(kept) > 0 {
			pick := rand.IntN(len(kept))
			what = "KMS v2 decrypt " + key
			var got string
			if got, err = api.decrypt(kept[pick]); err == nil && got != texts[pick] {
				g.fault("%s: a wrong text", what)
			}
		} else {
			var sealed *kms.EncryptResponse
			if sealed, err = api.encrypt(text); err == nil && len(kept) < 500 {
				kept, texts = append(kept, sealed), append(texts, text)
			}
		}
		if err == nil {
			g.count(what)
			continue
		}
		code := status.Code(err)
		g.judge(what, key, began, absent, code == codes.Unavailable || code == codes.DeadlineExceeded, err.Error())
		time.Sleep(20 * time.Millisecond)
	}
}

// worker is the process that holds the token's library: a child of the server.
func (g *chaosGateway) worker() int {
	g.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		g.Fatal(err)
	}
	g.Server.mu.Lock()
	parent := strconv.Itoa(g.Server.cmd.Process.Pid)
	g.Server.mu.Unlock()
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := bytes.Cut(raw, []byte(") "))
		if f := strings.Fields(string(rest)); len(f) > 1 && f[1] == parent {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				g.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// freeze stops the device for a while, as often as is said.
func (g *chaosGateway) freeze(times int, on, off time.Duration) {
	g.trouble.Store(true)
	for range times {
		if pid := g.worker(); pid > 0 { // none: the server starts another
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			time.Sleep(on)
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have been replaced
		}
		time.Sleep(off)
	}
}

func (g *chaosGateway) call(code int, method, path string, body, out any) {
	g.Helper()
	benchDo(g.TB, g.Server, g.root, code, method, path, body, out)
}

func (g *chaosGateway) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// rotateCredential makes another credential, which all later requests use, and deletes the old one.
func (g *chaosGateway) rotateCredential() {
	g.Helper()
	var made xksMade
	g.call(200, "POST", "xks/stores/prod/credentials", nil, &made)
	g.credential.Lock()
	old := g.aws.id
	c := made.Data.Configuration.Credential
	g.aws.id, g.aws.secret = c.ID, c.Secret
	g.credential.Unlock()
	g.call(204, "DELETE", "xks/stores/prod/credentials/"+old, nil, nil)
	g.credential.RLock()
	defer g.credential.RUnlock()
	gone := *g.aws
	gone.id = old
	if reply, err := gone.try("health", gone.body("KmsHealthCheck", nil)); err != nil || reply.Code != 401 {
		g.fault("a deleted credential: %d %v", reply.Code, err)
	}
}

// clockOff sends requests of a clock that is four and six minutes off: AWS allows five.
func (g *chaosGateway) clockOff() {
	for _, c := range []struct {
		by   time.Duration
		code int
	}{{-4 * time.Minute, 200}, {4 * time.Minute, 200}, {-6 * time.Minute, 401}, {6 * time.Minute, 401}} {
		g.credential.RLock()
		a := *g.aws
		g.credential.RUnlock()
		a.skew = c.by
		reply, err := a.try("keys/soft/encrypt", a.encryptBody("text"))
		if err != nil || reply.Code != c.code {
			g.fault("a clock off by %s: %d %s %v, want %d", c.by, reply.Code, reply.name(), err, c.code)
		}
	}
}

// gatewayEvents happen to the gateways; each ends its trouble.
var gatewayEvents = []struct {
	name string
	do   func(g *chaosGateway)
}{
	{"the device is slow by 100 ms", func(g *chaosGateway) { g.freeze(20, 100*time.Millisecond, 20*time.Millisecond) }},
	{"the device is slow by 1 s", func(g *chaosGateway) { g.freeze(3, time.Second, 50*time.Millisecond) }},
	{"the device hangs", func(g *chaosGateway) { g.freeze(1, 8*time.Second, 0) }},
	{"the token is unavailable", func(g *chaosGateway) {
		g.trouble.Store(true)
		g.must(g.token.Away())
		time.Sleep(2 * time.Second)
		g.must(g.token.Back())
	}},
	{"the device's process is killed", func(g *chaosGateway) {
		g.trouble.Store(true)
		if pid := g.worker(); pid > 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}},
	{"credentials rotate", func(g *chaosGateway) {
		for range 5 {
			g.rotateCredential()
		}
	}},
	{"the keys rotate", func(g *chaosGateway) {
		for _, key := range []string{"orders", "soft"} {
			g.call(200, "POST", "transit/keys/"+key+"/rotate", nil, nil)
		}
	}},
	{"clocks are off", (*chaosGateway).clockOff},
	{"kill -9", func(g *chaosGateway) {
		g.trouble.Store(true)
		g.absent.Store(true)
		g.must(g.Kill())
		g.must(g.Start())
	}},
}

// healthy reports whether both gateways serve both keys.
func (g *chaosGateway) healthy() bool {
	g.credential.RLock()
	defer g.credential.RUnlock()
	for _, key := range []string{"orders", "soft"} {
		reply, err := g.aws.try("keys/"+key+"/encrypt", g.aws.encryptBody("probe"))
		if err != nil || reply.Code != 200 {
			return false
		}
		if sealed, err := g.api[key].encrypt("probe"); err != nil {
			return false
		} else if got, err := g.api[key].decrypt(sealed); err != nil || got != "probe" {
			return false
		}
	}
	return true
}

// TestChaosGateways: AWS KMS and API servers use a key in the token and one in the barrier while
// the device, the credentials, the keys, the clocks and the server have bad days. No answer is
// wrong, none takes longer than its deadline, only the key in the device suffers from the device,
// and everything works again after each event.
func TestChaosGateways(t *testing.T) {
	b := newGatewayBench(t)
	g := &chaosGateway{gatewayBench: b, aws: b.overTLS(xksSenders), api: map[string]*apiServer{},
		done: map[string]int{}, faults: map[string]int{}}
	for _, key := range []string{"orders", "soft"} {
		g.api[key] = newAPIServer(t, filepath.Join(g.Dir, key+".sock"))
	}
	testkit.Eventually(t, "both gateways serve", g.healthy)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for _, key := range []string{"orders", "orders", "soft"} {
		clients.Go(func() { g.xksClient(ctx, key) })
		clients.Go(func() { g.apiClient(ctx, key) })
	}
	order := rand.Perm(len(gatewayEvents))
	for i := range chaosEvents(t) {
		e := gatewayEvents[order[i%len(order)]]
		t.Logf("%d: %s", i, e.name)
		e.do(g)
		healed := time.Now()
		for !g.healthy() {
			if time.Since(healed) > chaosLimit {
				t.Fatalf("%s: not healthy within %s\n%s", e.name, chaosLimit, g.Server.Log())
			}
			time.Sleep(20 * time.Millisecond)
		}
		g.absent.Store(false)
		time.Sleep(chaosRest) // requests that began in the trouble end
		g.trouble.Store(false)
	}
	stop()
	clients.Wait()
	t.Logf("%v", g.done)
	for what, n := range g.faults {
		t.Errorf("%d times %s", n, what)
	}
}

// chaosRest is the time between two events.
const chaosRest = time.Second

// chaosEvents is the number of events in a run: that of `make chaos`, or each of them once.
func chaosEvents(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CHAOS_EVENTS")
	if text == "" {
		return len(gatewayEvents)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("CHAOS_EVENTS=%q is not a number", text)
	}
	return min(n, 10*len(gatewayEvents))
}

// TestChaosXKSLeaders: AWS KMS uses both nodes of a cluster while the leader steps down, is
// stopped in its tracks, and is killed. A leader that steps down fails no request; no answer is
// wrong in any case.
func TestChaosXKSLeaders(t *testing.T) {
	f, nodes := newXKSCluster(t)
	sealed := nodes[0].encrypt("orders", "text")
	want := base64.StdEncoding.EncodeToString([]byte("text"))
	var wrong, failed, served atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for i := range 6 {
		a := nodes[i%2]
		clients.Go(func() {
			for ctx.Err() == nil {
				reply, err := a.try("keys/orders/decrypt", a.decryptBody(sealed))
				switch {
				case err != nil || reply.Code != 200:
					failed.Add(1)
					time.Sleep(20 * time.Millisecond)
				case reply.Body["plaintext"] != want:
					wrong.Add(1)
				default:
					served.Add(1)
				}
			}
		})
	}
	whole := func() bool {
		for _, a := range nodes {
			if reply, err := a.try("keys/orders/encrypt", a.encryptBody("probe")); err != nil || reply.Code != 200 {
				return false
			}
		}
		return true
	}
	for i := range min(chaosEvents(t), 30) {
		leader := f.Settled()
		s := f.Nodes[leader]
		before := failed.Load()
		switch i % 3 {
		case 0:
			f.Must(leader, "PUT", "sys/step-down", "", nil)
			f.Leader(leader)
			if n := failed.Load() - before; n > 0 {
				t.Errorf("event %d: %d requests failed while the leader stepped down", i, n)
			}
		case 1:
			chaosMust(t, s.Signal(syscall.SIGSTOP))
			time.Sleep(time.Duration(rand.IntN(6)) * time.Second)
			chaosMust(t, s.Signal(syscall.SIGCONT))
		case 2:
			chaosMust(t, errors.Join(s.Kill(), s.Start()))
		}
		testkit.Eventually(t, "both nodes serve", whole)
	}
	stop()
	clients.Wait()
	t.Logf("%d requests were served, %d failed", served.Load(), failed.Load())
	if wrong.Load() > 0 || served.Load() == 0 {
		t.Errorf("%d answers were wrong", wrong.Load())
	}
}

// TestChaosSidecarMemory: the small program of the sidecar needs at most 25 MB, also after load.
func TestChaosSidecarMemory(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "sealgate-kms-plugin")
	out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", plugin,
		"github.com/sealgate/sealgate/cmd/sealgate-kms-plugin").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := newKubernetesKey(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(r.tokenFor("kubernetes", pluginPolicy)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSidecarOf(t, fmt.Sprintf("address = [%q]\nauth \"token_file\" {\n  path = %q\n}\n", r.URL(), file), plugin)
	testkit.Eventually(t, "the sidecar serves", func() bool {
		_, err := s.encrypt("text")
		return err == nil
	})
	sealed := s.seal("text")
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 300 {
				if got, err := s.decrypt(sealed); err != nil || got != "text" {
					t.Errorf("%q %v", got, err)
				}
			}
		})
	}
	callers.Wait()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == "VmRSS" {
			kilobytes, err := strconv.Atoi(strings.Fields(value)[0])
			if t.Logf("resident memory: %d KiB", kilobytes); err != nil || kilobytes*1024 > 25_000_000 {
				t.Errorf("resident memory is %s, want at most 25 MB", value)
			}
		}
	}
}

func chaosMust(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
