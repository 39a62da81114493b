package recovery

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sealgate/sealgate/internal/secret"
)

func TestParseShare(t *testing.T) {
	t.Parallel()
	b33 := append(make([]byte, 32), 7)
	b33[0] = 0xff
	for name, c := range map[string]struct {
		text string
		want []byte
		err  error
		says string
	}{
		"hexadecimal":             {hex.EncodeToString(b33), b33, nil, ""},
		"hexadecimal in capitals": {strings.ToUpper(hex.EncodeToString(b33)), b33, nil, ""},
		"base64":                  {base64.StdEncoding.EncodeToString(b33), b33, nil, ""},
		"shortest":                {strings.Repeat("0a", 16), make16(0x0a), nil, ""},
		"digits that are both":    {strings.Repeat("1234", 8), unhexed(strings.Repeat("1234", 8)), nil, ""},
		"nothing":                 {"", nil, ErrShareLength, "key is shorter than minimum 16 bytes"},
		"too short": {strings.Repeat("ab", 15), nil, ErrShareLength,
			"key is shorter than minimum 16 bytes"},
		"too short in base64": {"Zm9v", nil, ErrShareLength, "key is shorter than minimum 16 bytes"},
		"too long": {strings.Repeat("ab", 34), nil, ErrShareLength,
			"key is longer than maximum 33 bytes"},
		"far too long": {strings.Repeat("!", maxShareText+1), nil, ErrShareLength,
			"key is longer than maximum 33 bytes"},
		"neither": {"not a share", nil, ErrShareEncoding,
			"'key' must be a valid hex or base64 string"},
		"base64 without its padding": {strings.TrimRight(base64.StdEncoding.EncodeToString(b33[:32]), "="), nil,
			ErrShareEncoding, "'key' must"},
		"base64url": {"_" + base64.RawURLEncoding.EncodeToString(b33)[1:], nil, ErrShareEncoding,
			"'key' must"},
		"with a space": {" " + hex.EncodeToString(b33), nil, ErrShareEncoding, "'key' must"},
	} {
		got, err := ParseShare(c.text)
		if !errors.Is(err, c.err) || string(got.Expose()) != string(c.want) {
			t.Errorf("%s: %d bytes, %v", name, got.Len(), err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%s: %q, want %q", name, err, c.says)
		}
	}
}

func make16(v byte) []byte { return []byte(strings.Repeat(string([]byte{v}), 16)) }

func unhexed(s string) []byte { b, _ := hex.DecodeString(s); return b }

func TestCheckShape(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shares, threshold int
		want              string
	}{
		{1, 1, ""}, {2, 2, ""}, {5, 3, ""}, {255, 255, ""}, {255, 2, ""},
		{0, 0, "shares must be at least one"},
		{-1, 1, "shares must be at least one"},
		{1, 0, "threshold must be at least one"},
		{5, 1, "threshold must be greater than one for multiple shares"},
		{256, 3, "shares must be less than 256"},
		{255, 256, "threshold must be less than 256"},
		{1 << 40, 2, "shares must be less than 256"},
		{3, 4, "threshold cannot be larger than shares"},
		{1, 2, "threshold cannot be larger than shares"},
	} {
		err := CheckCounts(c.shares, c.threshold)
		if c.want == "" && err != nil || c.want != "" &&
			(err == nil || err.Error() != c.want || !errors.Is(err, ErrShape)) {
			t.Errorf("%d shares, threshold %d: %v, want %q", c.shares, c.threshold, err, c.want)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	key := secret.New(make([]byte, 32))
	if _, err := Split(key, 2, 3, nil); !errors.Is(err, ErrShape) {
		t.Errorf("an impossible shape: %v", err)
	}
	for _, n := range []int{0, 15, 33, 1000} {
		if _, err := Split(secret.New(make([]byte, n)), 3, 2, nil); !errors.Is(err, ErrKeyLength) {
			t.Errorf("a key of %d bytes: %v", n, err)
		}
	}
	dry := errors.New("dry")
	if _, err := Split(key, 3, 2, iotest.ErrReader(dry)); !errors.Is(err, dry) {
		t.Errorf("no randomness: %v", err)
	}
}

func TestASingleShareIsTheKey(t *testing.T) {
	t.Parallel()
	key, _ := secret.Random(nil, 32)
	shares, err := Split(key, 1, 1, nil)
	if err != nil || len(shares) != 1 || !shares[0].Equal(key) {
		t.Fatalf("%d shares, %v", len(shares), err)
	}
	shares[0].Destroy()
	if key.Len() != 32 {
		t.Error("the share and the key are one piece of memory")
	}
}

func TestSharesHaveVaultsForm(t *testing.T) {
	t.Parallel()
	key, _ := secret.Random(nil, 32)
	shares, err := Split(key, 255, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range shares {
		if s.Len() != 33 || s.Expose()[32] != byte(i+1) {
			t.Fatalf("share %d has %d bytes and ends in %d", i+1, s.Len(), s.Expose()[32])
		}
	}
}

func FuzzParseShare(f *testing.F) {
	f.Add("")
	f.Add(strings.Repeat("ab", 33))
	f.Add(base64.StdEncoding.EncodeToString(make([]byte, 33)))
	f.Add("'key'")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseShare(text)
		if err != nil {
			if s != nil || !errors.Is(err, ErrShareEncoding) && !errors.Is(err, ErrShareLength) {
				t.Fatalf("%v, %v", s, err)
			}
			if len(text) > 4 && strings.Contains(err.Error(), text) &&
				!strings.Contains("'key' must be a valid hex or base64 string", text) &&
				!strings.Contains("key is shorter than minimum 16 bytes, key is longer than maximum 33 bytes", text) {
				t.Fatal("the error shows the text")
			}
			return
		}
		again, err := ParseShare(hex.EncodeToString(s.Expose()))
		if err != nil || !again.Equal(s) || s.Len() < minShareLen || s.Len() > maxShareLen {
			t.Fatalf("%d bytes do not come back from their text: %v", s.Len(), err)
		}
	})
}
