package v1

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
)

// grantReply is the state of an authorisation.
type grantReply struct {
	Nonce     string `json:"nonce"`
	Started   bool   `json:"started"`
	StartedBy string `json:"started_by"`
	Progress  int    `json:"progress"`
	Required  int    `json:"required"`
	Complete  bool   `json:"complete"`
	Expires   string `json:"expires"`
}

func (w *harness) grantStep(method, path, body string, header ...string) (r grantReply) {
	w.t.Helper()
	a := w.do(method, path, body, header...)
	if a.Code != 200 {
		w.t.Fatalf("%s %s: %d %s", method, path, a.Code, a.Body)
	}
	w.decode(a, &r)
	return r
}

// authorize lets a quorum authorise one action of the token in use.
func (w *harness) authorize(action string) grantReply {
	w.t.Helper()
	path := "sys/authorize/" + action + "/"
	r := w.grantStep("PUT", path+"attempt", "")
	for _, key := range w.keys[:r.Required] {
		r = w.grantStep("PUT", path+"update", share(key, r.Nonce), "X-Vault-Token", "")
	}
	if !r.Complete || r.Expires == "" {
		w.t.Fatalf("after the last share: %+v", r)
	}
	return r
}

// TestRawNeedsAQuorum: neither sudo nor root reads, writes, lists or deletes raw entries without a
// quorum of shares; with one, once.
func TestRawNeedsAQuorum(t *testing.T) {
	t.Parallel()
	var later atomic.Int64 // nanoseconds: the node's own goroutine reads the clock too
	w := newHarnessAt(t, autoSeal(t), func() time.Time { return moment.Add(time.Duration(later.Load())) })
	w.init(`{"recovery_shares":3,"recovery_threshold":2}`)
	calls := map[string]func() *httptest.ResponseRecorder{
		"read": func() *httptest.ResponseRecorder { return w.do("GET", "sys/raw/core/mounts", "") },
		"list": func() *httptest.ResponseRecorder { return w.do("LIST", "sys/raw/core", "") },
		"write": func() *httptest.ResponseRecorder {
			return w.do("PUT", "sys/raw/x", `{"value":"x","compression_type":""}`)
		},
		"delete": func() *httptest.ResponseRecorder { return w.do("DELETE", "sys/raw/x", "") },
	}
	refused := func(when string) {
		t.Helper()
		for name, call := range calls {
			if a := call(); a.Code != 403 ||
				!strings.Contains(a.Body.String(), "sealgate operator authorize -purpose=raw -init") {
				t.Errorf("%s, %s: %d %s", when, name, a.Code, a.Body)
			}
		}
	}
	refused("without a ceremony")
	w.grantStep("PUT", "sys/authorize/raw/attempt", "")
	refused("while it runs")
	w.expect("cancel", w.do("DELETE", "sys/authorize/raw/attempt", ""), 204, "")
	for name, call := range calls {
		w.authorize("raw")
		if a := call(); a.Code/100 != 2 {
			t.Errorf("%s after a quorum: %d %s", name, a.Code, a.Body)
		}
		refused("after the " + name)
	}
	w.authorize("restore")
	refused("with a grant for restoring")
	w.authorize("raw")
	later.Add(int64(ceremony.GrantTime))
	refused("after its time")
	w.authorize("raw")
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	for _, key := range w.keys[:2] {
		w.expect("unseal", w.do("PUT", "sys/unseal", body("key", key)), 200, "")
	}
	refused("after the node was sealed")
}

// TestGrantIsForItsToken: the quorum authorised one token, and no other uses the grant, and not
// even its loss gives it to another.
func TestGrantIsForItsToken(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.authorize("raw")
	w.policy("admin", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`)
	other := w.grant("s.other", time.Time{}, "admin")
	a := w.do("GET", "sys/raw/core/mounts", "", "X-Vault-Token", other)
	if a.Code != 403 || !strings.Contains(a.Body.String(), "another one") {
		t.Errorf("with another token: %d %s", a.Code, a.Body)
	}
	w.expect("with its token", w.do("GET", "sys/raw/core/mounts", ""), 200, "")
}

// TestGrantCeremony: who may start, cancel and give, what is repeated, and what the transcript has.
func TestGrantCeremony(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	const path = "sys/authorize/raw/"
	w.policy("plain", `path "sys/authorize/*" { capabilities = ["update", "delete"] }`)
	plain := w.grant("s.plain", time.Time{}, "plain")
	for _, token := range []string{"", plain} {
		w.expect("start without sudo", w.do("PUT", path+"attempt", "", "X-Vault-Token", token), 403, "")
		w.expect("cancel without sudo", w.do("DELETE", path+"attempt", "", "X-Vault-Token", token), 403, "")
	}
	var batch struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	w.policy("admin", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`)
	w.decode(w.do("POST", "auth/token/create", `{"type":"batch","policies":["admin"]}`), &batch)
	a := w.do("PUT", path+"attempt", "", "X-Vault-Token", batch.Auth.Token)
	if a.Code != 400 || !strings.Contains(a.Body.String(), "batch token") {
		t.Errorf("a batch token: %d %s", a.Code, a.Body)
	}
	begun := w.grantStep("PUT", path+"attempt", "")
	if begun.Required != 2 || begun.StartedBy != "root" || begun.Complete {
		t.Errorf("the start: %+v", begun)
	}
	w.expect("another start", w.do("PUT", path+"attempt", ""), 400,
		refusal("authorization of raw access already in progress"))
	if st := w.grantStep("GET", path+"attempt", "", "X-Vault-Token", ""); st.StartedBy != "" || st.Nonce != begun.Nonce {
		t.Errorf("the status for a client without a token: %+v", st)
	}
	w.expect("a wrong nonce", w.do("PUT", path+"update", share(w.keys[0], "x")), 400, "")
	w.expect("a wrong share", w.do("PUT", path+"update", share(stranger, begun.Nonce)), 400, "")
	w.grantStep("PUT", path+"update", share(w.keys[0], begun.Nonce))
	w.expect("the same share", w.do("PUT", path+"update", share(w.keys[0], begun.Nonce)), 400,
		refusal("given key has already been provided during this operation"))
	done := w.grantStep("PUT", path+"update", share(w.keys[2], begun.Nonce))
	again := w.grantStep("PUT", path+"update", share(w.keys[2], begun.Nonce))
	if !done.Complete || again.Expires != done.Expires {
		t.Errorf("the last share %+v, and again %+v", done, again)
	}
	w.expect("use", w.do("GET", "sys/raw/core/mounts", ""), 200, "")
	w.expect("the last share after the use", w.do("PUT", path+"update", share(w.keys[2], begun.Nonce)), 400,
		refusal("no authorization of raw access in progress"))
	w.expect("a second use", w.do("GET", "sys/raw/core/mounts", ""), 403, "")
	records := w.do("LIST", "sys/recovery/transcripts", "").Body.String()
	if !strings.Contains(records, `"00000001-authorize-raw"`) {
		t.Errorf("the transcript: %s", records)
	}
	w.discreet(append(w.keys, begun.Nonce)...)
}

// TestForcedRestoreNeedsAQuorum, of the shares that hold now, before anything of the body is read.
func TestForcedRestoreNeedsAQuorum(t *testing.T) {
	t.Parallel()
	w, other := unsealed(t), unsealed(t)
	foreign := string(other.save())
	const path = "sys/storage/raft/snapshot-force"
	refused := func(when string) {
		t.Helper()
		if a := w.do("POST", path, foreign); a.Code != 403 ||
			!strings.Contains(a.Body.String(), "sealgate operator authorize -purpose=restore -init") {
			t.Errorf("%s: %d %s", when, a.Code, a.Body)
		}
	}
	refused("without a quorum")
	w.authorize("raw")
	refused("with a grant for raw access")
	w.authorize("restore")
	nonce := w.ask("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":2,"secret_threshold":2}`).Nonce
	for _, key := range w.keys[:2] {
		w.ask("PUT", "sys/rekey-recovery-key/update", share(key, nonce))
	}
	refused("after the shares were replaced")
}

// TestWithoutSharesTheConfigurationDecides: where nobody holds shares, no quorum can be asked.
func TestWithoutSharesTheConfigurationDecides(t *testing.T) {
	t.Parallel()
	foreign := string(unsealed(t).save())
	const path = "sys/storage/raft/snapshot-force"
	for _, allowed := range []bool{false, true} {
		w := newHarness(t, autoSeal(t), func(c *api.Config) { c.ForcedRestore = allowed })
		w.init(`{"recovery_shares":0,"recovery_threshold":0}`)
		if !strings.Contains(w.log.String(), "nobody holds shares of this store") {
			t.Error("the start does not say that nobody holds shares")
		}
		w.expect("raw", w.do("GET", "sys/raw/core/mounts", ""), 200, "")
		w.expect("a ceremony", w.do("PUT", "sys/authorize/raw/attempt", ""), 400, "")
		a := w.do("POST", path, foreign)
		want := map[bool]int{false: 403, true: 204}[allowed]
		if a.Code != want || !allowed && !strings.Contains(a.Body.String(), "unsafe_allow_forced_restore") {
			t.Errorf("a restore, allowed %v: %d %s", allowed, a.Code, a.Body)
		}
	}
}

// TestGrantsAreCountedByOne: of many calls at one moment, one uses the grant.
func TestGrantsAreCountedByOne(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.authorize("raw")
	codes := make(chan int, 20)
	for range cap(codes) {
		go func() { codes <- sendTo(w.api, w.request("GET", "/v1/sys/raw/core/mounts", "")).Code }()
	}
	count := map[int]int{}
	for range cap(codes) {
		count[<-codes]++
	}
	if got := fmt.Sprint(count); got != "map[200:1 403:19]" {
		t.Errorf("statuses of 20 calls: %s", got)
	}
}
