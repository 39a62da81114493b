package recovery

import (
	"errors"
	"math"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTokenAndPasswordMakeTheEncodedToken(t *testing.T) {
	t.Parallel()
	for _, v := range golden[struct{ Name, Token, OTP, Encoded string }](t, "tokens-by-one-time-password.json") {
		got, err := EncodeToken(v.Token, v.OTP)
		if err != nil || got != v.Encoded {
			t.Errorf("%s: %q, %v", v.Name, got, err)
		}
		for _, padding := range []string{"", "=", "=="} {
			if back, err := DecodeToken(v.Encoded+padding, v.OTP); err != nil || back != v.Token {
				t.Errorf("%s%s: %q, %v", v.Name, padding, back, err)
			}
		}
	}
}

func TestTokensThatDoNotFit(t *testing.T) {
	t.Parallel()
	for _, otp := range []string{"", "short", strings.Repeat("o", 27)} {
		if got, err := EncodeToken("s.0000000000000000000EXMPL", otp); !errors.Is(err, ErrOTPLength) || got != "" {
			t.Errorf("%q: %v", otp, err)
		}
	}
	long := strings.Repeat("t", MaxOTP+1)
	if _, err := EncodeToken(long, long); !errors.Is(err, ErrOTPLength) {
		t.Errorf("a token without end: %v", err)
	}
	for encoded, want := range map[string]error{
		"":                         ErrOTPLength,
		"AAAA":                     ErrOTPLength,
		"?":                        ErrTokenEncoding,
		"AB":                       ErrTokenEncoding, // bits that are not used
		strings.Repeat("A", 1<<20): ErrTokenEncoding,
		strings.Repeat("=", 1<<20): ErrOTPLength,
	} {
		if got, err := DecodeToken(encoded, "otp!"); !errors.Is(err, want) || got != "" {
			t.Errorf("%.10q: %v", encoded, err)
		}
	}
}

// TestOTPIsUnbiased counts characters: were bytes taken modulo 62, the first 8 would come a quarter
// more often.
func TestOTPIsUnbiased(t *testing.T) {
	t.Parallel()
	rnd, counts, total := fixed(), map[rune]int{}, 0
	for range 2000 {
		otp, err := NewOTP(MaxOTP, rnd)
		if err != nil || len(otp) != MaxOTP {
			t.Fatal(len(otp), err)
		}
		for _, c := range otp {
			counts[c]++
			total++
		}
	}
	mean := float64(total) / float64(len(base62))
	for _, c := range base62 {
		if math.Abs(float64(counts[c])-mean) > 6*math.Sqrt(mean) {
			t.Errorf("%c came %d times, and %.0f are fair", c, counts[c], mean)
		}
	}
	if len(counts) != len(base62) {
		t.Errorf("%d different characters", len(counts))
	}
}

func TestNewOTPFails(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 0, MaxOTP + 1} {
		if _, err := NewOTP(n, nil); !errors.Is(err, ErrOTPLength) {
			t.Errorf("%d: %v", n, err)
		}
	}
	dry := errors.New("dry")
	if otp, err := NewOTP(26, iotest.ErrReader(dry)); !errors.Is(err, dry) || otp != "" {
		t.Errorf("no randomness: %v", err)
	}
	if otp, err := NewOTP(26, nil); err != nil || CheckOTP(otp, 26) != nil {
		t.Errorf("from crypto/rand: %q, %v", otp, err)
	}
}

func FuzzDecodeToken(f *testing.F) {
	f.Add("", "")
	f.Add("HAwEFTkwHQ0mEyMbDxYQKBgmJSYjGSsXOSw", strings.Repeat("o", 26))
	f.Fuzz(func(t *testing.T, encoded, otp string) {
		token, err := DecodeToken(encoded, otp)
		if err != nil {
			return
		}
		again, err := EncodeToken(token, otp)
		if err != nil {
			t.Fatal(err)
		}
		clean := strings.NewReplacer("\r", "", "\n", "").Replace(encoded)
		if again != strings.TrimRight(clean, "=") {
			t.Fatalf("%q decoded and encoded is %q", encoded, again)
		}
	})
}
