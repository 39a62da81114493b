//go:build unix

package audit

import (
	"os"
	"syscall"
)

// removed reports whether an open file has no name any more: what is written to it is gone with the process.
func removed(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && st.Nlink == 0
}
