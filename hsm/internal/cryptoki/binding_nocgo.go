//go:build !cgo || windows

package cryptoki

// Load returns [ErrNoCgo]: this build cannot load a C library.
func Load(string) (Library, error) { return nil, ErrNoCgo }
