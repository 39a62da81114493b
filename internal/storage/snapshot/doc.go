// Package snapshot copies a store into one file, and a file back into a store.
//
// A snapshot is a gzip'd tar archive. All content is as stored: sealed by the barrier. A snapshot
// reveals as much as a copy of the disk, and no more.
//
//	meta.json          what was copied, when, and by which program: [Meta]
//	state-00000001.bin entries in key order, some MiB for each file, whole entries only
//	...                  key    u16 length, then its bytes
//	                     value  u32 length, then its bytes       (big-endian)
//	totals.json        the size of the content: [Totals]
//	SHA256SUMS         one line for each file, as sha256sum(1) writes them
//	SHA256SUMS.sealed  the same, sealed by the barrier of the server that made it
//	SHA256SUMS.signature  Ed25519, over what signedBytes draws; its key is meta.json's signer
//
// Version 1 has no signature. It is read, and written by a server that has no key to sign with.
//
// It guarantees that a snapshot shows the store as of one moment; that a damaged or truncated
// snapshot, one with anything added, or one with impossible entries, is refused before anything is
// written; that the signature of a signed one is of the key that it names; and that a
// restore is applied entirely or not at all: [Stage] copies everything into the store beside the
// current data, one commit ([Decide]) decides, and any node can repeat [Finish] until it is done. A
// crash before the decision leaves the old data, a crash after it the new.
//
// It does not check whether a snapshot belongs to a cluster, nor whose key signed it: a caller that
// can open SHA256SUMS.sealed, or that knows the cluster's public key, does.
package snapshot

import (
	"errors"
	"time"
)

// FormatVersion is the newest format version that this program writes and reads. It reads the
// others too.
const (
	FormatVersion   = 2
	unsignedVersion = 1
)

// formatName identifies the format in meta.json, so that a foreign archive is not reported as a
// damaged one.
const formatName = "sealgate-snapshot"

var (
	// ErrDamaged is returned for an archive that is truncated, changed, or holds impossible
	// entries.
	ErrDamaged = errors.New("snapshot: damaged or incomplete")
	// ErrForeign is returned for a file that is not a snapshot of this format.
	ErrForeign = errors.New("snapshot: not a Sealgate snapshot")
	// ErrUnsupported is returned for a store that cannot provide a consistent copy.
	ErrUnsupported = errors.New("snapshot: this storage cannot make a consistent copy")
	// ErrUnderWay is returned while another restore is decided and not finished.
	ErrUnderWay = errors.New("snapshot: a restore is in progress")
)

// SkipHeader is the request header that leaves damaged entries out of a snapshot.
const SkipHeader = "X-Sealgate-Skip-Damaged"

// Meta describes a snapshot.
type Meta struct {
	Version     int       `json:"v"`
	Format      string    `json:"format"`
	Created     time.Time `json:"created"`
	ClusterID   string    `json:"cluster_id"`
	ClusterName string    `json:"cluster_name"`
	Storage     string    `json:"storage"`           // type of the storage it was made from
	Program     string    `json:"program"`           // name and version of the program that made it
	Skipped     []string  `json:"skipped,omitempty"` // damaged entries that were left out
	Signer      []byte    `json:"signer,omitempty"`  // Ed25519 key that signs; none in version 1
	Resealed    time.Time `json:"resealed,omitzero"` // when its root key was wrapped by other seals
}

// Totals is the size of a snapshot's content.
type Totals struct {
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"` // keys and values
	Files   int   `json:"files"` // state files
}

// Info describes a snapshot that was read to its end.
type Info struct {
	Meta
	Totals
	Sums   []byte // SHA256SUMS, verified
	Sealed []byte // SHA256SUMS.sealed
}

// Signed reports whether the snapshot carries a signature, which Read has verified by Meta.Signer.
func (i *Info) Signed() bool { return len(i.Signer) > 0 }
