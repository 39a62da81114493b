package fips

import (
	"strings"
	"testing"
)

func TestWhereItCanBeRequired(t *testing.T) {
	for _, c := range []struct {
		enabled bool
		version string
		want    string
	}{
		{true, "v1.0.0", ""},
		{false, "v1.0.0", "module v1.0.0 is off"},
		{true, "latest", "make build-fips"},
		{false, "latest", "make build-fips"},
	} {
		err := able(c.enabled, c.version)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %s: %v; want %q", c.enabled, c.version, err, c.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	if err := Refuse("age", "RSA"); err != nil || Required() {
		t.Errorf("not required: %v", err)
	}
	end := Simulate()
	if err := Refuse("age", "RSA"); err == nil || !strings.Contains(err.Error(), "use RSA") {
		t.Errorf("required: %v", err)
	}
	end()
	if Required() {
		t.Error("still required")
	}
}
