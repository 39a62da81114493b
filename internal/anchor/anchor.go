// Package anchor keeps, outside the storage, what a node last saw of it, so that a storage that was
// rolled back or replaced is recognised.
//
// It guarantees that a [File] is replaced atomically, and that [State.Verify] accepts only what
// [State.Seal] wrote with the same key. It does not decide what a difference means: the node does.
//
// Stays compatible: the file, JSON with the version in "v", drawn at [State].
package anchor

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// State is the state of the storage when the node last saw it.
type State struct {
	Version    int      `json:"v"`
	Cluster    string   `json:"cluster"`    // id
	Generation uint64   `json:"generation"` // of the root key
	Revision   uint64   `json:"revision"`   // of the attestation
	Digest     string   `json:"digest"`     // of the attestation
	Sequence   uint64   `json:"sequence"`   // of the last commit; 0 where the storage has no numbers
	Audit      []string `json:"audit"`      // paths of the audit devices, sorted
	MAC        string   `json:"mac"`        // HMAC-SHA-256 of domain and the JSON of the other members
}

const (
	version = 1
	maxSize = 64 << 10
	domain  = "sealgate/anchor/v1\x00"
)

// ErrAnchor is returned for a file that is not an anchor.
var ErrAnchor = errors.New("anchor: not the file of an anchor")

func (s *State) mac(key []byte) (string, error) {
	c := *s
	c.MAC = ""
	raw, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(domain))
	h.Write(raw)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Seal sets the version and the MAC.
func (s *State) Seal(key []byte) (err error) {
	s.Version = version
	s.MAC, err = s.mac(key)
	return err
}

// Verify reports whether the MAC is right.
func (s *State) Verify(key []byte) bool {
	want, err := s.mac(key)
	return err == nil && hmac.Equal([]byte(want), []byte(s.MAC))
}

// Unmarshal reads a state. It refuses unknown members and versions.
func Unmarshal(b []byte) (*State, error) {
	if len(b) > maxSize {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrAnchor, len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	s := &State{}
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnchor, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it has a trailing part", ErrAnchor)
	}
	if s.Version != version {
		return nil, fmt.Errorf("%w: format version %d; this program reads version %d", ErrAnchor, s.Version, version)
	}
	return s, nil
}

// File is an anchor on the node's own disk.
type File string

// Load returns the state, nil where there is no file.
func (f File) Load() (*State, error) {
	in, err := os.Open(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // it was read
	raw, err := io.ReadAll(io.LimitReader(in, maxSize+1))
	if err != nil {
		return nil, err
	}
	return Unmarshal(raw)
}

// Save replaces the file.
func (f File) Save(s *State) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(string(f)), ".anchor-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) //nolint:errcheck // it is gone after the rename
	_, err = out.Write(append(raw, '\n'))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), string(f))
}
