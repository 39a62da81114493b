//go:build unix

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/localstack"
)

// TestTwoOfThreeWithCustodians: an HSM, AWS KMS and the custodians, of which two unseal. Each
// single loss unseals, by shares where one of the automatic seals is lost, and each double loss
// does not, and says what is missing.
func TestTwoOfThreeWithCustodians(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	aws := localstack.New(t)
	proxy, key := localstack.NewProxy(t, aws), aws.CreateKey(t)
	file := filepath.Join(t.TempDir(), "aws-secret")
	if err := os.WriteFile(file, []byte("an-access-keys-secret-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.addConfig(fmt.Sprintf("seal \"awskms\" \"aws\" {\n  kms_key_id = %q\n  endpoint = %q\n  access_key = \"AKIATEST\"\n"+
		"  secret_key = \"file://%s\"\n}\nseal \"shamir\" \"custodians\" {}\n"+
		"seal_policy {\n  policy = \"2 of (hsm, aws, custodians)\"\n}\n", key, proxy.URL, file))
	r.mustStart()
	shares := r.mustInit()
	r.mustPut("a", "1")
	r.saysLosses("survives the loss of any one of hsm, aws, custodians", "does not survive the loss of both hsm and aws",
		"does not survive the loss of both hsm and custodians", "does not survive the loss of both aws and custodians")

	r.again()
	r.until(patience, "unsealed without custodians", unsealed)

	r.move(r.token.Away)
	r.again()
	r.sealedBecause("the root key needs 2 of", "only aws opened")
	r.unsealByQuorum(shares[:3])
	r.mustGet("a", "1")
	r.move(r.token.Back)

	r.move(proxy.Away)
	r.again()
	r.sealedBecause("the root key needs 2 of", "only hsm opened")
	r.unsealByQuorum(shares[1:4])
	r.mustGet("a", "1")

	r.move(r.token.Away)
	r.again()
	r.sealedBecause("the root key needs 2 of", "none of them opened")
	for i, share := range shares[2:5] {
		reply := r.call("PUT", "sys/unseal", map[string]string{"key": share})
		if i == 2 {
			saysAll(t, "custodians alone", string(reply.Body), "only custodians opened", "hsm", "aws")
		}
	}
	if st := r.status(); !st.Sealed {
		t.Fatal("the custodians alone unsealed")
	}
	r.move(proxy.Back)
	r.move(r.token.Back)
	r.until(patience, "unsealed again", unsealed)

	// In a group: what protects more is done online, and less needs a quorum.
	grouped := map[string]string{"policy": "hsm and any(aws, custodians)"}
	r.must(200, "PUT", "sys/seals/policy", grouped)
	r.saysLosses("survives the loss of any one of aws, custodians", "does not survive the loss of hsm",
		"does not survive the loss of both aws and custodians")
	reply := r.must(403, "PUT", "sys/seals/policy", map[string]string{"policy": "2 of (hsm, aws, custodians)"})
	saysAll(t, "a weaker policy without a quorum", reply.Errors(), "needs a quorum of shares")
	r.again()
	r.until(patience, "unsealed by one of the group", unsealed)
	r.mustGet("a", "1")
}

// again kills the server and starts it again.
func (r *harness) again() {
	r.t.Helper()
	r.move(r.Kill)
	r.mustStart()
}

func (r *harness) saysLosses(want ...string) {
	r.t.Helper()
	var list struct{ Data struct{ Losses []string } }
	r.decode(r.must(200, "GET", "sys/seals", nil), &list)
	if got := strings.Join(list.Data.Losses, "; "); got != strings.Join(want, "; ") {
		r.t.Errorf("losses: %s", got)
	}
}

// sealedBecause waits until the server says why it is sealed.
func (r *harness) sealedBecause(words ...string) {
	r.t.Helper()
	var st sealStatus
	r.eventually(patience, "says why it is sealed", func() bool {
		st = r.status()
		return st.Sealed && strings.Contains(strings.Join(st.Warnings, "\n"), "not unsealed")
	})
	saysAll(r.t, "seal-status", strings.Join(st.Warnings, "\n"), words...)
}

// unsealByQuorum unseals by shares.
func (r *harness) unsealByQuorum(shares []string) {
	r.t.Helper()
	for _, share := range shares {
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": share})
	}
	r.until(patience, "unsealed by shares", unsealed)
}
