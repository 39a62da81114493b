package v1

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/operate"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/seals"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// TestSealBackends: Vault's members are there by their names and types; the rest is ours.
func TestSealBackends(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	var a struct {
		Healthy      *bool `json:"healthy"`
		FullyWrapped *bool `json:"fully_wrapped"`
		Backends     []struct {
			Name        string `json:"name"`
			Healthy     *bool  `json:"healthy"`
			Configured  *bool  `json:"configured"`
			Disabled    *bool  `json:"disabled"`
			WouldUnseal *bool  `json:"would_unseal"`
			Needed      []struct {
				KeyID string `json:"key_id"`
				For   string `json:"for"`
			} `json:"needed_keys"`
		} `json:"backends"`
	}
	read := func() {
		t.Helper()
		got := w.do("GET", "sys/seal-backend-status", "")
		if got.Code != 200 {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		a.Backends = nil
		if err := json.Unmarshal(got.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if len(a.Backends) != 1 || a.Healthy == nil || a.FullyWrapped == nil {
			t.Fatalf("%s", got.Body)
		}
		b := a.Backends[0]
		if b.Name != "box" || b.Healthy == nil || b.Configured == nil || !*b.Configured || b.Disabled == nil || *b.Disabled ||
			b.WouldUnseal == nil {
			t.Fatalf("%s", got.Body)
		}
	}
	read()
	if *a.FullyWrapped || len(a.Backends[0].Needed) != 0 {
		t.Error("before the initialisation nothing is wrapped, and nothing needed")
	}
	w.init(`{"recovery_shares":1,"recovery_threshold":1}`)
	read()
	if !*a.FullyWrapped || len(a.Backends[0].Needed) != 1 || a.Backends[0].Needed[0].KeyID != "k1" ||
		a.Backends[0].Needed[0].For != "root key" {
		t.Errorf("%+v", a)
	}
}

// doomed is a seal whose key is going to be destroyed.
type doomed struct{ wrapping.Wrapper }

var doom = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

func (doomed) Describe(context.Context) (seals.KeyState, error) {
	return seals.KeyState{State: "pending deletion", DeletionDate: doom}, nil
}

// TestDoomedKey: the alarm is in health, in the seal's status and in the metrics, with the date.
func TestDoomedKey(t *testing.T) {
	t.Parallel()
	seal := autoSeal(t)
	seal.Wrapper = doomed{seal.Wrapper}
	w := newHarness(t, seal)
	w.init(`{"recovery_shares":1,"recovery_threshold":1}`)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(w.do("GET", "sys/health", "").Body.String(),
		`"seal_key_deletion":"2031-02-03T04:05:06Z"`); {
		if time.Now().After(deadline) {
			t.Fatal(w.do("GET", "sys/health", "").Body)
		}
		time.Sleep(5 * time.Millisecond)
	}
	for path, text := range map[string]string{
		"sys/seal-status":         `will be destroyed at 2031-02-03T04:05:06Z`,
		"sys/seal-backend-status": `"key_deletion":"2031-02-03T04:05:06Z"`,
	} {
		if a := w.do("GET", path, ""); a.Code != 200 || !strings.Contains(a.Body.String(), text) {
			t.Errorf("%s: %d %s", path, a.Code, a.Body)
		}
	}
	shared := api.NewShared(metrics.New("vault", nil), nil)
	operate.Observe(shared, w.node)
	var b strings.Builder
	if err := shared.Metrics.WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	var value float64
	for line := range strings.Lines(b.String()) {
		if rest, ok := strings.CutPrefix(line, `sealgate_seal_key_deletion_timestamp_seconds{seal="box",type="static"} `); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Error(err)
			}
		}
	}
	if int64(value) != doom.Unix() {
		t.Errorf("the metric shows %v", value)
	}
}

// TestDetailsOfSealsAreNotForStrangers: labels, key ids, causes and remedies are shown to a token
// that may read them, and on a unix socket; others see state and class.
func TestDetailsOfSealsAreNotForStrangers(t *testing.T) {
	t.Parallel()
	seal := autoSeal(t)
	seal.Wrapper = doomed{seal.Wrapper}
	w := newHarness(t, seal)
	w.init(`{"recovery_shares":1,"recovery_threshold":1}`)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(w.do("GET", "sys/health", "").Body.String(),
		`"seal_key_deletion"`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the key's state is not known")
		}
	}
	w.policy("watcher", `path "sys/seal-backend-status" { capabilities = ["read"] }`)
	watcher := w.grant("watcher", moment.Add(time.Hour), "watcher")
	other := w.grant("other", moment.Add(time.Hour), "default")
	detail := regexp.MustCompile(`"k1"|needed_keys|will be destroyed at`)
	check := func(what, body string, want bool) {
		t.Helper()
		if detail.MatchString(body) != want || !strings.Contains(body, `"name":"box"`) ||
			!strings.Contains(body, `"key_state":"pending deletion"`) {
			t.Errorf("%s: details %t, want %t: %s", what, !want, want, body)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	serve(t, config.Listener{Type: "unix", Address: path, TLSDisable: true}, w.api)
	var d net.Dialer
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", path)
	}}
	defer tr.CloseIdleConnections()
	local := func(path string, header ...string) string {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://sealgate/v1/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		a, err := (&http.Client{Transport: tr}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		b, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	paths := []string{"sys/seal-status", "sys/seal-backend-status"}
	for _, path := range paths {
		for token, want := range map[string]bool{"": false, "s.000000000000000000000000": false, other: false,
			watcher: true, w.token: true} {
			check(path+" with "+token, w.do("GET", path, "", "X-Vault-Token", token).Body.String(), want)
		}
		check(path+" on a socket", local(path), true)
		check(path+" through a proxy on a socket", local(path, "X-Forwarded-For", "203.0.113.7"), false)
	}
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	for _, path := range paths {
		check(path+" while sealed", w.do("GET", path, "").Body.String(), false)
		check(path+" while sealed, on a socket", local(path), true)
	}
}
