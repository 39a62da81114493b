package gcpkms

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stateFile is the form of the state file.
type stateFile struct {
	What    string           `json:"what"`
	Version int              `json:"version"`
	Rings   map[string]*ring `json:"rings"`
}

const (
	whatItIs     = "Keys of an emulator of Google Cloud KMS, in the clear. For tests and trials; no security product."
	stateVersion = 1
)

// load reads the state file. It refuses a file that other users can read, which may be a
// mistaken path.
func (s *Service) load() error {
	if s.o.State == "" {
		return nil
	}
	data, err := os.ReadFile(s.o.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(s.o.State)
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s has mode %s: it holds keys; chmod 600 it", s.o.State, perm)
	}
	var f stateFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("%s: %w", s.o.State, err)
	}
	if f.Version != stateVersion {
		return fmt.Errorf("%s has version %d; this program reads version %d", s.o.State, f.Version, stateVersion)
	}
	for text, r := range f.Rings {
		n, ok := parse(text)
		if !ok || n.kind() != keyRing || r == nil {
			return fmt.Errorf("%s: %q is no key ring", s.o.State, text)
		}
		for id, k := range r.Keys {
			n.key = id
			for i, v := range k.Versions {
				if err := v.open(n, uint64(i+1)); err != nil {
					return fmt.Errorf("%s: %s: %w", s.o.State, n, err)
				}
			}
		}
		s.rings[text] = r
	}
	return nil
}

// save writes the state file as a whole. Callers hold the lock.
func (s *Service) save() error {
	if s.o.State == "" {
		return nil
	}
	data, err := json.MarshalIndent(stateFile{What: whatItIs, Version: stateVersion, Rings: s.rings}, "", " ")
	if err == nil {
		err = WriteFile(s.o.State, data, 0o600)
	}
	if err != nil {
		s.o.Log.Error("the state could not be written", "file", s.o.State, "error", err)
		return status.Error(codes.Internal, "Internal error encountered.")
	}
	return nil
}

// WriteFile writes a file atomically.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".emulator-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
