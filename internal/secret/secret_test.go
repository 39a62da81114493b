package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
)

const value = "correct-horse"

// holder is how secrets usually travel: inside a structure that is printed.
type holder struct {
	Name  string
	Key   *Bytes
	Plain Bytes
}

func TestRefusesToPrint(t *testing.T) {
	s := Copy([]byte(value))
	h := holder{Name: "n", Key: s, Plain: *s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%c", "%U", "%o", "%b"} {
		for _, v := range []any{s, *s, h, &h, []*Bytes{s}, []Bytes{*s}, map[string]*Bytes{"k": s}} {
			if got := fmt.Sprintf(verb, v); leaks(got) {
				t.Errorf("%s of %T shows the value: %s", verb, v, got)
			}
		}
	}
	if got := fmt.Sprint(s); got != Redacted {
		t.Errorf("Sprint = %q, want %q", got, Redacted)
	}
}

// leaks looks for the value as text, as hexadecimal and as a list of numbers.
func leaks(got string) bool {
	hex := fmt.Sprintf("%x", value)
	decimal := strings.Trim(fmt.Sprint([]byte(value)), "[]")
	low := strings.ToLower(got)
	return strings.Contains(low, value) || strings.Contains(low, hex) || strings.Contains(low, decimal)
}

func TestRefusesToMarshal(t *testing.T) {
	s := Copy([]byte(value))
	encoders := map[string]func(any) ([]byte, error){
		"json": json.Marshal,
		"xml":  xml.Marshal,
		"gob": func(v any) ([]byte, error) {
			var buf bytes.Buffer
			err := gob.NewEncoder(&buf).Encode(v)
			return buf.Bytes(), err
		},
	}
	for name, encode := range encoders {
		for _, v := range []any{s, *s, holder{Key: s}} {
			out, err := encode(v)
			if !errors.Is(err, ErrMarshal) || leaks(string(out)) {
				t.Errorf("%s of %T: %q, %v; want ErrMarshal", name, v, out, err)
			}
		}
	}
	if _, err := s.MarshalText(); !errors.Is(err, ErrMarshal) {
		t.Errorf("MarshalText: %v", err)
	}
}

func TestRefusesToLog(t *testing.T) {
	s := Copy([]byte(value))
	var text, js bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&js, nil)} {
		slog.New(h).Info("m", "ptr", s, "val", *s, "in", holder{Key: s, Plain: *s})
	}
	for _, got := range []string{text.String(), js.String()} {
		if leaks(got) || !strings.Contains(got, Redacted) {
			t.Errorf("log shows the value or no placeholder: %s", got)
		}
	}
}

func TestEqualCloneDestroy(t *testing.T) {
	own := []byte(value)
	s := New(own)
	c := s.Clone()
	if !s.Equal(c) || s.Equal(Copy([]byte("correct-horsf"))) || s.Equal(nil) {
		t.Fatal("Equal is wrong")
	}
	s.Destroy()
	s.Destroy()
	if !bytes.Equal(own, make([]byte, len(value))) {
		t.Error("Destroy left the bytes in memory")
	}
	if s.Len() != 0 || c.Len() != len(value) {
		t.Error("Destroy touched the clone, or left a length")
	}
	var none *Bytes
	none.Destroy()
	if none.Len() != 0 || none.Expose() != nil || !none.Equal(New(nil)) {
		t.Error("nil is not an empty secret")
	}
}

func TestRandom(t *testing.T) {
	a, err := Random(nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Random(nil, 32)
	if err != nil || a.Len() != 32 || a.Equal(b) {
		t.Fatalf("two random secrets are equal, or %v", err)
	}
	if _, err := Random(iotest.ErrReader(errors.New("dry")), 32); err == nil {
		t.Error("a failing source gave a secret")
	}
}
