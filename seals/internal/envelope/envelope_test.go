package envelope

import (
	"bytes"
	"context"
	"errors"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/seals"
)

// plainly is a service that does not encrypt, which isolates what the package itself does.
func plainly(_ context.Context, dataKey, aad []byte) (Wrapped, error) {
	return Wrapped{Version: "v1", Bound: true, Key: append(bytes.Clone(dataKey), aad...)}, nil
}

func back(_ context.Context, w Wrapped, aad []byte) ([]byte, error) {
	key, ok := bytes.CutSuffix(w.Key, aad)
	if !ok {
		return nil, Corrupt(ErrBlob)
	}
	return bytes.Clone(key), nil
}

func TestEnvelopeIsBound(t *testing.T) {
	t.Parallel()
	plain, aad := []byte("the root key"), []wrapping.Option{wrapping.WithAad([]byte("a"))}
	blob, err := Encrypt(t.Context(), "key", plain, aad, plainly)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decrypt(t.Context(), "key", blob, aad, back); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q, %v", got, err)
	}
	if w, err := Parse(blob.KeyInfo.WrappedKey); err != nil || w.Version != "v1" || !w.Bound {
		t.Errorf("%+v, %v", w, err)
	}
	version := func(w Wrapped) func(*wrapping.BlobInfo) {
		return func(b *wrapping.BlobInfo) { b.KeyInfo.WrappedKey, _ = w.marshal() }
	}
	w, _ := Parse(blob.KeyInfo.WrappedKey)
	for name, c := range map[string]struct {
		change func(*wrapping.BlobInfo)
		unwrap Unwrap
		want   seals.Class
	}{
		"another key's name":  {func(b *wrapping.BlobInfo) { b.KeyInfo.KeyId = "other" }, back, seals.WrongKey},
		"no key's name":       {func(b *wrapping.BlobInfo) { b.KeyInfo.KeyId = "" }, back, seals.Corrupt},
		"another version":     {version(Wrapped{Version: "v2", Bound: true, Key: w.Key}), back, seals.Corrupt},
		"damaged wrapped key": {func(b *wrapping.BlobInfo) { b.KeyInfo.WrappedKey[20] ^= 1 }, never(t), seals.Corrupt},
		"a short data key": {nil, func(context.Context, Wrapped, []byte) ([]byte, error) {
			return make([]byte, 16), nil
		}, seals.Corrupt},
		"another data key": {nil, func(context.Context, Wrapped, []byte) ([]byte, error) {
			return make([]byte, 32), nil
		}, seals.Corrupt},
	} {
		changed := proto.Clone(blob).(*wrapping.BlobInfo)
		if c.change != nil {
			c.change(changed)
		}
		if got, err := Decrypt(t.Context(), "key", changed, aad, c.unwrap); seals.ClassOf(err) != c.want || got != nil {
			t.Errorf("%s: %q, %v; want class %q", name, got, err, c.want)
		}
	}
	// Additional data that the service does not bind is bound by the envelope.
	ignores := func(_ context.Context, w Wrapped, _ []byte) ([]byte, error) { return bytes.Clone(w.Key[:32]), nil }
	_, err = Decrypt(t.Context(), "key", blob, []wrapping.Option{wrapping.WithAad([]byte("b"))}, ignores)
	if seals.ClassOf(err) != seals.Corrupt {
		t.Errorf("other additional data: %v", err)
	}
}

// never fails the test when the service is called for a visibly damaged blob.
func never(t *testing.T) Unwrap {
	return func(context.Context, Wrapped, []byte) ([]byte, error) {
		t.Error("the service was called")
		return nil, errors.New("asked")
	}
}

func TestBadAnswerOfTheService(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]Wrapped{
		"no key": {}, "long key": {Key: make([]byte, maxWrapped+1)},
		"long version": {Version: string(make([]byte, 256)), Key: []byte{1}},
	} {
		answer := func(context.Context, []byte, []byte) (Wrapped, error) { return w, nil }
		if _, err := Encrypt(t.Context(), "key", []byte("x"), nil, answer); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, w := range []Wrapped{{Version: "v1", Bound: true, Key: []byte("vault:v1:AAAA")}, {Key: []byte{0}}} {
		raw, err := w.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[1+checkLen:])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		// A fuzzer cannot find the check value: try the input as it is, and with its check value.
		for _, in := range [][]byte{raw, append(append([]byte{format}, check(raw)...), raw...)} {
			w, err := Parse(in)
			if err != nil {
				continue
			}
			if again, err := w.marshal(); err != nil || !bytes.Equal(again, in) {
				t.Errorf("%x was read as %+v, which is written as %x, %v", in, w, again, err)
			}
		}
	})
}
