package cosigner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// errChanged is the alarm: the setting or the chain is not the attested one.
var errChanged = errors.New("changed outside this program")

func changedOutside(what string, args ...any) error {
	err := fmt.Errorf("cosigner: "+what+" %w", append(args, errChanged)...)
	return fault.Wrap(err, fault.Internal, "%v; find out who can write to the storage", err)
}

// view is the chain up to a head. It is immutable.
type view struct {
	head transcript.Head
	doc  *document
	todo []unsigned // by record
}

// unsigned is a record that a key has not signed yet.
type unsigned struct {
	head transcript.Head
	key  *signer
}

func (u unsigned) same(o unsigned) bool { return u.head == o.head && u.key.From == o.key.From }

// refresh reads what was added to the chain since the last call. The caller holds mu.
func (s *Signer) refresh(ctx context.Context) error {
	head, err := ceremony.Head(ctx, s.Ceremonies)
	if err != nil {
		return err
	}
	if s.seen != nil && s.seen.head == head {
		return nil
	}
	if s.seen != nil {
		next, err := s.extend(ctx, s.seen, head)
		if err != nil || next != nil {
			s.take(next, err)
			return err
		}
	}
	next, err := s.read(ctx, head)
	s.take(next, err)
	return err
}

// take replaces what is known; after an error nothing is.
func (s *Signer) take(next *view, err error) {
	s.seen = next
	if err != nil {
		s.seen = nil
		return
	}
	s.count.Store(int64(len(next.todo)))
}

// walk visits the records of the chain backwards from a head, until visit returns false. Each
// record is the one that the head, or the record after it, has the hash of.
func (s *Signer) walk(ctx context.Context, head transcript.Head, visit func(*transcript.Signed) bool) error {
	for head.Seq > 0 {
		r, err := ceremony.Record(ctx, s.Barrier, head.Seq)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if err != nil || r.Head() != head {
			return changedOutside("record %d of the transcript was", head.Seq)
		}
		if !visit(r) {
			return nil
		}
		head = transcript.Head{Seq: r.Seq - 1, Hash: r.Previous}
	}
	return nil
}

// extend adds the records after those that are known; nil: one of them changes the key.
func (s *Signer) extend(ctx context.Context, known *view, head transcript.Head) (*view, error) {
	next := &view{head: head, doc: known.doc}
	changes, linked := false, known.head.Seq == 0
	err := s.walk(ctx, head, func(r *transcript.Signed) bool {
		if r.Seq <= known.head.Seq {
			linked = r.Head() == known.head
			return false
		}
		if _, ok := r.Record.DeviceKey(r.Seq); ok {
			changes = true
			return false
		}
		if k := known.doc.current(); k != nil {
			next.todo = append(next.todo, unsigned{r.Head(), k})
		}
		return true
	})
	switch {
	case err != nil || changes:
		return nil, err
	case !linked:
		return nil, changedOutside("the transcript before record %d was", head.Seq)
	}
	slices.Reverse(next.todo)
	next.todo = slices.Concat(known.todo, next.todo)
	return next, nil
}

// read reads the setting, compares it with the chain, and finds what is not signed.
func (s *Signer) read(ctx context.Context, head transcript.Head) (*view, error) {
	doc, err := readDocument(ctx, s.Barrier)
	if err != nil {
		return nil, err
	}
	var change *transcript.DeviceKey
	hashes := map[uint64]transcript.Hash{}
	err = s.walk(ctx, head, func(r *transcript.Signed) bool {
		if c, ok := r.Record.DeviceKey(r.Seq); ok && change == nil {
			change = &c
		}
		hashes[r.Seq] = r.Hash()
		return change == nil || len(doc.Keys) > 0 && r.Seq > doc.Keys[0].From
	})
	if err == nil {
		err = doc.matches(change, hashes)
	}
	if err == nil {
		err = s.reserve(ctx, doc)
	}
	if err != nil {
		return nil, err
	}
	next := &view{head: head, doc: doc}
	for _, k := range doc.Keys {
		if next.todo, err = s.unsignedBy(ctx, next.todo, k, head.Seq, hashes); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(next.todo, func(a, b unsigned) int { return int(a.head.Seq) - int(b.head.Seq) })
	return next, nil
}

// matches refuses a setting that is not the one of the last change in the chain.
func (d *document) matches(change *transcript.DeviceKey, hashes map[uint64]transcript.Hash) error {
	k := d.current()
	none := change == nil || change.Fingerprint == ""
	if none && k == nil {
		return nil
	}
	if none || k == nil || k.From != change.Record || k.fingerprint != change.Fingerprint || k.Hash != hashes[k.From] {
		return changedOutside("the setting of the key that signs the transcript was")
	}
	return nil
}

// reserve makes the reservations again that are missing in the storage.
func (s *Signer) reserve(ctx context.Context, doc *document) error {
	if s.Devices == nil || len(doc.Keys) == 0 {
		return nil
	}
	have, err := s.Devices.Reserved(ctx)
	if err != nil {
		return err
	}
	tx, missing := s.Barrier.Begin(), false
	for _, k := range doc.Keys {
		want, err := k.reserved()
		if err != nil {
			return err
		}
		same := func(r device.Reserved) bool { return r.Type == want.Type && r.Identity == want.Identity }
		if slices.ContainsFunc(have, same) {
			continue
		}
		op, err := want.Op()
		if err != nil {
			return err
		}
		tx.Put(op.Key, op.Value)
		missing = true
		s.Log.Error("ALARM: the reservation of the key that signs the transcript was removed outside this program; it is "+
			"made again", "key", k.Key)
	}
	if !missing || !s.writes {
		return nil
	}
	defer s.Devices.Invalidate(device.Prefix)
	return tx.Commit(ctx)
}

// unsignedBy adds the records that a key has not signed. A former key whose configuration was
// removed signs no more.
func (s *Signer) unsignedBy(ctx context.Context, to []unsigned, k *signer, last uint64,
	hashes map[uint64]transcript.Hash) ([]unsigned, error) {
	if k.Until != 0 {
		if last = k.Until; s.Devices == nil {
			return to, nil
		}
		if _, ok, err := s.Devices.Entry(ctx, device.Managed, k.Key); err != nil || !ok {
			return to, err
		}
	}
	for seq := k.From; seq <= last; seq++ {
		signed, err := ceremony.DeviceSigned(ctx, s.Barrier, seq, k.fingerprint)
		if err != nil {
			return to, err
		}
		hash, ok := hashes[seq]
		if !signed && ok {
			to = append(to, unsigned{transcript.Head{Seq: seq, Hash: hash}, k})
		}
	}
	return to, nil
}
