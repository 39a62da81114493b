package kv

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// sample has something in each field.
func sample() *secret {
	s := &secret{
		flags: flagCAS | flagMetaCAS, current: 4, created: 1, updated: 2, metaVersion: 3, maxVersions: 4, deleteAfter: 5,
		custom: json.RawMessage(`{"owner":"me"}`), value: json.RawMessage(`{"k":"v"}`),
	}
	for i := range s.id {
		s.id[i] = byte(i)
	}
	s.versions = s.versions.with(version{created: 6, deletion: 7}).with(version{created: 8,
		destroyed: true}).with(version{created: 9})
	return s
}

func TestRecordsOfVersion2(t *testing.T) {
	t.Parallel()
	s := sample()
	b, err := s.marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string][]byte{
		"kv-v2-secret.hex":           b,
		"kv-v2-value.hex":            marshalValue(json.RawMessage(`{"k":"v"}`)),
		"kv-v2-config.hex":           settings{true, false, 10, -1}.marshal(),
		"kv-v2-upgrade-begun.hex":    upgrade{1}.marshal(),
		"kv-v2-to-be-removed.hex":    leftover{s.id, []uint64{1, 2}}.marshal(),
		"kv-v2-metadata-without.hex": must(t)((&secret{id: s.id, created: 1, updated: 1}).marshal()),
	} {
		file, err := os.ReadFile("../../../testdata/mount/" + name)
		if err != nil {
			t.Error(err)
		}
		if got := hex.EncodeToString(record); got != strings.TrimSpace(string(file)) {
			t.Errorf("%s is\n%s", name, got)
		}
	}
	got, err := parseSecret(b)
	if err != nil || got.oldest() != 2 {
		t.Fatalf("read back %+v, %v", got, err)
	}
	if v, ok := got.find(3); !ok || !v.destroyed || v.created != 8 {
		t.Errorf("version 3 is %+v, %v", v, ok)
	}
	for _, n := range []uint64{1, 5, 1 << 63} {
		if v, ok := got.find(n); ok {
			t.Errorf("version %d is %+v", n, v)
		}
	}
}

func must(t *testing.T) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func TestDamagedRecordsOfVersion2(t *testing.T) {
	t.Parallel()
	good, err := sample().marshal()
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, bad := range map[string][]byte{
		"empty":                   nil,
		"cut off":                 good[:secretHeader+2],
		"of another version":      change(func(b []byte) []byte { b[0] = 2; return b }),
		"with unknown flags":      change(func(b []byte) []byte { b[1] = 4; return b }),
		"custom is no object":     change(func(b []byte) []byte { b[secretHeader+3] = '['; return b }),
		"the value is no object":  append(bytes.Clone(good), ']'),
		"a version too many":      change(func(b []byte) []byte { b[25] = 2; return b }),
		"a strange mark":          change(func(b []byte) []byte { b[secretHeader+3+14+3+16] = 2; return b }),
		"a length beyond the end": change(func(b []byte) []byte { b[secretHeader] = 0xff; return b }),
	} {
		if _, err := parseSecret(bad); !errors.Is(err, errRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	b, err := sample().marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := parseSecret(in)
		if err != nil {
			return
		}
		out, err := s.marshal()
		if err != nil || !bytes.Equal(out, in) {
			t.Errorf("read %x, wrote %x, %v", in, out, err)
		}
		for _, n := range []uint64{0, 1, s.oldest(), s.current, s.current + 1} {
			s.find(n)
		}
		appendMetadata(nil, &s, true)
	})
}

func FuzzSmallRecords(f *testing.F) {
	f.Add(marshalValue(json.RawMessage(`{}`)))
	f.Add(settings{true, true, 1, 2}.marshal())
	f.Add(upgrade{1}.marshal())
	f.Add(leftover{id{1}, []uint64{1}}.marshal())
	f.Fuzz(func(t *testing.T, in []byte) {
		same := func(out []byte) {
			if !bytes.Equal(in, out) {
				t.Errorf("read %x, wrote %x", in, out)
			}
		}
		if v, err := parseValue(in); err == nil {
			same(marshalValue(v))
		}
		if c, err := parseSettings(in); err == nil {
			same(c.marshal())
		}
		if u, err := parseUpgrade(in); err == nil {
			same(u.marshal())
		}
		if l, err := parseLeftover(in); err == nil {
			same(l.marshal())
		}
	})
}
