package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// outFile is the file that a command writes. A regular file, or one that does not exist yet, is
// written to a temporary file beside it and renamed by commit, so that a failure keeps the previous
// content. A pipe, a device, a socket or standard output is written directly: a rename would
// replace it, and its reader would get nothing.
type outFile struct {
	io.Writer
	file *os.File // nil for standard output
	path string   // of the file that commit replaces; "" if it is written directly
}

// createFile opens the output of a command: "-" and the names of file descriptor 1 are standard
// output. Links are followed.
func (b *base) createFile(name string) (*outFile, error) {
	switch filepath.Clean(name) {
	case "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return &outFile{Writer: b.env.Stdout}, nil
	}
	path, mode, err := outTarget(name)
	if err != nil {
		return nil, err
	}
	if !mode.IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return nil, err
		}
		return &outFile{Writer: f, file: f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return nil, named(path, err)
	}
	o := &outFile{Writer: f, file: f, path: path}
	if perm := mode.Perm(); perm != 0 {
		if err := f.Chmod(perm); err != nil {
			return nil, o.abort(err)
		}
	}
	return o, nil
}

// named gives an error the path that the user knows, instead of that of a temporary file or folder.
func named(path string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// outTarget follows the links of a name. A mode of 0 is a file that does not exist.
func outTarget(name string) (path string, mode fs.FileMode, err error) {
	const maxLinks = 40
	path = name
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", 0, named(name, err)
		}
		path = filepath.Join(dir, filepath.Base(path))
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path, 0, nil
		case err != nil:
			return "", 0, err
		case strings.HasPrefix(path, "/proc/"): // an open file descriptor, which only the kernel resolves
			return path, fs.ModeNamedPipe, nil
		case info.IsDir():
			return "", 0, fmt.Errorf("%s is a folder: the name of a file is needed", path)
		case info.Mode()&fs.ModeSymlink == 0:
			return path, info.Mode(), nil
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", 0, err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		path = to
	}
	return "", 0, fmt.Errorf("%s: too many links", name)
}

// private makes a regular file one for its owner alone, even where it replaces another.
func (o *outFile) private() error {
	if o.path == "" {
		return nil
	}
	return o.file.Chmod(0o600)
}

// commit makes the content permanent: it syncs and renames a regular file.
func (o *outFile) commit() error {
	if o.file == nil {
		return nil
	}
	if o.path == "" {
		return o.file.Close()
	}
	err := o.file.Sync()
	if err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		return o.abort(err)
	}
	return o.file.Close()
}

// abort removes the temporary file and returns err.
func (o *outFile) abort(err error) error {
	if o.file == nil {
		return err
	}
	err = errors.Join(err, o.file.Close())
	if o.path != "" {
		err = errors.Join(err, os.Remove(o.file.Name()))
	}
	return err
}
