package server

import (
	"slices"
	"strings"
	"testing"
)

// TestCleanMappings: only what is the same in the file may be unmapped.
func TestCleanMappings(t *testing.T) {
	t.Parallel()
	block := func(head, dirty, anonymous string) string {
		return head + "\nSize: 4 kB\nRss: 4 kB\nPrivate_Dirty:         " + dirty +
			" kB\nAnonymous:             " + anonymous +
			" kB\nVmFlags: rd ex mr mw me\n"
	}
	smaps := block("1000-2000 r-xp 00000000 08:01 7 /bin/p", "0", "0") +
		block("2000-3000 r--p 00000000 08:01 7 /bin/p", "8", "0") + // relocated
		block("3000-4000 r--p 00000000 08:01 7 /bin/p", "0", "4") +
		block("4000-6000 r--p 00000000 08:01 7 /bin/p", "0", "0") +
		block("6000-7000 rw-p 00000000 08:01 7 /bin/p", "0", "0") +
		block("7000-8000 r-xp 00000000 08:01 8 /lib/libc.so.6", "0", "0") +
		block("8000-9000 r-xs 00000000 08:01 7 /bin/p", "0", "0") +
		block("9000-a000 rw-p 00000000 00:00 0", "0", "0") +
		"b000-c000 r-xp 00000000 08:01 7 /bin/p\nPrivate_Dirty: 0 kB\n" // cut off
	got, err := cleanMappings(strings.NewReader(smaps), "/bin/p")
	if want := []mapping{{0x1000, 0x2000}, {0x4000, 0x6000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
	if err := unmapProgram(); err != nil { // of this test, which continues
		t.Error(err)
	}
}
