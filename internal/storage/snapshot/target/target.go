// Package target is where scheduled snapshots are kept: a folder here, or a bucket in package s3.
//
// It guarantees that an object has its name only once all of it is stored: a crash or an error
// leaves none, or the one before.
//
// It does not guarantee that what is read back is what was written: the caller verifies that.
package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Target keeps objects by name. Names have letters, digits, dots, hyphens and underscores.
type Target interface {
	// Create starts an object, or replaces one when it is committed.
	Create(ctx context.Context, name string) (Object, error)
	// Open returns the content of an object, or fs.ErrNotExist.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the names that start with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// Remove removes an object. One that is not there is no error.
	Remove(ctx context.Context, name string) error
}

// Object is an object that is being written. One of Commit and Abort ends it.
type Object interface {
	io.Writer
	Commit() error
	Abort()
}

// CheckName refuses what is no name of an object.
func CheckName(name string) error {
	ok := len(name) > 0 && len(name) <= 200 && name[0] != '.'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r))
	}
	if !ok {
		return fmt.Errorf("target: %.60q is not the name of a snapshot", name)
	}
	return nil
}

// Folder is a folder, which must exist: a missing mount must not be written over.
type Folder string

// unfinished starts the names of files that are being written.
const unfinished = ".unfinished-"

// Create implements Target. The file is readable by its owner alone.
func (f Folder) Create(_ context.Context, name string) (Object, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(string(f), unfinished+name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &folderObject{file, filepath.Join(string(f), name)}, nil
}

type folderObject struct {
	*os.File
	name string
}

// Commit implements Object. The content is on disk before the name is.
func (o *folderObject) Commit() error {
	if err := errors.Join(o.Sync(), o.Close()); err != nil {
		return errors.Join(err, os.Remove(o.Name()))
	}
	if err := os.Rename(o.Name(), o.name); err != nil {
		return errors.Join(err, os.Remove(o.Name()))
	}
	dir, err := os.Open(filepath.Dir(o.name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Abort implements Object.
func (o *folderObject) Abort() {
	_ = o.Close() // its content is not wanted
	_ = os.Remove(o.Name())
}

// Open implements Target.
func (f Folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(string(f), name))
}

// List implements Target.
func (f Folder) List(_ context.Context, prefix string) (names []string, err error) {
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), prefix) && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Sweep removes what a crash has left of writes of the caller's objects. The caller knows that none
// is being written.
func (f Folder) Sweep(ours func(name string) bool) error {
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), unfinished); ok && e.Type().IsRegular() && ours(name) {
			err = errors.Join(err, os.Remove(filepath.Join(string(f), e.Name())))
		}
	}
	return err
}

// Remove implements Target.
func (f Folder) Remove(_ context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(string(f), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
