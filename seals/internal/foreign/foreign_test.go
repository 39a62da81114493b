package foreign

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/envelope"
)

// inner is a wrapper that records its arguments and fails on demand.
type inner struct {
	wrapping.Wrapper
	id   string
	fail func() error
	seen *[][]byte
}

func (i *inner) KeyId(context.Context) (string, error) { return i.id, nil }

func (i *inner) Encrypt(_ context.Context, plain []byte, _ ...wrapping.Option) (*wrapping.BlobInfo, error) {
	if err := i.fail(); err != nil {
		return nil, err
	}
	*i.seen = append(*i.seen, bytes.Clone(plain))
	return &wrapping.BlobInfo{
		Ciphertext: bytes.Clone(plain),
		Iv:         make([]byte, 12),
		KeyInfo:    &wrapping.KeyInfo{KeyId: i.id},
	}, nil
}

func (i *inner) Decrypt(_ context.Context, blob *wrapping.BlobInfo, _ ...wrapping.Option) ([]byte, error) {
	return bytes.Clone(blob.Ciphertext), i.fail()
}

func TestInstances(t *testing.T) {
	t.Parallel()
	var opened int
	var seen [][]byte
	fail := func() error { return nil }
	w := New(Options{Name: "n", Type: "t", Timeout: time.Second, MaxCalls: 2,
		Open: func(context.Context) (wrapping.Wrapper, error) {
			opened++
			return &inner{id: "key", fail: func() error { return fail() }, seen: &seen}, nil
		},
		Classify: func(_ string, err error) *seals.Failure {
			return seals.Fail(seals.Class(err.Error()), err, "do something")
		},
	})
	plain := []byte("the root key")
	blob, err := w.Encrypt(t.Context(), plain)
	if err != nil || blob.KeyInfo.KeyId != "key" || opened != 1 {
		t.Fatalf("%v, %v, opened %d times", blob, err, opened)
	}
	if got, err := w.Decrypt(t.Context(), blob); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	for _, s := range seen {
		if bytes.Contains(s, plain) {
			t.Error("the wrapper was given the secret itself")
		}
	}
	for _, c := range []struct {
		fail   func() error
		want   seals.Class
		opened int
	}{
		{func() error { return errors.New(string(seals.Throttled)) }, seals.Throttled, 1}, // the instance is kept
		{func() error { return errors.New(string(seals.Denied)) }, seals.Denied, 1},       // it is replaced
		{func() error { return nil }, "", 2},
		{func() error { panic("at what came back") }, seals.Corrupt, 2},
		{func() error { return nil }, "", 3},
	} {
		fail = c.fail
		if _, err := w.Decrypt(t.Context(), blob); seals.ClassOf(err) != c.want || opened != c.opened {
			t.Errorf("%v, opened %d times; want class %q and %d", err, opened, c.want, c.opened)
		}
	}
}

// TestMalformedIV: HashiCorp's envelope panics on an IV of another length. Such a blob is refused
// before.
func TestMalformedIV(t *testing.T) {
	t.Parallel()
	for name, iv := range map[string][]byte{"no IV": nil, "short IV": make([]byte, 11), "long IV": make([]byte, 13)} {
		raw, err := proto.Marshal(
			&wrapping.BlobInfo{Ciphertext: []byte{1}, Iv: iv, KeyInfo: &wrapping.KeyInfo{KeyId: "key"}},
		)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := envelope.Encrypt(
			t.Context(),
			"key",
			[]byte("x"),
			nil,
			func(context.Context, []byte, []byte) (envelope.Wrapped, error) {
				return envelope.Wrapped{Key: raw}, nil
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		w := New(
			Options{
				ID:       "key",
				Timeout:  time.Second,
				MaxCalls: 1,
				Open: func(context.Context) (wrapping.Wrapper, error) {
					t.Error("the wrapper was opened")
					return nil, errors.New("opened")
				},
			},
		)
		if _, err := w.Decrypt(t.Context(), blob); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}
