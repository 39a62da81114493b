package barrier

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/failpoint"
)

// After a compromise others may know the older terms, and may write to the storage: then they can
// seal any entry by such a term. The keyring names those terms, under the new root key, until the
// last of them is destroyed:
//
//	Tx.Distrust          with the new root key and the new term. Entries of the older terms still
//	                     open, because every entry is of one
//	Barrier.Settled      nothing is written by the older terms any more
//	Barrier.Rewrap       of all control records
//	Barrier.RefuseOld    from here on a control record of a distrusted term opens nowhere
//	Barrier.Rewrap       of the data; what follows a page calls Barrier.RefuseUpTo
//	Barrier.Retire       destroys the distrusted terms, once a count of all entries finds none
//
// What an attacker planted before that is re-encrypted with the rest: it does not differ from what
// this program wrote while he had the current keys.

// dataPrefix is where secrets engines keep their data. All other entries are control records: they
// decide who has access, who gets keys, and what the server does.
const dataPrefix = "logical/"

// IsControl reports whether the entry at a path is a control record.
func IsControl(path string) bool { return !strings.HasPrefix(path, dataPrefix) }

// trust is what a ring says of the terms that others may know. The zero value trusts all terms.
type trust struct {
	from    uint32 // terms before it are distrusted; 0: none is
	refused uint32 // control records of terms before it do not open; at most from
}

func (t trust) version() uint8 {
	if t.from > 0 {
		return keyringDistrust
	}
	return keyringVersion
}

func (t trust) add(b *cryptobyte.Builder) {
	if t.from > 0 {
		b.AddUint32(t.from)
		b.AddUint32(t.refused)
	}
}

func (t *trust) read(in *cryptobyte.String) bool {
	return in.ReadUint32(&t.from) && in.ReadUint32(&t.refused) && t.from > 0 && t.refused <= t.from
}

// refuses reports whether an entry of a term does not open at a path.
func (t trust) refuses(path string, term uint32) bool { return term < t.refused && IsControl(path) }

// after returns what remains once the oldest term is another one.
func (t trust) after(oldest uint32) trust {
	if oldest >= t.from {
		return trust{}
	}
	return t
}

// Distrust says that others may know the terms before one, which is in the keyring after the
// transaction. It is for a transaction that replaces the root key too: the old one opens what they
// know.
func (tx *Tx) Distrust(before uint32) { tx.distrust = before }

// Distrusted returns the oldest term that nobody else can know, and whether control records of
// older terms are refused. 0: all terms are trusted, or the barrier is sealed.
func (b *Barrier) Distrusted() (before uint32, refused bool) {
	if r := b.ring.Load(); r != nil {
		return r.trust.from, r.trust.from > 0 && r.trust.refused == r.trust.from
	}
	return 0, false
}

// RefuseOld makes the control records of distrusted terms unreadable, here and at every node that
// reads the keyring. The caller has called Settled, and has then re-encrypted them.
func (b *Barrier) RefuseOld(ctx context.Context) error {
	before, refused := b.Distrusted()
	if before == 0 || refused {
		return nil
	}
	tx := b.Begin()
	tx.refuse = true
	failpoint.Point("refuse.commit")
	return tx.Commit(ctx)
}

// RefuseUpTo makes this barrier refuse entries of distrusted terms at all paths up to one, in the
// order of [Barrier.NextEntries]: the caller has called Settled for the terms before one, and has
// then re-encrypted those entries. It is not stored: other nodes refuse control records alone. One
// goroutine calls it.
func (b *Barrier) RefuseUpTo(path string, before uint32) {
	if old := b.upTo.Load(); old == nil || old.before != before || old.path < path {
		b.upTo.Store(&passing{path, before})
	}
}

// passing is how far a rewrap of the terms before one has come.
type passing struct {
	path   string
	before uint32
}

// passed refuses an entry that was put back after the rewrap has passed its path.
func (b *Barrier) passed(r *ring, path string, record []byte) error {
	if r.trust.from == 0 {
		return nil
	}
	id, ok := termOf(record)
	if p := b.upTo.Load(); ok && p != nil && id < p.before && path <= p.path {
		return errDistrusted(path, id)
	}
	return nil
}

// changeTrust applies a transaction to the trust of the next ring.
func (tx *Tx) changeTrust(next *ring) error {
	if tx.distrust > 0 {
		if next.find(tx.distrust) == nil {
			return fmt.Errorf("barrier: terms before %d cannot be distrusted: the keyring has no term %d",
				tx.distrust, tx.distrust)
		}
		next.trust.from = max(next.trust.from, tx.distrust)
	}
	if tx.refuse {
		next.trust.refused = next.trust.from
	}
	next.trust = next.trust.after(next.terms[0].id)
	return nil
}

// errDistrusted is the text of an entry that trust refuses.
func errDistrusted(path string, term uint32) error {
	return corrupt(path, fmt.Sprintf("term %d sealed it, which may be known to others since `rotate -compromised`; it "+
		"was written outside this program: delete it, or write it again", term))
}
