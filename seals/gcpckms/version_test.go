package gcpckms

import (
	"fmt"
	"strings"
	"testing"
)

const key = "/locations/global/keyRings/r/cryptoKeys/k"

func sealOf(project string) *Wrapper {
	return &Wrapper{s: &settings{project: project, region: "global", ring: "r", key: "k"}}
}

// TestVersionNames: a version counts as this key's if project, location, ring and key are; a
// project's number may stand for its id.
func TestVersionNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		project, name string
		want          uint64
	}{
		{"trial", "projects/trial" + key + "/cryptoKeyVersions/7", 7},
		{"trial", "projects/4711" + key + "/cryptoKeyVersions/7", 7},
		{"4711", "projects/trial" + key + "/cryptoKeyVersions/7", 7},
		{"trial", "projects/other" + key + "/cryptoKeyVersions/7", 0},
		{"4711", "projects/4712" + key + "/cryptoKeyVersions/7", 0},
		{"trial", "projects/trial/locations/global/keyRings/r/cryptoKeys/kk/cryptoKeyVersions/7", 0},
		{"trial", "projects/trial/locations/us/keyRings/r/cryptoKeys/k/cryptoKeyVersions/7", 0},
		{"trial", "projects/trial/x" + key + "/cryptoKeyVersions/7", 0},
		{"trial", "projects/trial" + key + "/cryptoKeyVersions/0", 0},
		{"trial", "projects/trial" + key + "/cryptoKeyVersions/-1", 0},
		{"trial", "projects/trial" + key + "/cryptoKeyVersions/9999999999999999999", 0},
		{"trial", "projects/trial" + key, 0},
		{"trial", "", 0},
	} {
		if got, ok := sealOf(c.project).version(c.name); got != c.want || ok != (c.want != 0) {
			t.Errorf("%s: %s is version %d, %t; want %d", c.project, c.name, got, ok, c.want)
		}
	}
}

// FuzzVersionName: what is taken for a version names this key and that version.
func FuzzVersionName(f *testing.F) {
	f.Add("projects/trial" + key + "/cryptoKeyVersions/1")
	f.Add("projects/0" + key + "/cryptoKeyVersions/01")
	f.Add("projects//cryptoKeyVersions/1")
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := sealOf("trial").version(name)
		if !ok {
			return
		}
		head, number, _ := strings.Cut(name, "/cryptoKeyVersions/")
		if !strings.HasSuffix(head, key) || strings.TrimLeft(number, "0") != fmt.Sprint(n) {
			t.Errorf("%q is taken for version %d", name, n)
		}
	})
}

// FuzzEndpoint: what is taken is a host and a port, and reads as itself again.
func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"kms.example", "kms.example:9010", "https://kms.example", "[::1]:443", "::1",
		"https://a@b", "http://x", ":1", "a b:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		var s, again settings
		if s.readEndpoint(v) != nil || s.endpoint == "" {
			return
		}
		if err := again.readEndpoint(s.endpoint); err != nil || again.endpoint != s.endpoint {
			t.Errorf("%q reads as %q, and that as %q, %v", v, s.endpoint, again.endpoint, err)
		}
	})
}
