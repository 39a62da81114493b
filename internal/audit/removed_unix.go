//go:build unix

package audit

import (
	"os"
	"syscall"
)

// removed reports whether an open file has no name any more: writes to it are lost when the process
// ends.
func removed(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && st.Nlink == 0
}
