//go:build unix

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit/pykmip"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/kmip"
)

// sealStanza is the seal of a prepared server's configuration.
var sealStanza = regexp.MustCompile(`(?s)seal "[^"]+" "[^"]+" \{.*?\n\}\n`)

func stanzaOf(t *testing.T, r *harness) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	return sealStanza.FindString(string(text))
}

// everyPair walks over all ordered pairs of n things, each once, and ends where it began.
func everyPair(n int) []int {
	left := map[int][]int{}
	for a := range n {
		for b := range n {
			if a != b {
				left[a] = append(left[a], b)
			}
		}
	}
	var walk []int
	for path := []int{0}; len(path) > 0; {
		at := path[len(path)-1]
		if next := left[at]; len(next) > 0 {
			left[at], path = next[1:], append(path, next[0])
			continue
		}
		walk, path = append(walk, at), path[:len(path)-1]
	}
	slices.Reverse(walk)
	return walk
}

// kmipStanza makes a key on a KMIP server and returns the stanza of a seal on it. addr is where the
// seal connects to.
func kmipStanza(t *testing.T, s *pykmip.Server, addr string) string {
	t.Helper()
	params := map[string]string{
		"endpoint": s.Addr, "client_cert": s.ClientCert, "client_key": s.ClientKey, "ca_cert": s.CA,
	}
	id, err := kmip.CreateKey(t.Context(), seals.Config{Name: "kmip", Type: "kmip", Params: params,
		Getenv: func(string) string { return "" }}, "root")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("seal \"kmip\" \"kmip\" {\n  endpoint = %q\n  kms_key_id = %q\n  ca_cert = %q\n"+
		"  client_cert = %q\n  client_key = %q\n}\n", addr, id, s.CA, s.ClientCert, s.ClientKey)
}

// TestSealMigrationPairs migrates a server between every two kinds of seals, both ways, as Vault's
// runbooks do: the old stanza disabled, and shares with -migrate. The same shares serve throughout.
func TestSealMigrationPairs(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	peer := pykmip.Start(t)
	stanzas := map[string]string{
		"shamir": "", "kmip": kmipStanza(t, peer, peer.Addr), "pkcs11": stanzaOf(t, r), "static": staticSeal,
		"awskms":  stanzaOf(t, newCloud(t).harness),
		"gcpckms": stanzaOf(t, newGCP(t).harness), "transit": stanzaOf(t, newTransitHarness(t).harness),
	}
	kinds := []string{"shamir", "pkcs11", "awskms", "gcpckms", "transit", "kmip", "static"}
	walk := everyPair(len(kinds))
	if len(walk) != 1+len(kinds)*(len(kinds)-1) {
		t.Fatalf("the walk has %d steps", len(walk))
	}
	r.configure(stanzas[kinds[walk[0]]])
	r.mustStart()
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", map[string]int{"secret_shares": 3, "secret_threshold": 2}), &out)
	r.root = out.RootToken
	shares := out.Keys[:2]
	for _, s := range shares {
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": s})
	}
	r.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	r.mustPut("kept", "yes")
	for i, at := range walk[1:] {
		from, to := kinds[walk[i]], kinds[at]
		if !t.Run(from+" to "+to, func(t *testing.T) {
			begun := time.Now()
			r.migrateTo(t, stanzas[from], stanzas[to], to, shares)
			t.Logf("%s to %s: %s", from, to, time.Since(begun).Round(10*time.Millisecond))
		}) {
			return
		}
	}
}

// migrateTo restarts the server with another seal, migrates, and checks what the next start does.
func (r *harness) migrateTo(t *testing.T, from, to, kind string, shares []string) {
	t.Helper()
	r.mustStop()
	r.configure(strings.Replace(from, "{\n", "{\n  disabled = \"true\"\n", 1) + to)
	r.mustStart()
	type state struct {
		Type              string
		Sealed, Migration bool
		T, N              int
	}
	st := state{}
	r.decode(r.must(200, "GET", "sys/seal-status", nil), &st)
	if st.Type != kind || !st.Sealed || !st.Migration || st.T != 2 || st.N != 3 {
		t.Fatalf("before: %+v", st)
	}
	if reply := r.must(500, "PUT", "sys/unseal", map[string]string{"key": shares[0]}); !strings.Contains(reply.Errors(),
		"migrate option not provided and seal migration is pending") {
		t.Fatal(reply.Errors())
	}
	for _, s := range shares {
		r.decode(r.must(200, "PUT", "sys/unseal", map[string]any{"key": s, "migrate": true}), &st)
	}
	if st.Type != kind || st.Sealed || st.Migration {
		t.Fatalf("after: %+v\n%s", st, tail(r.Log()))
	}
	r.mustGet("kept", "yes")
	r.mustStop()
	r.configure(to)
	r.mustStart()
	if kind == "shamir" {
		for _, s := range shares {
			r.must(200, "PUT", "sys/unseal", map[string]string{"key": s})
		}
	}
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(fmt.Errorf("%w\n%s", err, tail(r.Log())))
	}
	r.mustGet("kept", "yes")
}
