package awskms

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

func TestEncryptionContext(t *testing.T) {
	t.Parallel()
	got := encryptionContext([]byte("sealgate.seal=v1\ncluster=a-b\nseal=main\ngeneration=7\n"))
	want := map[string]string{"sealgate.seal": "v1", "cluster": "a-b", "seal": "main", "generation": "7"}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if encryptionContext(nil) != nil {
		t.Error("empty data has a context")
	}
	seen := map[string]bool{}
	for _, aad := range []string{
		"a", "a=b", "a=b\na=c\n", "=b\n", "a=\n", "\n", "a=b\n\n", "aws:x=y\n", "AWS:x=y\n", "a=\x00\n", "a=ü\n",
		digestName + "=x\n", strings.Repeat("a=b\n", 2000),
	} {
		pairs := encryptionContext([]byte(aad))
		digest := pairs[digestName]
		if len(pairs) != 1 || len(digest) != 44 || seen[digest] {
			t.Errorf("%.20q has the context %v", aad, pairs)
		}
		seen[digest] = true
	}
}

// FuzzContext: a context is nil, one digest, or exactly the given lines.
func FuzzContext(f *testing.F) {
	f.Add([]byte("cluster=c\nseal=s\n"))
	f.Add([]byte("a=b\na=c\n"))
	f.Fuzz(func(t *testing.T, aad []byte) {
		pairs := encryptionContext(aad)
		if _, digest := pairs[digestName]; digest && len(pairs) == 1 || len(aad) == 0 && pairs == nil {
			return
		}
		lines := slices.Collect(strings.Lines(string(aad)))
		for _, l := range lines {
			name, value, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "=")
			if pairs[name] != value {
				t.Errorf("%q: %v", l, pairs)
			}
		}
		if len(lines) != len(pairs) {
			t.Errorf("%d lines, %d pairs", len(lines), len(pairs))
		}
	})
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	b, err := seal(key, []byte("wrapped"), keyA, []byte("secret"), []byte("aad"))
	if err != nil || intact(b) != nil {
		t.Fatal(err, intact(b))
	}
	if got, err := open(key, b, []byte("aad")); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := open(other, b, []byte("aad")); err != errUnbound {
		t.Errorf("another key: %v", err)
	}
	if _, err := open(key, b, []byte("aae")); err != errUnbound {
		t.Errorf("other data: %v", err)
	}
	// The boundary between the ARN and the data is bound, too.
	b.KeyInfo.KeyId = keyA + "a"
	if _, err := open(key, b, []byte("ad")); err != errUnbound {
		t.Errorf("a moved boundary: %v", err)
	}
}

// FuzzIntact: intact accepts only a blob whose checksum covers all its bytes, and open decrypts
// only what seal made.
func FuzzIntact(f *testing.F) {
	b, err := seal(make([]byte, 32), []byte("wrapped"), keyA, []byte("secret"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Ciphertext, b.Iv, b.Hmac, b.KeyInfo.WrappedKey, b.KeyInfo.Mechanism)
	f.Fuzz(func(t *testing.T, ciphertext, iv, sum, wrapped []byte, mechanism uint64) {
		k := &wrapping.KeyInfo{KeyId: keyA, WrappedKey: wrapped, Mechanism: mechanism}
		x := &wrapping.BlobInfo{Ciphertext: ciphertext, Iv: iv, Hmac: sum, KeyInfo: k}
		if intact(x) != nil {
			return
		}
		if mechanism != 1 || len(iv) != ivLen || len(ciphertext) < tagLen || !bytes.Equal(sum, checksum(x)) {
			t.Errorf("accepted a blob that seal cannot make: %v", x)
		}
		if plain, err := open(make([]byte, 32), x, nil); err == nil && string(plain) != "secret" {
			t.Errorf("a blob that was never made opens to %q", plain)
		}
		for _, field := range [][]byte{x.Ciphertext, x.Iv, x.Hmac, x.KeyInfo.WrappedKey} {
			field[len(field)-1] ^= 1
			if intact(x) == nil {
				t.Errorf("a changed bit was not noticed: %v", x)
			}
			field[len(field)-1] ^= 1
		}
	})
}

func TestARNs(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "alias/a", "arn:aws:kms:r:1:key/", "arn:aws:kms::1:key/a", "arn:aws:kms:r::key/a", "arn::kms:r:1:key/a",
		"arn:aws:kms:r:1:key/a:b",
	} {
		if a, ok := parseARN(bad); ok {
			t.Errorf("%q was read as %v", bad, a)
		}
	}
	a, _ := parseARN(keyA)
	m, ok := parseARN(many)
	if !ok || a.String() != keyA || a.sameKey(m) || !m.sameKey(m.in("us-east-1")) || a.sameKey(a.in("us-east-1")) {
		t.Error("wrong comparison of ARNs")
	}
}
