package sealtest

import (
	"bytes"
	"fmt"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/seals"
)

func boundData(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	for what, data := range map[string][]byte{
		"other additional data":   []byte("sealtest: additional datA"),
		"no additional data":      nil,
		"additional data cut":     aad[:len(aad)-1],
		"additional data and one": append(bytes.Clone(aad), 0),
	} {
		refuse(t, what, f.Wrapper, blob, data, plain, seals.Corrupt)
	}
	// Data that was absent at encryption must be absent at decryption.
	bare, err := f.Wrapper.Encrypt(within(t, patience), plain)
	if err != nil {
		t.Fatalf("Encrypt without additional data: %v", err)
	}
	refuse(t, "additional data where there was none", f.Wrapper, bare, aad, plain, seals.Corrupt)
	if got, err := f.Wrapper.Decrypt(within(t, patience), bare); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("no additional data on both sides: %v", err)
	}
}

// part is a field of a blob that the provider authenticates.
type part struct {
	name  string
	bytes func(*wrapping.BlobInfo) []byte
	set   func(*wrapping.BlobInfo, []byte)
}

var parts = []part{
	{"ciphertext", (*wrapping.BlobInfo).GetCiphertext, func(b *wrapping.BlobInfo, v []byte) { b.Ciphertext = v }},
	{"iv", (*wrapping.BlobInfo).GetIv, func(b *wrapping.BlobInfo, v []byte) { b.Iv = v }},
	{"hmac", (*wrapping.BlobInfo).GetHmac, func(b *wrapping.BlobInfo, v []byte) { b.Hmac = v }},
	{"wrapped key", func(b *wrapping.BlobInfo) []byte { return b.GetKeyInfo().GetWrappedKey() },
		func(b *wrapping.BlobInfo, v []byte) { b.KeyInfo.WrappedKey = v }},
}

// changed returns a copy of the blob with one part replaced.
func (p part) changed(blob *wrapping.BlobInfo, v []byte) *wrapping.BlobInfo {
	out := proto.Clone(blob).(*wrapping.BlobInfo)
	p.set(out, v)
	return out
}

func flipped(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	for _, p := range parts {
		whole := p.bytes(blob)
		for i := 0; i < len(whole); i += max(1, h.Stride) {
			for _, bit := range []byte{0x01, 0x80} {
				damaged := bytes.Clone(whole)
				damaged[i] ^= bit
				refuse(t, fmt.Sprintf("%s, byte %d changed by %#x", p.name, i, bit),
					f.Wrapper, p.changed(blob, damaged), aad, plain, seals.Corrupt)
			}
		}
	}
	if id := blob.KeyInfo.GetKeyId(); id != "" {
		other := proto.Clone(blob).(*wrapping.BlobInfo)
		other.KeyInfo.KeyId = id + "0"
		refuse(t, "another key's id", f.Wrapper, other, aad, plain, seals.WrongKey, seals.KeyGone, seals.Corrupt)
	}
	decrypt(t, f.Wrapper, blob, plain)
}

func truncated(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	for _, p := range parts {
		whole := p.bytes(blob)
		for n := 0; n < len(whole); n += max(1, h.Stride) {
			refuse(
				t,
				fmt.Sprintf("%s cut to %d bytes", p.name, n),
				f.Wrapper,
				p.changed(blob, whole[:n]),
				aad,
				plain,
				seals.Corrupt,
			)
		}
		if len(whole) > 0 {
			longer := append(bytes.Clone(whole), 0)
			refuse(t, p.name+" with one byte more", f.Wrapper, p.changed(blob, longer), aad, plain, seals.Corrupt)
		}
	}
	for what, bad := range map[string]*wrapping.BlobInfo{
		"no blob":             nil,
		"empty blob":          {},
		"blob of nothing":     {Ciphertext: []byte{}, Iv: []byte{}, Hmac: []byte{}, KeyInfo: &wrapping.KeyInfo{}},
		"key id alone":        {KeyInfo: &wrapping.KeyInfo{KeyId: blob.KeyInfo.GetKeyId()}},
		"ciphertext of zeros": {Ciphertext: make([]byte, 64), KeyInfo: blob.KeyInfo},
	} {
		refuse(t, what, f.Wrapper, bad, aad, plain, seals.Corrupt)
	}
	decrypt(t, f.Wrapper, blob, plain)
}

func otherKey(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Other, plain)
	refuse(t, "blob of another key", f.Wrapper, blob, aad, plain, seals.WrongKey)
	// This key cannot distinguish a foreign blob under its own name from a damaged one.
	blob.KeyInfo = proto.Clone(encrypt(t, f.Wrapper, plain)).(*wrapping.BlobInfo).KeyInfo
	refuse(t, "blob of another key under this key's name", f.Wrapper, blob, aad, plain, seals.Corrupt, seals.WrongKey)
	decrypt(t, f.Other, encrypt(t, f.Other, plain), plain)
}
