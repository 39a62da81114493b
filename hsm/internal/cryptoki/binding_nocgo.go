//go:build !cgo || windows

package cryptoki

// Load always fails in this build: see [ErrNoCgo].
func Load(string) (Library, error) { return nil, ErrNoCgo }
