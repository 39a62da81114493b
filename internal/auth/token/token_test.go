package token

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const golden = "../../../testdata/auth"

func sample() *Token {
	return &Token{
		Type: TypeService, Accessor: "EXAMPLEACCESSOR000000000", DisplayName: "token-ci", Path: "auth/token/create",
		Parent: bytes.Repeat([]byte{7}, 32), Policies: []string{"ci", "default"},
		Created: start, TTL: time.Hour, Expires: start.Add(time.Hour), Renewable: true,
	}
}

func fullSample() *Token {
	t := sample()
	t.ExplicitMax, t.Period, t.Uses, t.Renewed = 24*time.Hour, time.Hour, 3, start.Add(time.Minute)
	t.Role, t.Meta, t.Networks = "ci", map[string]string{"team": "a", "job": "7"}, []string{"192.0.2.0/24",
		"2001:db8::/32"}
	return t
}

func rootSample() *Token {
	return &Token{Type: TypeService, Accessor: "A", DisplayName: "root", Path: "auth/token/root",
		Policies: []string{"root"}, Created: start}
}

func vector(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(golden, name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	record, err := hex.DecodeString(strings.TrimSpace(string(file)))
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestTokenRecord(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]*Token{
		"token-v1-service-with-parent": sample(),
		"token-v1-root":                rootSample(),
		"token-v2-service-with-parent": sample(),
		"token-v2-everything":          fullSample(),
		"token-v2-root":                rootSample(),
	} {
		if strings.HasPrefix(name, "token-v2") {
			record, err := want.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(record); got != hex.EncodeToString(vector(t, name)) {
				t.Errorf("%s: the record is\n%s", name, got)
			}
		}
		got, err := UnmarshalToken(vector(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Parent) == 0 {
			got.Parent = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read back %+v, want %+v", name, got, want)
		}
	}
}

func TestDamagedTokenRecords(t *testing.T) {
	t.Parallel()
	record, err := sample().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for n := range record {
		if _, err := UnmarshalToken(record[:n]); err == nil {
			t.Errorf("the first %d bytes of a record were taken for one", n)
		}
	}
	for name, bad := range map[string][]byte{
		"trailing byte": append(bytes.Clone(record), 0),
		"version 3":     append([]byte{3}, record[1:]...),
		"version 1":     append([]byte{1}, record[1:]...),
		"type 9":        append([]byte{2, 9}, record[2:]...),
	} {
		if _, err := UnmarshalToken(bad); err == nil {
			t.Errorf("%s was taken for a record", name)
		}
	}
}

func TestTokenTooLongToStore(t *testing.T) {
	t.Parallel()
	token := sample()
	token.Accessor = strings.Repeat("x", 256)
	if _, err := token.Marshal(); err == nil {
		t.Error("an accessor of 256 bytes was stored")
	}
}

func FuzzUnmarshalToken(f *testing.F) {
	record, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte{1})
	for _, name := range []string{"token-v1-root", "token-v1-service-with-parent", "token-v2-everything"} {
		f.Add(vector(f, name))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		token, err := UnmarshalToken(in)
		if err != nil {
			return
		}
		out, err := token.Marshal()
		if err != nil || in[0] == tokenVersion && !bytes.Equal(in, out) {
			t.Errorf("read %x, wrote %x, %v", in, out, err)
		}
		again, err := UnmarshalToken(out)
		if err != nil || !reflect.DeepEqual(token, again) {
			t.Errorf("read back %+v, %v; want %+v", again, err, token)
		}
	})
}
