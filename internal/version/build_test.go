package version

import (
	"crypto/fips140"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	t.Parallel()
	b := Read()
	if b.Version != Release || b.Go != runtime.Version() || b.OS != runtime.GOOS || b.FIPS.Enabled != fips140.Enabled() {
		t.Errorf("%+v", b)
	}
	raw, err := json.Marshal(b)
	for _, name := range []string{`"version":`, `"modified":`, `"fips":{"enabled":`, `"modules":[`, `"trimpath":`,
		`"cgo":`} {
		if err != nil || !strings.Contains(string(raw), name) {
			t.Errorf("no %s in %s, %v", name, raw, err)
		}
	}
}
