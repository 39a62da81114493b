package transit

import (
	"maps"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

// TestOwnsKey: other spellings of the seal's path are the seal's key.
func TestOwnsKey(t *testing.T) {
	t.Parallel()
	p := map[string]string{"address": "http://127.0.0.1:1", "token": "t", "mount_path": "team/up", "key_name": "root"}
	made, err := New(seals.Config{Name: "seal", Type: "transit", Params: maps.Clone(p)})
	if err != nil {
		t.Fatal(err)
	}
	w := made.(*Wrapper) //nolint:forcetypeassert // New's only type
	t.Cleanup(func() { _ = w.Close() })
	for id, want := range map[string]bool{
		"team/up/keys/root#v1": true, "ns/team/up/keys/root#v2": true, "team//up/keys/root#v1": true,
		"ns//team/up/keys/root": true, "team/up/keys/ROOT#v1": true, "Team/up/keys/root#v1": true,
		"up/keys/root#v1": false, "team/up/keys/root2#v1": false, "team/up/keys/other#v1": false,
		"xteam/up/keys/root#v1": false,
	} {
		if got := w.OwnsKey(t.Context(), id); got != want {
			t.Errorf("%s: %t, want %t", id, got, want)
		}
	}
}
