package logs

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// FileOptions are the path of a log file and its rotation.
type FileOptions struct {
	Path  string        // a file, or a folder with a trailing slash for "sealgate.log" in it
	Bytes int64         // largest size; 0: no limit
	Every time.Duration // longest time before a rotation; 0: a day
	Keep  int           // rotated files to keep; 0: all; -1: none
	Now   func() time.Time
}

// File is a log file that is rotated by size and age: the old file gets the time before its
// extension. It is safe for concurrent use.
type File struct {
	o FileOptions

	mu      sync.Mutex
	f       *os.File
	size    int64
	begun   time.Time
	regular bool  // only a regular file is rotated: a pipe or device has other users
	failed  error // of the last rotation; lines then continue in the open file
}

// OpenFile opens or creates the file, readable by its owner only.
func OpenFile(o FileOptions) (*File, error) {
	if strings.HasSuffix(o.Path, string(filepath.Separator)) {
		o.Path += "sealgate.log"
	}
	o.Every = cmp.Or(o.Every, 24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	if target, err := filepath.EvalSymlinks(o.Path); err == nil {
		o.Path = target // a rotation renames the file, not the link
	}
	f := &File{o: o}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("log_file: %w", err)
	}
	return f, nil
}

func (f *File) open() error {
	file, err := os.OpenFile(f.o.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close() // nothing was written
		return err
	}
	f.f, f.size, f.begun, f.regular = file, info.Size(), f.o.Now(), info.Mode().IsRegular()
	return nil
}

// Write appends a line and rotates the file before, if it is time.
func (f *File) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.due(len(line)) {
		err := f.rotate()
		if err != nil && f.failed == nil {
			fmt.Fprintf(f.f, "log_file: rotation failed, so that the file grows: %v\n", err)
		}
		f.failed = err
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	return n, err
}

// due reports whether the file must be rotated before a line of n bytes.
func (f *File) due(n int) bool {
	if !f.regular || f.size == 0 {
		return false
	}
	return f.o.Bytes > 0 && f.size+int64(n) > f.o.Bytes || f.o.Now().Sub(f.begun) >= f.o.Every
}

// rotate renames the file and opens a new one. If that fails, the old one stays open.
func (f *File) rotate() error {
	ext := filepath.Ext(f.o.Path)
	stem := strings.TrimSuffix(f.o.Path, ext)
	aside := fmt.Sprintf("%s-%s%s", stem, f.o.Now().UTC().Format("20060102T150405.000000000Z"), ext)
	if err := os.Rename(f.o.Path, aside); err != nil {
		return err
	}
	old := f.f
	if err := f.open(); err != nil {
		return err // lines continue in the renamed file
	}
	if err := old.Close(); err != nil {
		return err
	}
	return f.prune(stem, ext)
}

// prune removes the oldest rotated files.
func (f *File) prune(stem, ext string) error {
	if f.o.Keep == 0 {
		return nil
	}
	all, err := filepath.Glob(escapeGlob(stem) + "-[0-9]*T[0-9]*Z" + escapeGlob(ext))
	if err != nil {
		return err
	}
	slices.Sort(all)
	for _, old := range all[:max(0, len(all)-max(f.o.Keep, 0))] {
		if err := os.Remove(old); err != nil {
			return err
		}
	}
	return nil
}

func escapeGlob(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(text)
}

// Reopen opens the file again by its name, after another program has moved it.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.f
	if err := f.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f.Close()
}
