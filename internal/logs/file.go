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

// FileOptions say where lines go and when the file is put aside.
type FileOptions struct {
	Path  string        // of the file, or of a folder, with a slash at its end, in which it is "sealgate.log"
	Bytes int64         // before a line would make it longer; 0: never for that reason
	Every time.Duration // when it is older; 0: a day
	Keep  int           // files that were put aside; 0: all; -1: none
	Now   func() time.Time
}

// File is a log file that is put aside when it is long or old, under its name with the time before the extension. It is safe for
// concurrent use.
type File struct {
	o FileOptions

	mu     sync.Mutex
	f      *os.File
	size   int64
	begun  time.Time
	failed error // the last rotation's; lines go on to the file that is open
}

// OpenFile opens or makes the file, which its owner alone can read.
func OpenFile(o FileOptions) (*File, error) {
	if strings.HasSuffix(o.Path, string(filepath.Separator)) {
		o.Path += "sealgate.log"
	}
	o.Every = cmp.Or(o.Every, 24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
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
	f.f, f.size, f.begun = file, info.Size(), f.o.Now()
	return nil
}

// Write appends a line, to a new file where it is time for one.
func (f *File) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && (f.o.Bytes > 0 && f.size+int64(len(line)) > f.o.Bytes || f.o.Now().Sub(f.begun) >= f.o.Every) {
		if err := f.rotate(); err != nil && f.failed == nil {
			fmt.Fprintf(f.f, "log_file: it cannot be rotated, and grows: %v\n", err)
			f.failed = err
		} else {
			f.failed = err
		}
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	return n, err
}

// rotate puts the file aside. Where that fails the old one stays in use.
func (f *File) rotate() error {
	ext := filepath.Ext(f.o.Path)
	stem := strings.TrimSuffix(f.o.Path, ext)
	aside := fmt.Sprintf("%s-%s%s", stem, f.o.Now().UTC().Format("20060102T150405.000000000Z"), ext)
	if err := os.Rename(f.o.Path, aside); err != nil {
		return err
	}
	old := f.f
	if err := f.open(); err != nil {
		return err // lines go to the file that was put aside
	}
	if err := old.Close(); err != nil {
		return err
	}
	return f.prune(stem, ext)
}

// prune removes the oldest of those that were put aside.
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

// Reopen opens the file anew by its name: what somebody has moved away is left alone.
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
