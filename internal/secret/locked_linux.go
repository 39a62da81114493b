package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mapChunk maps pages outside the heap, between two guard pages. Where they cannot be locked it
// returns them with an error.
func mapChunk(size int, lock bool) ([]byte, error) {
	page := unix.Getpagesize()
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	chunk := all[page : page+size : page+size]
	if err := unix.Mprotect(chunk, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	// Kernels before 4.14 cannot wipe; there the pages do not exist in a forked process.
	if unix.Madvise(chunk, unix.MADV_WIPEONFORK) != nil {
		_ = unix.Madvise(chunk, unix.MADV_DONTFORK)
	}
	if err := unix.Madvise(chunk, unix.MADV_DONTDUMP); err != nil {
		return chunk, fmt.Errorf("MADV_DONTDUMP: %w", err)
	}
	if !lock {
		return chunk, nil
	}
	if err := unix.Mlock(chunk); err != nil {
		return chunk, fmt.Errorf("mlock of %d bytes: %w", size, err)
	}
	return chunk, nil
}
