package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/storage"
)

// held opens nothing: a server has it.
func held(context.Context, *config.Storage) (Reader, error) { return nil, storage.ErrLocked }

// TestClock checks a clock that was never set, that was set back, or that differs from a service's.
func TestClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		off   time.Duration
		level Level
		says  string
	}{
		{0, OK, "agrees"}, {time.Minute, Warning, "it differs by"}, {-time.Minute, Warning, "it differs by"},
		{-time.Hour, Error, "it differs by"},
	} {
		t.Run(c.off.String(), func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(c.off).UTC().Format(http.TimeFormat))
			}))
			defer srv.Close()
			e := &exam{Tools: Tools{Now: time.Now, Deadline: 5 * time.Second}, cfg: &config.Config{Storage: &config.Storage{}},
				report: Report{Result: OK}}
			e.remember(config.Seal{Type: "awskms", Name: "sky", Params: config.Params{"endpoint": srv.URL}})
			e.clock(t.Context())
			want(t, &e.report, c.level, "clock", c.says)
		})
	}
	r := newRoom(t)
	r.Now = func() time.Time { return time.Date(1970, 1, 1, 0, 0, 9, 0, time.UTC) }
	want(t, r.run(memory+quiet), Error, "clock", "1970-01-01")
	r = newRoom(t)
	name := r.file("data/later", "", 0o600)
	if err := os.Chtimes(name, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want(t, r.run(disk+quiet), Warning, "clock", "the clock was set back")
}

// TestClockServices checks which service is asked for the time, and that only the host of an
// address is used.
func TestClockServices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind   string
		params config.Params
		want   string
	}{
		{"awskms", config.Params{"region": "eu-west-1"}, "https://kms.eu-west-1.amazonaws.com/"},
		{"awskms", config.Params{}, ""},
		{"transit", config.Params{"address": "https://user:pw@vault.example:8200/x?y"}, "https://vault.example:8200/"},
		{"gcpckms", config.Params{}, "https://cloudkms.googleapis.com/"},
		{"gcpckms", config.Params{"endpoint": "emulator:1234"}, ""},
		{"azurekeyvault", config.Params{"vault_name": "v"}, "https://v.vault.azure.net/"},
		{"pkcs11", config.Params{}, ""},
	} {
		e := &exam{}
		e.remember(config.Seal{Type: c.kind, Params: c.params})
		if got := fmt.Sprint(e.dates); c.want == "" && len(e.dates) != 0 || c.want != "" &&
			(len(e.dates) != 1 || e.dates[0].url != c.want) {
			t.Errorf("%s %v: %s", c.kind, len(c.params), got)
		}
	}
}

// TestSwap reads /proc/swaps as Linux writes it.
func TestSwap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "swaps")
	text := "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda2 " +
		"                              partition\t2097148\t\t0\t\t-2\n/dev/zram0 partition 1 0 5\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if names := swaps(file); len(names) != 1 || names[0] != "/dev/sda2" {
		t.Errorf("%q", names)
	}
	if names := swaps(filepath.Join(dir, "none")); names != nil {
		t.Errorf("%q", names)
	}
}
