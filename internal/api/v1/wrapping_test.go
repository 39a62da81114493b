package v1

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

type wrapReply struct {
	RequestID string `json:"request_id"`
	Data      json.RawMessage
	WrapInfo  *api.WrapAnswer `json:"wrap_info"`
	Auth      *api.AuthAnswer
	Warnings  []string
}

// wrapIt sends a request whose answer is to be wrapped.
func (w *harness) wrapIt(method, path, body, ttl string) *api.WrapAnswer {
	w.t.Helper()
	a := w.do(method, path, body, "X-Vault-Wrap-TTL", ttl)
	var r wrapReply
	w.decode(a, &r)
	if a.Code != 200 || r.WrapInfo == nil || r.RequestID != "" || string(r.Data) != "null" || r.Auth != nil {
		w.t.Fatalf("%s %s: %d %s", method, path, a.Code, a.Body)
	}
	return r.WrapInfo
}

const badWrap = "wrapping token is not valid or does not exist"

// TestTrap31WrappedAnswersHaveNoRequestID, and hold what would have been answered.
func TestTrap31WrappedAnswersHaveNoRequestID(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"n":12345678901234567,"s":"x"}`), 204, "")
	info := w.wrapIt("GET", "secret/a", "", "5m")
	if info.TTL != 300 || info.CreationPath != "secret/a" || info.WrappedAccessor != "" || len(info.Accessor) != 24 {
		t.Errorf("%+v", info)
	}
	var r wrapReply
	w.decode(w.do("PUT", "sys/wrapping/unwrap", "", "X-Vault-Token", info.Token), &r)
	if string(r.Data) != `{"n":12345678901234567,"s":"x"}` || r.RequestID == "" {
		t.Errorf("unwrapped: %+v %s", r, r.Data)
	}
	w.expect("twice", w.do("PUT", "sys/wrapping/unwrap", "", "X-Vault-Token", info.Token), 400, refusal(badWrap))

	info = w.wrapIt("POST", "auth/token/create", `{"policies":["p1"],"ttl":"1h"}`, "60")
	if info.WrappedAccessor == "" {
		t.Error("an answer with a token says nothing of its accessor")
	}
	w.decode(w.do("PUT", "sys/wrapping/unwrap", fmt.Sprintf(`{"token":%q}`, info.Token)), &r)
	if r.Auth == nil || r.Auth.Accessor != info.WrappedAccessor || !strings.HasPrefix(r.Auth.ClientToken, "s.") {
		t.Errorf("unwrapped: %+v", r)
	}
	w.discreet(info.Token)
}

func TestWrappingEndpoints(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("no header", w.do("POST", "sys/wrapping/wrap", `{"a":"b"}`), 400,
		refusal("endpoint requires response wrapping to be used: give X-Vault-Wrap-TTL"))
	info := w.wrapIt("POST", "sys/wrapping/wrap", `{"a":"b"}`, "60s")
	for what, a := range map[string]*httptest.ResponseRecorder{
		"by body, without a token": w.do("POST", "sys/wrapping/lookup", fmt.Sprintf(`{"token":%q}`, info.Token),
			"X-Vault-Token", ""),
		"with it as own token": w.do("GET", "sys/wrapping/lookup", "", "X-Vault-Token", info.Token),
	} {
		if a.Code != 200 || !strings.Contains(a.Body.String(), `"creation_path":"sys/wrapping/wrap","creation_time":"2026-01-02T03:04:05.5Z","creation_ttl":60`) {
			t.Errorf("lookup %s: %d %s", what, a.Code, a.Body)
		}
	}
	var r wrapReply
	w.decode(w.do("POST", "sys/wrapping/rewrap", fmt.Sprintf(`{"token":%q}`, info.Token)), &r)
	if r.WrapInfo == nil || r.WrapInfo.TTL != 60 || r.WrapInfo.Token == info.Token ||
		r.WrapInfo.CreationPath != "sys/wrapping/wrap" {
		t.Fatalf("rewrap: %+v", r)
	}
	for _, op := range []string{"lookup", "unwrap", "rewrap"} {
		w.expect(op+" of what was rewrapped", w.do("POST", "sys/wrapping/"+op, fmt.Sprintf(`{"token":%q}`, info.Token)),
			400, refusal(badWrap))
		w.expect(op+" of a token that is none", w.do("POST", "sys/wrapping/"+op, fmt.Sprintf(`{"token":%q}`, w.token),
			"X-Vault-Token", w.token), 400, refusal(badWrap))
		w.expect(op+" of nothing", w.do("POST", "sys/wrapping/"+op, "", "X-Vault-Token", ""), 400, refusal(badWrap))
	}
	w.expect("the root token still lives", w.do("GET", "auth/token/lookup-self", ""), 200, "")
	next := r.WrapInfo.Token
	w.expect("somebody without a token names it", w.do("POST", "sys/wrapping/unwrap", fmt.Sprintf(`{"token":%q}`, next),
		"X-Vault-Token", ""),
		403, refusal("permission denied"))
	weak := w.grant("weak", moment.AddDate(1, 0, 0), "nothing")
	w.expect("somebody without the policy names it", w.do("POST", "sys/wrapping/unwrap", fmt.Sprintf(`{"token":%q}`, next),
		"X-Vault-Token", weak),
		403, refusal("1 error occurred:\n\t* permission denied\n\n"))
	w.decode(w.do("POST", "sys/wrapping/unwrap", fmt.Sprintf(`{"token":%q}`, next)), &r)
	if string(r.Data) != `{"a":"b"}` {
		t.Errorf("unwrapped: %s", r.Data)
	}
	w.expect("a write that answers nothing", w.do("PUT", "secret/x", `{"a":1}`, "X-Vault-Wrap-TTL", "60"), 204, "")
	w.expect("an error", w.do("GET", "secret/nothing", "", "X-Vault-Wrap-TTL", "60"), 404, `{"errors":[]}`)
}

// TestTrap30AWrappingTokenUsedElsewhereIsConsumed: its intended recipient notices.
func TestTrap30AWrappingTokenUsedElsewhereIsConsumed(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	info := w.wrapIt("POST", "sys/wrapping/wrap", `{"a":"b"}`, "60s")
	w.expect("lookup-self", w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", info.Token), 403,
		refusal("1 error occurred:\n\t* permission denied\n\n"))
	w.expect("unwrap", w.do("PUT", "sys/wrapping/unwrap", "", "X-Vault-Token", info.Token), 400, refusal(badWrap))
	w.expect("lookup", w.do("POST", "sys/wrapping/lookup", fmt.Sprintf(`{"token":%q}`, info.Token)), 400, refusal(badWrap))
	active, err := w.node.Role()
	if err != nil {
		t.Fatal(err)
	}
	names, err := active.Store().List(t.Context(), "auth/wrapped/", "", 0)
	if err != nil || len(names) != 0 {
		t.Errorf("what it held is still there: %v, %v", names, err)
	}
}

// TestOneOfManyUnwraps: however many try at the same time, by whatever way, one gets it.
func TestOneOfManyUnwraps(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for range 20 {
		info := w.wrapIt("POST", "sys/wrapping/wrap", `{"a":"b"}`, "60s")
		named := fmt.Sprintf(`{"token":%q}`, info.Token)
		var got atomic.Int32
		var wg sync.WaitGroup
		for i := range 12 {
			path, body, token := "sys/wrapping/unwrap", "", info.Token
			switch i % 3 {
			case 1:
				body, token = named, w.token
			case 2:
				path = "sys/wrapping/rewrap"
			}
			wg.Go(func() {
				switch a := sendTo(w.api, w.request("PUT", "/v1/"+path, body, "X-Vault-Token", token)); a.Code {
				case http.StatusOK:
					got.Add(1)
				case http.StatusBadRequest:
				default:
					t.Errorf("%d %s", a.Code, a.Body)
				}
			})
		}
		wg.Wait()
		if got.Load() != 1 {
			t.Fatalf("%d of 12 got what the wrapping token held", got.Load())
		}
	}
}

// TestWrapTTLPolicies: a policy can ask for wrapping, within bounds.
func TestWrapTTLPolicies(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"x":1}`), 204, "")
	w.expect("policy", w.do("PUT", "sys/policies/acl/wrapped",
		`{"policy":"path \"secret/a\" { capabilities = [\"read\"] min_wrapping_ttl = \"60s\" max_wrapping_ttl = `+
			`\"120s\" }"}`), 204, "")
	token := w.grant("wrapped", moment.AddDate(1, 0, 0), "wrapped")
	for ttl, code := range map[string]int{"": 403, "59": 403, "60": 200, "120s": 200, "121": 403} {
		w.expect("ttl "+ttl, w.do("GET", "secret/a", "", "X-Vault-Wrap-TTL", ttl, "X-Vault-Token", token), code, "")
	}
}

// TestLargeAnswersAreNotWrapped: nothing is lost, and the client gets an error.
func TestLargeAnswersAreNotWrapped(t *testing.T) {
	t.Parallel()
	w := unsealed(t, func(c *api.Config) { c.Limits.JSONMemory = 1 << 30 })
	a := w.do("POST", "sys/wrapping/wrap", `{"a":"`+strings.Repeat("x", 2<<20)+`"}`, "X-Vault-Wrap-TTL", "60")
	if a.Code != http.StatusRequestEntityTooLarge || !strings.Contains(a.Body.String(), "too large to wrap") {
		t.Errorf("%d %.300s", a.Code, a.Body)
	}
}

// TestTokensOfAnswersThatCannotBeWrapped: a token that was made for no client ends; one that was
// renewed continues.
func TestTokensOfAnswersThatCannotBeWrapped(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	var made wrapReply
	w.decode(w.do("POST", "auth/token/create", `{"policies":["default"],"ttl":"1h"}`), &made)
	for _, tc := range []struct {
		path string
		code int
	}{{"a renewed token", 200}, {"a created token", 403}} {
		h := withRoute(w, api.Route{Methods: api.Write, Path: "sys/test", Capability: policy.Update,
			Handle: func(context.Context, *api.Handler, *api.Request) (*api.Answer, error) {
				return &api.Answer{Auth: &api.AuthAnswer{ClientToken: made.Auth.ClientToken}, Created: tc.code == 403,
					Data: map[string]string{"x": strings.Repeat("x", 2<<20)}}, nil
			}})
		if a := sendTo(h, w.request("PUT", "/v1/sys/test", "", "X-Vault-Wrap-TTL", "1m")); a.Code != 413 {
			t.Errorf("2 MiB were wrapped: %d %s", a.Code, a.Body)
		}
		w.expect(tc.path, w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", made.Auth.ClientToken), tc.code, "")
	}
}

// TestCappedWrapTTLWarns: a TTL beyond the maximum is not cut without a word (case 16 g).
func TestCappedWrapTTLWarns(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for ttl, warned := range map[string]bool{"60": false, "768h": false, "769h": true} {
		a := w.do("GET", "sys/mounts", "", "X-Vault-Wrap-TTL", ttl)
		if strings.Contains(a.Body.String(), "capped accordingly") != warned || a.Code != 200 {
			t.Errorf("%s: %d %s", ttl, a.Code, a.Body)
		}
	}
}
