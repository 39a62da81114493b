// Package snapshot copies a store into one file, and a file back into a store.
//
// A snapshot is a gzip'd tar archive. Everything in it is as the storage holds it: sealed by the barrier. Whoever has a snapshot has what a thief of
// the disk has, and no more.
//
//	meta.json          what was copied, when, and by what: [Meta]
//	state-00000001.bin entries in key order, some MiB a file, whole entries only
//	...                  key    u16 length, then its bytes
//	                     value  u32 length, then its bytes       (big-endian)
//	totals.json        how much there is: [Totals]
//	SHA256SUMS         one line a file as sha256sum(1) writes them
//	SHA256SUMS.sealed  the same, sealed by the barrier of the server that made it
//
// It guarantees that a snapshot shows the store as of one moment; that one which is damaged, cut off or carries what no store could hold is
// refused before anything is written; and that a restore is whole or not there: [Stage] brings everything into the store beside what is in use,
// one commit ([Decide]) makes up its mind, and [Finish] can be repeated by anybody, on any node, until it is done. A crash before the
// decision leaves the old data, a crash after it the new.
//
// It does not say whether a snapshot belongs to a cluster: that is for who can open SHA256SUMS.sealed.
package snapshot

import (
	"errors"
	"time"
)

// FormatVersion is the format version that this program writes and reads.
const FormatVersion = 1

// formatName stands in every meta.json, so that another program's archive is told from a damaged one.
const formatName = "sealgate-snapshot"

var (
	// ErrDamaged is returned for an archive that is cut off, changed, or holds what no store could.
	ErrDamaged = errors.New("snapshot: damaged or incomplete")
	// ErrForeign is returned for what is not a snapshot of this format at all.
	ErrForeign = errors.New("snapshot: not a Sealgate snapshot")
	// ErrUnsupported is returned for a store that cannot show itself as of one moment.
	ErrUnsupported = errors.New("snapshot: this storage cannot make a consistent copy")
	// ErrUnderWay is returned where another restore was decided and is not finished.
	ErrUnderWay = errors.New("snapshot: a restore is under way")
)

// Meta says what a snapshot is of.
type Meta struct {
	Version     int       `json:"v"`
	Format      string    `json:"format"`
	Created     time.Time `json:"created"`
	ClusterID   string    `json:"cluster_id"`
	ClusterName string    `json:"cluster_name"`
	Storage     string    `json:"storage"` // type of the storage it was made from
	Program     string    `json:"program"` // name and version of what made it
}

// Totals says how much a snapshot holds.
type Totals struct {
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"` // keys and values
	Files   int   `json:"files"` // state files
}

// Info is what is known of a snapshot that was read to its end.
type Info struct {
	Meta
	Totals
	Sums   []byte // SHA256SUMS, as it was checked
	Sealed []byte // SHA256SUMS.sealed
}
