package seals_test

import (
	"context"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

// stamped is a provider whose key is rotated right after every encryption.
type stamped struct {
	wrapping.Wrapper
	stamp string
}

func (s stamped) VersionOf(*wrapping.BlobInfo) string      { return s.stamp }
func (stamped) KeyVersion(context.Context) (string, error) { return "8", nil }

// TestBlobNamesItsVersion: the record holds the version that wrapped, not a later one.
func TestBlobNamesItsVersion(t *testing.T) {
	t.Parallel()
	inner, err := static.New(seals.Config{Name: "s", Type: "static", Params: map[string]string{
		"current_key": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "current_key_id": "k"}})
	if err != nil {
		t.Fatal(err)
	}
	for stamp, want := range map[string]string{"7": "7", "": "8"} {
		set, err := seals.NewSet(
			[]seals.Seal{{Name: "s", Type: "test", Wrapper: stamped{inner, stamp}}},
			seals.Options{},
		)
		if err != nil {
			t.Fatal(err)
		}
		r, err := set.Wrap(t.Context(), "cluster", 1, secret.New(make([]byte, seals.RootKeyLen)), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Parts[0].KeyVersion; got != want {
			t.Errorf("with stamp %q: version %q, want %q", stamp, got, want)
		}
	}
}
