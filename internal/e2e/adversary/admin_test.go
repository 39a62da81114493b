package adversary

import (
	"strings"
	"testing"
)

// authorize lets a quorum authorise one action of a token.
func (a *target) authorize(action, token string, shares []string) {
	a.t.Helper()
	path := "sys/authorize/" + action + "/"
	var st struct {
		Nonce    string
		Complete bool
	}
	a.must(200, "PUT", path+"attempt", token, nil, &st)
	for _, s := range shares[:2] {
		a.must(200, "PUT", path+"update", "", map[string]string{"key": s, "nonce": st.Nonce}, &st)
	}
	if !st.Complete {
		a.t.Fatal("the last share authorised nothing")
	}
}

// TestAdminRawNeedsAQuorum: an administrator with sudo on everything neither reads nor writes raw
// storage alone. One quorum is good for one call, of that kind, by that token.
func TestAdminRawNeedsAQuorum(t *testing.T) {
	t.Parallel()
	for name, seal := range map[string]string{"hsm": staticSeal, "shamir": shamirSeal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newTarget(t, seal, "raw_storage_endpoint = true\n")
			admin := a.limited("nothing")
			write := map[string]string{"value": "x", "compression_type": "none"}
			attack := func(when string) {
				t.Helper()
				for _, token := range []string{admin, a.root} {
					for method, body := range map[string]any{"GET": nil, "LIST": nil, "DELETE": nil, "PUT": write} {
						r := a.do(method, "sys/raw/core/mounts", token, body)
						if r.Code != 403 || !strings.Contains(string(r.Body), "quorum of shares") &&
							!strings.Contains(string(r.Body), "another one") {
							t.Errorf("%s: %s got %d %s", when, method, r.Code, r.Body)
						}
					}
				}
			}
			attack("alone")
			a.authorize("restore", admin, a.shares)
			attack("with a quorum for another purpose")
			a.authorize("raw", admin, a.shares)
			if r := a.do("GET", "sys/raw/core/mounts?encoding=base64", a.root, nil); r.Code != 403 {
				t.Errorf("another token used what the quorum authorised: %d", r.Code)
			}
			a.must(200, "GET", "sys/raw/core/mounts?encoding=base64", admin, nil, nil)
			attack("with a used grant")
		})
	}
}

// TestAdminGrantCannotBeReplayed: the administrator can also write the storage. He puts back the
// ceremony as it was before its last share, and everything behind the barrier that it changed.
func TestAdminGrantCannotBeReplayed(t *testing.T) {
	t.Parallel()
	a := newTarget(t, staticSeal, "raw_storage_endpoint = true\n")
	const path, entry = "sys/authorize/raw/", "core/ceremony/authorize-raw"
	var st struct{ Nonce string }
	a.must(200, "PUT", path+"attempt", a.root, nil, &st)
	give := func(share string) int {
		return a.do("PUT", path+"update", "", map[string]string{"key": share, "nonce": st.Nonce}).Code
	}
	if code := give(a.shares[0]); code != 200 {
		t.Fatalf("the first share: %d", code)
	}
	before := a.stored(entry)
	if code := give(a.shares[1]); code != 200 || before == nil {
		t.Fatalf("the last share: %d", code)
	}
	a.must(200, "GET", "sys/raw/core/mounts?encoding=base64", a.root, nil, nil)
	a.overwrite(entry, before)
	if r := a.do("GET", "sys/raw/core/mounts", a.root, nil); r.Code != 403 {
		t.Errorf("a ceremony that was put back allowed a call: %d %s", r.Code, r.Body)
	}
	for i, share := range a.shares[:2] {
		if code := give(share); code != 400 {
			t.Errorf("share %d counted in a ceremony that was put back: %d", i+1, code)
		}
	}
	if r := a.do("GET", "sys/raw/core/mounts", a.root, nil); r.Code != 403 {
		t.Errorf("the last share alone allowed a call: %d %s", r.Code, r.Body)
	}
}

// TestAdminForcedRestoreNeedsAQuorum: an administrator does not replace everything by a store of
// his own.
func TestAdminForcedRestoreNeedsAQuorum(t *testing.T) {
	t.Parallel()
	his := newTarget(t, staticSeal, "")
	archive := his.do("GET", "sys/storage/raft/snapshot", his.root, nil).Body
	a := newTarget(t, staticSeal, "")
	admin := a.limited("nothing")
	const path = "sys/storage/raft/snapshot-force"
	if r := a.do("POST", path, admin, archive); r.Code != 403 ||
		!strings.Contains(string(r.Body), "sealgate operator authorize -purpose=restore -init") {
		t.Fatalf("without a quorum: %d %s", r.Code, r.Body)
	}
	if r := a.do("POST", "sys/storage/raft/snapshot", admin, archive); r.Code != 400 {
		t.Fatalf("without force: %d %s", r.Code, r.Body)
	}
	a.authorize("restore", admin, a.shares)
	a.must(204, "POST", path, admin, archive, nil)
	a.must(200, "GET", "sys/mounts", his.root, nil, nil)
}
