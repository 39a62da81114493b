// Package barrier encrypts everything that Sealgate stores.
//
// A [Barrier] wraps a storage.Store. It holds a keyring of terms, each an AES-256 key; an entry is
// encrypted by the active term and names it, so that entries of older terms stay readable after a
// rotation. The keyring itself is encrypted by the root key, which comes from the seals.
//
// It guarantees:
//   - An entry opens only at the path that it was written to, and only unchanged: anything else
//     is an error that wraps storage.ErrCorrupt and names the path.
//   - A change of the keyring, together with whatever belongs to it, is one storage commit;
//     afterwards, and after a failed one, memory equals disk. Where the outcome is unknown, nothing
//     is encrypted until the keyring could be read again (by [Barrier.Reload], or by the next
//     write, which tries that first).
//   - Reads never wait for a rotation. Writes do not either, except those that find a block of
//     encryptions used up meanwhile.
//   - The stored number of encryptions by a term is never below the truth, so that a rotation by
//     number comes in time; a crash overstates it by less than one block (4,096).
//   - A term that [Barrier.Retire] destroyed was named by no entry at that moment, and nothing is
//     written by it afterwards.
//   - A re-encryption ([Barrier.Rewrap]) never replaces what others wrote meanwhile.
//   - A term that others may know ([Tx.Distrust]) is named by the keyring until it is destroyed.
//     After [Barrier.RefuseOld] no control record of it opens.
//   - A [Census] that says that it is exact is what this program has stored, also after a crash.
//   - A process that has a [CountMemory] does not believe a stored number below what it counted
//     itself, and rotates a term whose stored number is missing, damaged or too low.
//
// It does not guarantee:
//   - Secrecy of paths, of the length of values, or of who wrote when.
//   - Freshness: an attacker who can write to the storage can put back an older entry of the same
//     path.
//   - That no key is left in memory after [Barrier.Seal]: key bytes are overwritten, but the
//     expanded AES keys inside crypto/cipher are left to the garbage collector.
//
// Stays compatible: the formats drawn at their types (entry, keyring, counts, RotationConfig),
// which golden vectors in testdata/barrier pin.
package barrier

import (
	"errors"
	"io"
	"log/slog"
	"time"
)

// Errors of the package. Those of package storage pass through.
var (
	// ErrSealed is returned by every operation on a barrier that has not been unsealed, or has been
	// sealed since.
	ErrSealed = errors.New("barrier: sealed")
	// ErrNotFormatted is returned by Unseal on a store without a keyring.
	ErrNotFormatted = errors.New("barrier: the storage holds no keyring: it has not been initialized")
	// ErrFormatted is returned by the commit of a new barrier on a store that has a keyring already.
	// Nothing was written.
	ErrFormatted = errors.New("barrier: the storage holds a keyring already")
	// ErrWrongRoot is returned when the keyring does not open with the root key.
	ErrWrongRoot = errors.New("barrier: the root key does not open the keyring")
	// ErrUncertain is returned by writes while it is unknown which keyring is stored. Nothing was
	// written.
	ErrUncertain = errors.New("barrier: it is unknown whether the last change of the keyring was stored; " +
		"writes are refused until the keyring can be read")
	// ErrCondition is returned for conditions by value: two encryptions of one value differ. Nothing
	// was written.
	ErrCondition = errors.New("barrier: only the condition that a key is absent is supported")
	// ErrReserved is returned for entries that only the barrier writes. Nothing was written.
	ErrReserved = errors.New("barrier: the path is the barrier's own")
	// ErrTerms is returned by a rotation beyond the number of terms that a keyring holds. Nothing was
	// written.
	ErrTerms = errors.New("barrier: the keyring holds as many terms as it can")
	// ErrInterval, ErrMaxOperations and ErrMaxBytes are returned by SetRotationConfig for values out
	// of bounds.
	ErrInterval      = errors.New("interval must be greater or equal to 24h0m0s")
	ErrMaxOperations = errors.New("max_operations must be in the range [1000000,3865470566]")
	ErrMaxBytes      = errors.New("max_bytes must be 0, or at least 1048576")
)

// Paths of the barrier's own records.
const (
	KeyringPath  = "core/keyring"         // sealed by the root key
	countsPath   = "core/encryptions"     // an entry
	rotationPath = "core/rotation-config" // an entry
)

// OwnOps is how many operations and conditions a transaction may add to the caller's. The rest of
// storage.MaxOps is the caller's.
const OwnOps = 4

// Options are the dependencies and limits of a barrier. The zero value works.
type Options struct {
	Now  func() time.Time // time.Now where nil
	Rand io.Reader        // for the keys of terms; crypto/rand where nil. Nonces always come from crypto/rand.
	Log  *slog.Logger     // silent where nil

	// HandOver makes a new root key available, for a while, to the other nodes of a cluster: see
	// handover.go.
	HandOver *HandOver

	// Outside reports whether a key holds a record that is no entry of the barrier; nil: none does,
	// besides the barrier's own.
	Outside func(key string) bool

	// Counts remembers encryptions beyond the life of one barrier; nil: it forgets them when it is
	// sealed.
	Counts *CountMemory
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}
