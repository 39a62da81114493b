package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBadBodies: what is too large, no JSON, or of the wrong kind is the client's fault, and the
// error says so.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	r := newShamirHarness(t)
	r.mustStart()
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	wide := `{"a":[` + strings.Repeat(`"x",`, 200_000) + `"x"]}`
	bodies := []struct {
		name, body string
		codes      []int
		words      string
	}{
		{"not JSON", "not JSON", []int{400}, "JSON"},
		{"cut JSON", `{"key":"ab`, []int{400}, "JSON"},
		{"two values", `{} {}`, []int{400}, "JSON"},
		{"a list", `[1,2]`, []int{400}, "JSON object"},
		{"a number", `7`, []int{400}, "JSON object"},
		{"bytes", "\x00\xff\xfe{}", []int{400}, "JSON"},
		{"deep", deep, []int{400, 413}, ""},
		{"wide", wide, []int{400, 413}, ""},
		{"deep lists", strings.Repeat("[", 30000), []int{400, 413}, ""},
	}
	for _, path := range []string{"sys/init", "sys/unseal"} {
		for _, b := range bodies {
			reply := r.call("PUT", path, b.body)
			if !slices.Contains(b.codes, reply.Code) {
				t.Errorf("%s to %s: %d %.200s; want %v", b.name, path, reply.Code, reply.Body, b.codes)
			}
			saysAll(t, b.name, reply.Errors(), b.words)
		}
	}
	for body, field := range map[string]string{
		`{"secret_shares":"5","secret_threshold":3}`:                  "secret_shares",
		`{"secret_shares":5.5,"secret_threshold":3}`:                  "secret_shares",
		`{"secret_shares":5,"secret_threshold":[3]}`:                  "secret_threshold",
		`{"secret_shares":99999999999999999999,"secret_threshold":3}`: "secret_shares",
		`{"secret_shares":-1,"secret_threshold":3}`:                   "shares must be at least one",
		`{"secret_shares":300,"secret_threshold":3}`:                  "shares must be less than 256",
		`{"secret_shares":3,"secret_threshold":4}`:                    "threshold cannot be larger than shares",
		`{"pgp_keys":"k","secret_shares":1,"secret_threshold":1}`:     "pgp_keys",
	} {
		saysAll(t, body, r.must(400, "PUT", "sys/init", body).Errors(), field)
	}
	saysAll(t, "a large body", r.must(413, "PUT", "sys/unseal", `{"key":"`+strings.Repeat("a", 100_000)+`"}`).Errors(),
		"too large", "65536")

	// Unknown fields are ignored: clients of other versions send them.
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", `{"secret_shares":1,"secret_threshold":1,"stored_shares":1,"tomorrow":{"x":[1]}}`), &out)
	r.root = out.RootToken
	r.must(200, "PUT", "sys/unseal", map[string]string{"key": out.Keys[0]})
	r.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	for _, b := range bodies {
		reply := r.call("PUT", "kv/a", b.body)
		if !slices.Contains(b.codes, reply.Code) {
			t.Errorf("%s to kv/a: %d %.200s; want %v", b.name, reply.Code, reply.Body, b.codes)
		}
	}
	saysAll(t, "a large secret", r.must(413, "PUT", "kv/a", map[string]string{"v": strings.Repeat("a", 2<<20)}).Errors(),
		"too large")
	r.must(404, "GET", "kv/a", nil)
	r.mustPut("a", strings.Repeat("a", 900_000))
	r.mustGet("a", strings.Repeat("a", 900_000))
	r.root = "s.000000000000000000000000"
	r.must(403, "PUT", "kv/a", strings.Repeat("{", 1<<20)) // not even read
}

// raw sends one request as it is written, and returns the status.
func (r *harness) raw(request string) int {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", r.Addr, patience)
	if err != nil {
		r.t.Fatalf("%q: %v", request, err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(request)); err != nil {
		r.t.Fatalf("%q: %v", request, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatalf("%q: %v", request, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestOddPaths: no path leads where it should not, and none is a 5xx.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.mustPut("a/b", "value")
	for _, path := range []string{
		"kv/../sys/key-status", "kv/%2e%2e/sys/key-status", "kv/./a/b", "kv//a/b", "kv/%2f/a", "kv/a%2fb/../c",
		"//sys/health", "sys/../sys/health",
		"kv/%00", "kv/a%00b", "kv/a%0ab", "kv/%ff%fe", "kv/%c0%ae%c0%ae/x", "kv/" + strings.Repeat("x/", 3000),
		"kv/" + strings.Repeat("x", 20000), "kv/..", "kv/.", "..", "%2e%2e/%2e%2e/etc/passwd",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "LIST"} {
			code :=
				r.raw(fmt.Sprintf("%s /v1/%s HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\nContent-Length: 11\r\nConnection: "+
					"close\r\n\r\n{\"v\":\"odd\"}",
					method, path, r.root))
			if code != 307 && (code < 400 || code >= 500) { // 307 leads to the clean path
				t.Errorf("%s %.60s: %d; want 307 or 4xx", method, path, code)
			}
		}
	}
	for _, request := range []string{
		"GET /v1/sys/health HTTP/1.1\r\n\r\n", "GET /v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"BREW /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\r\n\r\n",
		"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\nX-Vault-Token: " + strings.Repeat("t", 200_000) + "\r\n\r\n",
		"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
		"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\n{}{}\r\n0\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		if code := r.raw(request); code < 400 || code >= 500 {
			t.Errorf("%.60q: %d; want 4xx", request, code)
		}
	}
	r.mustGet("a/b", "value")
}

func (r *harness) unauthenticated(method, path string, body any) Reply {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	reply, err := r.Do(ctx, method, path, "", body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

func (r *harness) give(path, share, nonce string) Reply {
	r.t.Helper()
	return r.unauthenticated("PUT", path, map[string]string{"key": share, "nonce": nonce})
}

func (r *harness) startRekey(shares, threshold int) (nonce string) {
	r.t.Helper()
	var st struct{ Nonce string }
	r.decode(r.must(200, "PUT", "sys/rekey-recovery-key/init", map[string]int{"secret_shares": shares,
		"secret_threshold": threshold}), &st)
	return st.Nonce
}

// TestBadShares: each is refused when it is given, for its own reason, and spoils none of the
// others.
func TestBadShares(t *testing.T) {
	t.Parallel()
	const path = "sys/rekey-recovery-key/update"
	r := newStaticHarness(t)
	r.mustStart()
	old := r.mustInit()
	saysAll(t, "a share without a rekey", r.give(path, old[0], "x").Errors(), "no recovery rekey in progress")
	nonce := r.startRekey(3, 2)

	first, _ := base64.StdEncoding.DecodeString(old[0])
	changed := slices.Clone(first)
	changed[5] ^= 1
	refuse := func(what, share, nonce, words string) {
		t.Helper()
		reply := r.give(path, share, nonce)
		if reply.Code != 400 && reply.Code != 429 { // a client that gives many bad shares must wait
			t.Errorf("%s: %d %s", what, reply.Code, reply.Body)
		}
		saysAll(t, what, reply.Errors(), words)
	}
	bad := func() {
		t.Helper()
		refuse("empty", "", nonce, "'key' must be specified")
		refuse("no share", "hello, world!", nonce, "hex or base64")
		refuse("short", base64.StdEncoding.EncodeToString(first[:10]), nonce, "shorter")
		refuse("cut", base64.StdEncoding.EncodeToString(first[:32]), nonce, "share")
		refuse("long", base64.StdEncoding.EncodeToString(append(slices.Clone(first), 1)), nonce, "longer")
		refuse("one bit wrong", base64.StdEncoding.EncodeToString(changed), nonce, "share")
		refuse("no nonce", old[1], "", "nonce")
		refuse("wrong nonce", old[1], "00000000-0000-4000-8000-000000000000", "nonce")
		refuse("a type of its own", old[1], nonce+" ", "nonce")
	}
	bad()
	r.progress(t, 0)
	for i, share := range old[:2] {
		if reply := r.give(path, share, nonce); reply.Code != 200 {
			t.Fatalf("share %d: %s", i, reply.Body)
		}
		refuse("the same again", share, nonce, "already")
		bad()
		r.progress(t, i+1)
	}

	// Nobody without a token changes what others are doing.
	for _, method := range []string{"DELETE", "PUT"} {
		if reply := r.unauthenticated(method, "sys/rekey-recovery-key/init",
			map[string]int{"secret_shares": 1, "secret_threshold": 1}); reply.Code != 403 {
			t.Errorf("%s init without a token: %d %s", method, reply.Code, reply.Body)
		}
	}
	r.progress(t, 2)
	var done struct {
		Complete bool
		Keys     []string `json:"keys_base64"`
	}
	r.decode(r.give(path, old[4], nonce), &done)
	if !done.Complete || len(done.Keys) != 3 {
		t.Fatalf("the rekey was not completed: %d keys", len(done.Keys))
	}

	nonce = r.startRekey(1, 1)
	for _, share := range old {
		refuse("of the generation before", share, nonce, "replaced")
	}
	if reply := r.give(path, done.Keys[2], nonce); reply.Code != 200 {
		t.Errorf("a share of the new generation: %s", reply.Body)
	}
	r.must(204, "DELETE", "sys/rekey-recovery-key/init", nil)
	refuse("after the cancellation", done.Keys[1], nonce, "no recovery rekey in progress")
}

func (r *harness) progress(t *testing.T, want int) {
	t.Helper()
	var st struct{ Progress int }
	r.decode(r.must(200, "GET", "sys/rekey-recovery-key/init", nil), &st)
	if st.Progress != want {
		t.Errorf("progress %d; want %d", st.Progress, want)
	}
}

// TestUnsealShares gives bad and good shares to a server under a Shamir seal.
func TestUnsealShares(t *testing.T) {
	t.Parallel()
	r := newShamirHarness(t)
	r.mustStart()
	share := func(key string) Reply { return r.unauthenticated("PUT", "sys/unseal", map[string]string{"key": key}) }
	if reply := share(base64.StdEncoding.EncodeToString(make([]byte, 33))); reply.Code != 400 {
		t.Errorf("a share before the initialisation: %d %s", reply.Code, reply.Body)
	}
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", map[string]int{"secret_shares": 5, "secret_threshold": 3}), &out)
	r.root = out.RootToken
	for i, key := range []string{out.Keys[0], out.Keys[0], out.Keys[3]} {
		if reply := share(key); reply.Code != 200 {
			t.Errorf("share %d: %s", i, reply.Body)
		}
		for _, bad := range []string{"", "xyz", "abcd", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("?", 33)))} {
			if reply := share(bad); reply.Code != 400 {
				t.Errorf("share %q: %d %s", bad, reply.Code, reply.Body)
			}
		}
	}
	if st := r.status(); st.Progress != 2 || !st.Sealed || st.T != 3 || st.N != 5 {
		t.Errorf("after two shares, one of them twice: %+v", st)
	}
	r.must(200, "PUT", "sys/unseal", map[string]bool{"reset": true})
	if st := r.status(); st.Progress != 0 {
		t.Errorf("after a reset: %+v", st)
	}
	for _, key := range out.Keys[2:] {
		share(key)
	}
	r.until(patience, "unsealed", unsealed)
}

// TestSealedByHand: who seals means it. The server stays sealed though its seal would open it,
// until recovery shares or a restart come.
func TestSealedByHand(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	shares := r.mustInit()
	r.mustPut("a", "kept")
	if reply := r.unauthenticated("PUT", "sys/seal", nil); reply.Code != 403 {
		t.Errorf("sealing without a token: %d %s", reply.Code, reply.Body)
	}
	seal := func() {
		t.Helper()
		r.must(204, "PUT", "sys/seal", nil)
		r.must(204, "PUT", "sys/seal", nil)
		if reply := r.call("GET", "kv/a", nil); reply.Code != 503 || reply.Errors() != "Vault is sealed" {
			t.Errorf("a read while sealed: %d %s", reply.Code, reply.Body)
		}
	}
	seal()
	for i, share := range shares[1:4] {
		if st := r.status(); !st.Sealed || st.Progress != i {
			t.Errorf("after %d shares: %+v", i, st)
		}
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": share})
	}
	r.mustGet("a", "kept")
	seal()
	r.mustStop()
	r.mustStart()
	r.until(patience, "unsealed by a restart", unsealed)
	r.mustGet("a", "kept")
}

// atOnce makes the same request from several clients at once and counts the answers by status.
func (r *harness) atOnce(n int, method, path string, body any) (won []Reply, lost []Reply) {
	r.t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-begin
			ctx, cancel := context.WithTimeout(r.t.Context(), patience)
			defer cancel()
			reply, err := r.Do(ctx, method, path, r.root, body)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.t.Errorf("%s %s: %v", method, path, err)
			} else if reply.Code == 200 {
				won = append(won, reply)
			} else {
				lost = append(lost, reply)
			}
		})
	}
	close(begin)
	wg.Wait()
	return won, lost
}

// TestOneWins: of several concurrent initialisations or rekeys, one starts and the others get an
// error.
func TestOneWins(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"auto", "shamir"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r, prefix, rekey := newStaticHarness(t), "recovery", "sys/rekey-recovery-key"
			if kind == "shamir" {
				r, prefix, rekey = newShamirHarness(t), "secret", "sys/rekey"
			}
			r.mustStart()
			won, lost := r.atOnce(8, "PUT", "sys/init", map[string]int{prefix + "_shares": 3, prefix + "_threshold": 2})
			if len(won) != 1 {
				t.Fatalf("%d initialisations succeeded", len(won))
			}
			for _, reply := range lost {
				if reply.Code != 400 || reply.Errors() != "Vault is already initialized" {
					t.Errorf("an initialisation that lost: %d %s", reply.Code, reply.Body)
				}
			}
			var out initReply
			r.decode(won[0], &out)
			r.root = out.RootToken
			shares := append(out.Keys, out.RecoveryKeys...)
			if kind == "shamir" {
				for _, s := range shares[:2] {
					r.must(200, "PUT", "sys/unseal", map[string]string{"key": s})
				}
			}
			r.until(patience, "unsealed", unsealed)
			won, lost = r.atOnce(8, "PUT", rekey+"/init", map[string]int{"secret_shares": 2, "secret_threshold": 2})
			if len(won) != 1 || len(lost) != 7 || lost[0].Code != 400 || lost[0].Errors() != "rekey already in progress" {
				t.Fatalf("rekeys: %d started, %v", len(won), lost)
			}
			var st struct{ Nonce string }
			r.decode(won[0], &st)
			// The last share, given by two at the same time: one rekey, one set of new shares.
			r.give(rekey+"/update", shares[0], st.Nonce)
			won, _ = r.atOnce(4, "PUT", rekey+"/update", map[string]string{"key": shares[1], "nonce": st.Nonce})
			for _, reply := range won {
				if string(reply.Body) != string(won[0].Body) {
					t.Error("the same share gave two sets of new shares")
				}
			}
			if len(won) == 0 {
				t.Error("the rekey was not completed")
			}
		})
	}
}
