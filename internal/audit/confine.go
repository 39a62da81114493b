package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
)

// A file device that a request creates is confined: a client that may create devices must not be
// able to write to any file of the server's user, such as a start-up file of a shell. It goes below
// one of [Options.Folders], through no symbolic link, and into a new file or one that an audit
// device wrote.

// confine returns the folder that confines a file device made by a request; "" if it may be
// anywhere.
func (t *Trail) confine(s settings) (folder string, err error) {
	if t.o.AnyFile || s.file == "" || s.file == "stdout" || s.file == "discard" {
		return "", nil
	}
	path, err := filepath.Abs(s.file)
	if err != nil {
		return "", err
	}
	for _, folder := range t.o.Folders {
		if folder, err = filepath.Abs(folder); err != nil {
			return "", err
		}
		rest, err := filepath.Rel(folder, path)
		if err == nil && rest != "." && filepath.IsLocal(rest) {
			return folder, nil
		}
	}
	allowed := "none is configured"
	if len(t.o.Folders) > 0 {
		allowed = strings.Join(t.o.Folders, ", ")
	}
	return "", fault.New(fault.Invalid, "file_path is outside the folders in which requests may create audit logs (%s): "+
		"choose a file below one of them, add its folder to audit_folders in the server's configuration, or declare the "+
		"device there", allowed)
}

// checkConfined refuses a new device whose file a request must not name. Without it a device with
// skip_test would be enabled, and fail every request.
func (t *Trail) checkConfined(c Config) error {
	s, err := parse(c, t.o.AllowPrefix)
	if err != nil {
		return err
	}
	folder, err := t.confine(s)
	if folder == "" || err != nil {
		return err
	}
	if err = makeFolder(folder, s.file); err == nil {
		var f *os.File
		if f, err = openConfined(folder, s.file, s.prefix, 0o600); err == nil {
			return f.Close()
		}
	}
	return fault.Wrap(err, fault.Invalid, "the audit device cannot use its file: %v", err)
}

// errConfined is returned for a file that a request must not have an audit device write to.
var errConfined = errors.New("audit: not a file for an audit device made by a request")

// below calls f with a folder and the path below it, after it has checked the path.
func below(folder, path string, f func(root *os.Root, rest string) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	rest, err := filepath.Rel(folder, path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	if err = noLinks(root, rest); err == nil {
		err = f(root, rest)
	}
	return errors.Join(err, root.Close())
}

// makeFolder creates the folder of a new device's file.
func makeFolder(folder, path string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	return below(folder, path, func(root *os.Root, rest string) error {
		return root.MkdirAll(filepath.Dir(rest), 0o700)
	})
}

// openConfined opens a file below a folder.
func openConfined(folder, path, prefix string, mode os.FileMode) (f *os.File, err error) {
	err = below(folder, path, func(root *os.Root, rest string) error {
		f, err = root.OpenFile(rest, os.O_RDWR|os.O_APPEND|os.O_CREATE, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkOwn(f, prefix); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// noLinks refuses a path with a symbolic link below the root, and anything but a regular file at
// its end. Nothing is opened: a FIFO would block.
func noLinks(root *os.Root, path string) error {
	parts := strings.Split(path, string(filepath.Separator))
	for i := range parts {
		name := filepath.Join(parts[:i+1]...)
		info, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%w: %s is a symbolic link", errConfined, name)
		case i == len(parts)-1 && !info.Mode().IsRegular():
			return fmt.Errorf("%w: %s is not a regular file", errConfined, name)
		}
	}
	return nil
}

// checkOwn refuses a file with another name, and one whose content no audit device wrote.
func checkOwn(f *os.File, prefix string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || links(info) > 1 {
		return fmt.Errorf("%w: %s has another name, or is not a regular file", errConfined, f.Name())
	}
	want := []byte(prefix + `{"time":"`)
	got := make([]byte, len(want))
	n, err := f.ReadAt(got, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n > 0 && !bytes.Equal(got[:n], want) {
		return fmt.Errorf("%w: %s has content that no audit device wrote", errConfined, f.Name())
	}
	return nil
}
