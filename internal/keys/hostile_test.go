package keys

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// TestHugeNumbersInBackups: a backup cannot keep a processor busy by the length of a number.
func TestHugeNumbersInBackups(t *testing.T) {
	t.Parallel()
	refused := make(chan error, 1)
	go func() {
		_, err := ParseBackup(base64.StdEncoding.EncodeToString([]byte(
			`{"archived_keys":{"keys":[{"ec_d":` + strings.Repeat("7", 8<<20) + `}]}}`)))
		refused <- err
	}()
	select {
	case err := <-refused:
		if err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("%v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a number is read for half a minute")
	}
}
