//go:build unix

package audit

import (
	"os"
	"syscall"
)

// links returns the number of a file's names.
func links(info os.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}

// removed reports whether an open file has no name any more: writes to it are lost when the process
// ends.
func removed(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && st.Nlink == 0
}
