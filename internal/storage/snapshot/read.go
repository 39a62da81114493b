package snapshot

import (
	"archive/tar"
	"bufio"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// maxSmall bounds the files that are read into memory: SHA256SUMS has an 80-byte line for each 2
// MiB of state.
const maxSmall = 16 << 20

// Read reads and verifies an archive to its end. It passes every entry to visit at once, before the
// rest is verified: a caller that must not act on a damaged snapshot reads it twice. A nil visit
// only verifies.
func Read(ctx context.Context, r io.Reader, visit func(key string, value []byte) error) (*Info, error) {
	in := bufio.NewReader(r)
	uncompressed, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not gzip data", ErrForeign)
	}
	uncompressed.Multistream(false) // a second stream would be appended data
	if visit == nil {
		visit = func(string, []byte) error { return nil }
	}
	a := &reader{ctx: ctx, archive: tar.NewReader(uncompressed), visit: visit}
	if err := a.read(); err != nil {
		return nil, err
	}
	if err := end(uncompressed); err != nil {
		return nil, err
	}
	return &a.info, end(in)
}

// end refuses data after the archive. Of the compressed stream it reads the checksum, too.
func end(r io.Reader) error {
	switch n, err := io.CopyN(io.Discard, r, 1); {
	case n > 0:
		return fmt.Errorf("%w: data was appended to it", ErrDamaged)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: its end is cut off", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return damaged("its end", err)
	}
	return nil
}

type reader struct {
	ctx     context.Context
	archive *tar.Reader
	visit   func(key string, value []byte) error
	info    Info
	found   Totals
	last    string          // key of the last entry
	buffer  bufio.Reader    // of the state file
	sums    strings.Builder // of the files read, in the format of SHA256SUMS
}

// read reads the files in the order in which Save writes them.
func (a *reader) read() error {
	meta, err := a.small(metaFile)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrForeign, err)
	}
	if err := json.Unmarshal(meta, &a.info.Meta); err != nil || a.info.Format != formatName {
		return fmt.Errorf("%w: its %s was written by another program", ErrForeign, metaFile)
	}
	if v := a.info.Meta.Version; v != FormatVersion && v != unsignedVersion {
		return fmt.Errorf("%w: it has format version %d, but this program reads versions %d and %d; use a newer program",
			ErrForeign, v, unsignedVersion, FormatVersion)
	}
	signer := ed25519.PublicKeySize
	if a.info.Meta.Version == unsignedVersion {
		signer = 0
	}
	if len(a.info.Signer) != signer {
		return fmt.Errorf("%w: its %s has a key of %d bytes that signs it, not %d", ErrDamaged, metaFile,
			len(a.info.Signer), signer)
	}
	var totals []byte
	for totals == nil {
		h, err := a.next()
		switch {
		case err != nil:
			return err
		case h.Name == totalsFile:
			totals, err = a.content(h)
		case h.Name == stateFile(a.found.Files+1):
			err = a.state(h)
		default:
			err = fmt.Errorf("%w: the file %q is out of place", ErrDamaged, h.Name)
		}
		if err != nil {
			return err
		}
	}
	if err := json.Unmarshal(totals, &a.info.Totals); err != nil || a.info.Totals != a.found {
		return fmt.Errorf("%w: it holds %d entries in %d files, which differs from its totals", ErrDamaged, a.found.Entries,
			a.found.Files)
	}
	return a.checksums()
}

// checksums compares the files read with SHA256SUMS.
func (a *reader) checksums() (err error) {
	want := a.sums.String()
	if a.info.Sums, err = a.small(sumsFile); err != nil {
		return err
	}
	if string(a.info.Sums) != want {
		return fmt.Errorf("%w: the checksums do not match", ErrDamaged)
	}
	if a.info.Sealed, err = a.small(sealedFile); err != nil {
		return err
	}
	if err := a.signature(); err != nil {
		return err
	}
	if _, err := a.archive.Next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: trailing data after the checksums", ErrDamaged)
	}
	return nil
}

// signature verifies the signature by the key that the snapshot names.
func (a *reader) signature() error {
	if !a.info.Signed() {
		return nil
	}
	signature, err := a.small(signedFile)
	if err != nil {
		return err
	}
	if !ed25519.Verify(a.info.Signer, signedBytes(a.info.Sums, a.info.Sealed), signature) {
		return fmt.Errorf("%w: the signature is wrong", ErrDamaged)
	}
	return nil
}

func (a *reader) next() (*tar.Header, error) {
	if err := a.ctx.Err(); err != nil {
		return nil, err
	}
	h, err := a.archive.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: it is cut off: %v", ErrDamaged, err)
	}
	return h, nil
}

// small returns the next file, which must have this name.
func (a *reader) small(name string) ([]byte, error) {
	h, err := a.next()
	if err != nil {
		return nil, err
	}
	if h.Name != name {
		return nil, fmt.Errorf("%w: found %q instead of %s", ErrDamaged, h.Name, name)
	}
	return a.content(h)
}

func (a *reader) content(h *tar.Header) ([]byte, error) {
	if h.Size > maxSmall {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrDamaged, h.Name, h.Size)
	}
	b, err := io.ReadAll(a.archive)
	if err != nil {
		return nil, fmt.Errorf("%w: it is cut off in %s: %v", ErrDamaged, h.Name, err)
	}
	a.sum(h.Name, sha256.Sum256(b))
	return b, nil
}

func (a *reader) sum(name string, sum [sha256.Size]byte) { fmt.Fprintf(&a.sums, "%x  %s\n", sum, name) }

// state reads one state file entry by entry.
func (a *reader) state(h *tar.Header) error {
	a.found.Files++
	digest := sha256.New()
	a.buffer.Reset(io.TeeReader(a.archive, digest))
	d := &decoder{r: &a.buffer, last: a.last}
	for {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		key, value, err := d.next()
		if errors.Is(err, io.EOF) {
			a.last = d.last
			a.sum(h.Name, sumOf(digest))
			return nil
		}
		if err != nil {
			return damaged(h.Name, err)
		}
		if !Copied(key) {
			return fmt.Errorf("%w: %q cannot be an entry of a snapshot", ErrDamaged, key)
		}
		a.found.Entries++
		a.found.Bytes += int64(len(key) + len(value))
		if err := a.visit(key, value); err != nil {
			return err
		}
	}
}

func sumOf(h hash.Hash) [sha256.Size]byte { return [sha256.Size]byte(h.Sum(nil)) }

// damaged keeps errors of the snapshot and of the source; errors of gzip and tar become ErrDamaged.
func damaged(name string, err error) error {
	var flawed flate.CorruptInputError
	if errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, tar.ErrHeader) ||
		errors.As(err, &flawed) {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, name, err)
	}
	return err
}
