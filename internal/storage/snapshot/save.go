package snapshot

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/storage"
)

// fileSize is the size of a full state file. It bounds the memory of a snapshot, since a tar
// archive needs sizes in advance.
const fileSize = 2 << 20

// Names in the archive.
const (
	metaFile   = "meta.json"
	totalsFile = "totals.json"
	sumsFile   = "SHA256SUMS"
	sealedFile = "SHA256SUMS.sealed"
	signedFile = "SHA256SUMS.signature"
)

// stateFile returns the name of the n-th state file, counted from 1.
func stateFile(n int) string { return fmt.Sprintf("state-%08d.bin", n) }

// Proof proves the origin of a snapshot.
type Proof struct {
	Seal func(sums []byte) ([]byte, error)                 // returns the checksums, sealed
	Sign func(sums, sealed []byte) (sig []byte, err error) // by the key in Meta.Signer; unused without one
}

// Save writes a snapshot of the store to w while it reads the store. It passes the checksums to
// proof. An archive truncated by an error has no checksums, so [Read] refuses it. Bookkeeping of
// restores and migrations is omitted. It fails with storage.ErrCorrupt, before it writes anything,
// if entries are damaged that are not in m.Skipped: see [Damaged].
func Save(ctx context.Context, w io.Writer, store storage.Store, m Meta,
	proof Proof) (Totals, error) {
	source, ok := store.(storage.Snapshotter)
	if !ok {
		return Totals{}, ErrUnsupported
	}
	damaged, err := Damaged(ctx, store)
	if err != nil {
		return Totals{}, err
	}
	damaged = slices.DeleteFunc(damaged, func(key string) bool { return slices.Contains(m.Skipped, key) })
	if len(damaged) > 0 {
		return Totals{}, damagedError(damaged)
	}
	m.Version, m.Format = FormatVersion, formatName
	if len(m.Signer) == 0 {
		m.Version = unsignedVersion
	}
	// Ciphertext does not shrink: to try it made a snapshot ten times slower than this.
	compressed, err := gzip.NewWriterLevel(w, gzip.NoCompression)
	if err != nil {
		return Totals{}, err
	}
	s := &saver{archive: tar.NewWriter(compressed), meta: m}
	if err := s.save(ctx, source, proof); err != nil {
		return Totals{}, err
	}
	if err := s.archive.Close(); err != nil {
		return Totals{}, err
	}
	return s.totals, compressed.Close()
}

type saver struct {
	archive *tar.Writer
	meta    Meta
	packer  *packer
	totals  Totals
	sums    strings.Builder
}

func (s *saver) save(ctx context.Context, source storage.Snapshotter, proof Proof) error {
	if err := s.json(metaFile, s.meta); err != nil {
		return err
	}
	s.packer = newPacker(s.file)
	if err := errors.Join(s.entries(ctx, source), s.packer.end()); err != nil {
		return err
	}
	s.totals.Files = s.packer.files
	if err := s.json(totalsFile, s.totals); err != nil {
		return err
	}
	sums := []byte(s.sums.String())
	sealed, err := proof.Seal(sums)
	if err != nil {
		return fmt.Errorf("snapshot: sealing the checksums: %w", err)
	}
	if err := s.file(sumsFile, sums); err != nil {
		return err
	}
	if err := s.file(sealedFile, sealed); err != nil || s.meta.Version == unsignedVersion {
		return err
	}
	signature, err := proof.Sign(sums, sealed)
	if err != nil {
		return fmt.Errorf("snapshot: signing the checksums: %w", err)
	}
	return s.file(signedFile, signature)
}

// entries saves all entries but those of [Meta.Skipped], which were found damaged before.
func (s *saver) entries(ctx context.Context, source storage.Snapshotter) error {
	scrubber, ok := source.(storage.Scrubber)
	if !ok || len(s.meta.Skipped) == 0 {
		return source.Snapshot(ctx, s.entry)
	}
	var more []string
	err := scrubber.SnapshotIntact(ctx, s.entry, func(key string) {
		if !slices.Contains(s.meta.Skipped, key) {
			more = append(more, key)
		}
	})
	if err == nil && len(more) > 0 {
		return damagedError(more) // found since: the list in the archive would be wrong
	}
	return err
}

// Damaged lists the damaged entries of a store, as far as it can detect them.
func Damaged(ctx context.Context, store storage.Store) (keys []string, err error) {
	scrubber, ok := store.(storage.Scrubber)
	if !ok {
		return nil, nil
	}
	err = scrubber.SnapshotIntact(ctx, nil, func(key string) { keys = append(keys, key) })
	return keys, err
}

// maxNamed bounds the names in an error.
const maxNamed = 5

func damagedError(keys []string) error {
	names := strings.Join(keys[:min(len(keys), maxNamed)], ", ")
	if n := len(keys) - maxNamed; n > 0 {
		names += fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("%w: damaged entries: %s", storage.ErrCorrupt, names)
}

func (s *saver) entry(key string, value []byte) error {
	if !Copied(key) {
		return nil
	}
	s.totals.Entries++
	s.totals.Bytes += int64(len(key) + len(value))
	return s.packer.add(key, value)
}

func (s *saver) json(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return s.file(name, append(b, '\n'))
}

func (s *saver) file(name string, content []byte) error {
	fmt.Fprintf(&s.sums, "%x  %s\n", sha256.Sum256(content), name)
	h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: s.meta.Created, Typeflag: tar.TypeReg,
		Format: tar.FormatPAX}
	if err := s.archive.WriteHeader(h); err != nil {
		return err
	}
	_, err := s.archive.Write(content)
	return err
}
