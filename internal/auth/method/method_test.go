package method

import (
	"reflect"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"Alice": "alice", "a b": "a b", "ci@x.org": "ci@x.org", "größe": "größe"} {
		if got, err := Name("name", name); err != nil || got != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a\x00", "a\nb", "\xff", strings.Repeat("x", 513)} {
		if got, err := Name("name", bad); err == nil {
			t.Errorf("%q was taken for the name %q", bad, got)
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	written := []string{"10.1.2.3/8", "192.0.2.1", "2001:db8::1/32", "::1", "::ffff:172.16.0.0/108"}
	got, err := Networks("x", written)
	if err != nil || !reflect.DeepEqual(got, written) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "10.0.0.0/33", "host", "10.0.0.0/8 "} {
		if _, err := Networks("x", []string{bad}); err == nil {
			t.Errorf("%q was taken for a network", bad)
		}
	}
	for remote, want := range map[string]bool{
		"10.9.9.9:1": true, "[::ffff:10.0.0.1]:5": true, "11.0.0.1:1": false, "[2001:db8::5%eth0]:1": true,
		"172.31.0.1:1": true, "172.32.0.1:1": false, "192.0.2.2:1": false, "[::1]:1": true, "[::2]:1": false,
		"@": false, "": false, "10.9.9.9": false,
	} {
		if Within(got, remote) != want {
			t.Errorf("%q within %v: %v", remote, got, !want)
		}
	}
	if !Within(nil, "@") {
		t.Error("without networks an address is outside")
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "x", true}, {"a*", "ab", true}, {"a*", "ba", false},
		{"*a", "ba", true},
		{"a*b", "ab", true}, {"a*b", "a", false}, {"a*a", "a", false}, {"a*b*c", "axbyc", true}, {"a*b*c", "acb", false},
		{"**", "x", true},
		{"", "", true}, {"", "x", false}, {"*.example.org", "example.org", false},
	} {
		if Glob(tc.pattern, tc.text) != tc.want {
			t.Errorf("%q fits %q: %v", tc.text, tc.pattern, !tc.want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	record, err := Marshal(TokenParams{TTL: 5, Policies: []string{"a"}, Type: "batch"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte("\x01{}"))
	f.Add([]byte("\x02{}"))
	f.Add([]byte("\x01{}{}"))
	f.Add([]byte(`{"nope":1}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var one, two TokenParams
		if Unmarshal(in, &one) != nil {
			return
		}
		out, err := Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal(out, &two); err != nil {
			t.Fatalf("%q was read and written as %q, which is none: %v", in, out, err)
		}
		again, err := Marshal(two)
		if err != nil || string(again) != string(out) {
			t.Errorf("%q, then %q, %v", out, again, err)
		}
	})
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b", "axb")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if got := Glob(pattern, text); !strings.Contains(pattern, "*") && got != (pattern == text) {
			t.Errorf("%q, %q: %v", pattern, text, got)
		}
	})
}
