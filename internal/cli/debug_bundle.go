package cli

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// bundle is a folder, or an archive of one, that is written at the end, readable by its owner only.
type bundle struct {
	folder   string
	compress bool
	made     time.Time
	files    map[string][]byte
}

func newBundle(folder string, compress bool, made time.Time) *bundle {
	return &bundle{folder: folder, compress: compress, made: made, files: map[string][]byte{}}
}

// name is the path of the bundle.
func (u *bundle) name() string {
	if u.compress {
		return u.folder + ".tar.gz"
	}
	return u.folder
}

// free returns an error if the path of the bundle exists.
func (u *bundle) free() error {
	if _, err := os.Lstat(u.name()); err == nil {
		return fmt.Errorf("the output already exists: %s", u.name())
	}
	return nil
}

func (u *bundle) add(name string, data []byte) { u.files[name] = data }
func (u *bundle) names() []string              { return slices.Sorted(maps.Keys(u.files)) }

func (u *bundle) write() error {
	if u.compress {
		return u.archive()
	}
	if err := os.MkdirAll(filepath.Dir(u.folder), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(u.folder, 0o700); err != nil {
		return err
	}
	for _, name := range u.names() {
		file := filepath.Join(u.folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, u.files[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (u *bundle) archive() (err error) {
	if err := os.MkdirAll(filepath.Dir(u.folder), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(u.name(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			os.Remove(u.name())
		}
	}()
	zip := gzip.NewWriter(f)
	all := tar.NewWriter(zip)
	for _, name := range u.names() {
		data := u.files[name]
		head := &tar.Header{Name: filepath.Base(u.folder) + "/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: u.made,
			Format: tar.FormatPAX}
		if err := all.WriteHeader(head); err != nil {
			return err
		}
		if _, err := all.Write(data); err != nil {
			return err
		}
	}
	if err := all.Close(); err != nil {
		return err
	}
	return zip.Close()
}
