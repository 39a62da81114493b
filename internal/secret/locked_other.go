//go:build !linux

package secret

import "errors"

// mapChunk maps nothing on this system: keys stay on the heap.
func mapChunk(int, bool) ([]byte, error) {
	return nil, errors.New("only Linux is supported")
}
