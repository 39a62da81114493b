//go:build !unix

package audit

import "os"

// links is always 1: this system does not count a file's names.
func links(os.FileInfo) uint64 { return 1 }

// removed is always false: an open file cannot be removed on this system.
func removed(os.FileInfo) bool { return false }
