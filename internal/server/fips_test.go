package server

import (
	"crypto/fips140"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/config"
)

// TestFIPSNeedsItsBuild: an ordinary build does not start where the configuration requires FIPS
// 140-3, and opens nothing.
func TestFIPSNeedsItsBuild(t *testing.T) {
	if fips140.Version() != "latest" {
		t.Fatalf("this test is of an ordinary build, and was built with the module %s", fips140.Version())
	}
	_, err := new(serverCommand).assemble(&serverFlags{}, &config.Config{FIPS: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "make build-fips") {
		t.Errorf("%v; want a refusal that says which program to use", err)
	}
}
