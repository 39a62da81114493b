//go:build !unix

package audit

import "os"

// removed is always false: an open file cannot be removed on this system.
func removed(os.FileInfo) bool { return false }
