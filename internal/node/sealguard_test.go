package node

import (
	"testing"

	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// TestPastSealOwnsItsKey: a key that a seal had is recognised by what names it in its device or
// service; one that cannot be compared may be the seal's.
func TestPastSealOwnsItsKey(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/mrk-0f"
	for name, c := range map[string]struct {
		kind, had, asked string
		owns             bool
	}{
		"the label, another id":   {"pkcs11", "pkcs11:serial=1;object=root;id=%01", "pkcs11:object=root;id=%02", true},
		"the id, another token":   {"pkcs11", "pkcs11:serial=1;object=root;id=%01", "pkcs11:serial=2;id=%01", true},
		"another label and id":    {"pkcs11", "pkcs11:serial=1;object=root;id=%01", "pkcs11:serial=1;object=a;id=%02", false},
		"a URI without a name":    {"pkcs11", "pkcs11:serial=1;object=root", "pkcs11:serial=1", true},
		"a key of another Region": {"awskms", arn, "arn:aws:kms:us-east-1:111122223333:key/mrk-0f", true},
		"another key of AWS":      {"awskms", arn, "arn:aws:kms:eu-west-1:111122223333:key/ab", false},
		"an alias":                {"awskms", arn, "arn:aws:kms:eu-west-1:111122223333:alias/root", true},
		"a project by its number": {"gcpckms", "projects/p/locations/l/keyRings/r/cryptoKeys/k",
			"projects/1/locations/l/keyRings/r/cryptoKeys/k", true},
		"a version in a vault":   {"azurekeyvault", "https://v/keys/Root/1", "https://w/keys/root", true},
		"another key of Azure":   {"azurekeyvault", "https://v/keys/root/1", "https://v/keys/orders", false},
		"a type without drivers": {"kmip", "1", "2", true},
	} {
		if got := (pastSeal{kind: c.kind, id: c.had}).OwnsKey(t.Context(), c.asked); got != c.owns {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPastSealsAreProtected: the key of a seal that is removed stays protected, also after a
// restart, until a quorum lets it be retired.
func TestPastSealsAreProtected(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	aa, bb := h.box("aa"), h.box("bb")
	bb.Type = "other" // one of the same type would guard the key of aa as its own
	n, stop := h.start(h.set(aa, bb))
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	authorise := func(n *Node, change string) {
		t.Helper()
		what, err := SealAdminOf(n).Subject(t.Context(), change)
		if err != nil {
			t.Fatal(err)
		}
		st, err := n.Ceremonies().Grants.Start(t.Context(), recovery.PurposeAuthorizeSeals, what, admin)
		if err == nil {
			_, err = n.Ceremonies().Grants.Give(t.Context(), recovery.PurposeAuthorizeSeals, st.Nonce, res.RecoveryKeys[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	past := func(n *Node) (out []seals.Seal) {
		for _, s := range protectedKeys(n) {
			if _, is := s.Wrapper.(pastSeal); is {
				out = append(out, s)
			}
		}
		return out
	}
	if got := past(n); len(got) != 0 {
		t.Fatalf("before a removal: %v", got)
	}
	authorise(n, "remove aa")
	h.change(SealAdminOf(n).Remove(t.Context(), "aa", admin))
	if got := past(n); len(got) != 1 || got[0].Name != "aa" || got[0].Type != "static" {
		t.Fatalf("after a removal: %v", got)
	}
	stop()
	n, _ = h.start(h.set(bb))
	eventually(t, "active", isActive(n))
	if got := past(n); len(got) != 1 {
		t.Fatalf("after a restart: %v", got)
	}
	h.refused("quorum")(SealAdminOf(n).Retire(t.Context(), "aa", "", false, admin))
	if got := past(n); len(got) != 1 {
		t.Fatalf("after a retirement that was refused: %v", got)
	}
	authorise(n, "retire aa")
	h.change(SealAdminOf(n).Retire(t.Context(), "aa", "", false, admin))
	if got := past(n); len(got) != 0 {
		t.Errorf("retired: %v", got)
	}
}
