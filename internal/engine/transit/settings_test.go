package transit

import (
	"bytes"
	"os"
	"testing"
	"time"
)

func TestSettingsRecord(t *testing.T) {
	t.Parallel()
	s := settings{disableUpsert: true, cacheSize: 500, useWindow: 36 * time.Hour}
	want, err := os.ReadFile("../../../testdata/keys/mount-v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.marshal(); !bytes.Equal(got, want) {
		t.Errorf("the record is %x, not %x", got, want)
	}
	if got, err := parseSettings(want); err != nil || got != s {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzMountSettings(f *testing.F) {
	f.Add(settings{true, 500, time.Hour}.marshal())
	f.Fuzz(func(t *testing.T, in []byte) {
		if s, err := parseSettings(in); err == nil && !bytes.Equal(s.marshal(), in) {
			t.Errorf("%x becomes %x", in, s.marshal())
		}
	})
}
