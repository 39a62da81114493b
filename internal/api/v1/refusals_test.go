package v1

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/testkit"
)

// from makes a request from an address, without a token.
func (w *harness) from(address, path, body string) *httptest.ResponseRecorder {
	r := w.request("PUT", "/v1/"+path, body, "X-Vault-Token", "")
	r.RemoteAddr = address
	return w.send(r)
}

// TestWrongSharesAreLimited: on every path where anybody may give a share, wrong ones get 429 in
// the end, with the time to wait and the reason that they had before; and a right one is taken all
// the same.
func TestWrongSharesAreLimited(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"sys/rekey/update", "sys/rekey-recovery-key/update", "sys/generate-root/update", "sys/recovery/prove",
		"sys/rekey-recovery-key/verify",
		"sys/rekey/acknowledge", "sys/rekey-recovery-key/acknowledge", "sys/generate-root/acknowledge", "sys/rekey/verify",
	} {
		t.Run(strings.ReplaceAll(path, "/", "_"), func(t *testing.T) {
			t.Parallel()
			w := newHarness(t, autoSeal(t))
			keys := w.init(`{"recovery_shares":3,"recovery_threshold":3}`).RecoveryKeys
			right := body("key", keys[0], "nonce", w.begin(path))
			wrong := share(stranger, "x")
			for i := range limits.AddressBurst {
				if a := w.from("198.51.100.7:1", path, wrong); a.Code != 400 {
					t.Fatalf("wrong share %d: %d %s", i+1, a.Code, a.Body)
				}
			}
			before := w.from("203.0.113.9:1", path, wrong)
			a := w.from("198.51.100.7:2", path, wrong)
			if a.Code != 429 || a.Header().Get("Retry-After") != "1" || !strings.Contains(a.Body.String(), "wait 1 s") {
				t.Errorf("one too many: %d, Retry-After %q, %s", a.Code, a.Header().Get("Retry-After"), a.Body)
			}
			if why := strings.TrimSuffix(before.Body.String(), "\"]}\n"); before.Code != 400 ||
				!strings.HasPrefix(a.Body.String(), why) {
				t.Errorf("it does not say why, as it did before: %s, %s", a.Body, before.Body)
			}
			if !strings.HasSuffix(path, "acknowledge") && !strings.HasSuffix(path, "verify") {
				w.expect("a right share from there", w.from("198.51.100.7:3", path, right), 200, "")
			}
			w.discreet(stranger, keys[0], keys[1])
		})
	}
}

// begin starts what a path gives shares to, and returns the nonce.
func (w *harness) begin(path string) string {
	w.t.Helper()
	first, ok := strings.CutSuffix(path, "/update")
	if !ok {
		return ""
	}
	if first == "sys/generate-root" {
		return w.ask("PUT", first+"/attempt", `{}`).Nonce
	}
	return w.ask("PUT", first+"/init", `{"secret_shares":3,"secret_threshold":2}`).Nonce
}

func TestWrongUnsealSharesAreLimited(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":2,"secret_threshold":2}`).Keys
	for range limits.AddressBurst {
		w.expect("a wrong share", w.from("198.51.100.7:1", "sys/unseal", body("key", stranger)), 400, "")
	}
	w.expect("one too many", w.from("198.51.100.7:1", "sys/unseal", body("key", stranger)), 429, "")
	w.expect("a right one", w.from("198.51.100.7:1", "sys/unseal", body("key", keys[0])), 200, "")
	w.expect("the same again", w.from("198.51.100.7:1", "sys/unseal", body("key", keys[0])), 200, "")
	w.unseal(keys[1])
}

// TestOthersMistakesDoNotCount: neither other addresses', as long as the path's own limit holds,
// nor a right share given twice.
func TestOthersMistakesDoNotCount(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":3,"recovery_threshold":3}`).RecoveryKeys
	const path = "sys/rekey-recovery-key/update"
	nonce := w.begin(path)
	w.expect("a right share", w.from("203.0.113.9:1", path, share(keys[0], nonce)), 200, "")
	for range 3 * limits.AddressBurst {
		a := w.from("203.0.113.9:1", path, share(keys[0], nonce))
		w.expect("the same again", a, 400, refusal("given key has already been provided during this rekey operation"))
	}
	for i := range limits.PathBurst {
		w.expect("a wrong share", w.from(fmt.Sprintf("198.51.100.%d:1", i), path, share(stranger, nonce)), 400, "")
	}
	w.expect("a wrong share from anywhere", w.from("192.0.2.77:1", path, share(stranger, nonce)), 429, "")
	w.expect("another path", w.from("192.0.2.77:1", "sys/recovery/prove", body("key", stranger)), 400, "")
	w.expect("a right share", w.from("192.0.2.77:1", path, share(keys[1], nonce)), 200, "")
	if n := strings.Count(w.log.String(), "many shares are refused"); n != 1 {
		t.Errorf("%d lines in the log for one moment", n)
	}
}

// TestAFloodDelaysNoRightShare: while wrong shares come in as fast as the machine takes them, over
// several connections, every right one is answered, within a second where nothing else runs.
func TestAFloodDelaysNoRightShare(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":12,"recovery_threshold":12}`).RecoveryKeys
	const path = "sys/rekey-recovery-key/"
	nonce := w.ask("PUT", path+"init", `{"secret_shares":255,"secret_threshold":128}`).Nonce
	w.flood(path+"update", share(stranger, nonce), func(i int) string { return share(keys[i], nonce) }, len(keys))
}

func TestAFloodDelaysNoUnseal(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":12,"secret_threshold":12}`).Keys
	w.flood("sys/unseal", body("key", stranger), func(i int) string { return body("key", keys[i]) }, len(keys))
	if _, err := w.node.Role(); err != nil {
		t.Errorf("after all shares: %v", err)
	}
}

// flood gives n right shares, each after another hundred wrong ones, while those continue.
func (w *harness) flood(path, wrong string, right func(i int) string, n int) {
	w.t.Helper()
	url := "http://" + serve(w.t, config.Listener{TLSDisable: true}, w.api).Addr().String() + "/v1/" + path
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	var byStatus [600]atomic.Int64
	var total atomic.Int64
	hundred := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			for ctx.Err() == nil {
				code, err := give(ctx, tr, url, wrong)
				if err != nil {
					continue
				}
				byStatus[code].Add(1)
				if total.Add(1)%100 == 0 {
					select {
					case hundred <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	var worst time.Duration
	for i := range n {
		<-hundred
		begin := time.Now()
		code, err := give(ctx, tr, url, right(i))
		if err != nil || code != 200 {
			w.t.Errorf("right share %d: %d, %v", i+1, code, err)
		}
		worst = max(worst, time.Since(begin))
	}
	stop()
	wg.Wait()
	testkit.AtMost(w.t, "a right share beside a flood, in seconds", worst.Seconds(), 1)
	bad, limited := byStatus[400].Load(), byStatus[429].Load()
	if limited == 0 || bad > limits.PathBurst {
		w.t.Errorf("of the flood %d got 400, %d 429", bad, limited)
	}
	w.t.Logf("%d wrong shares; a right one took %v at most", total.Load(), worst)
}

// give sends one share, as the one client of its connection.
func give(ctx context.Context, tr *http.Transport, url, body string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, "PUT", url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	a, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Do(r)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	_, err = io.Copy(io.Discard, a.Body)
	return a.StatusCode, err
}
