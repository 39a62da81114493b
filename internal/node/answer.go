package node

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// answer is the reply to the last share of a ceremony. It is written in the same commit as what the ceremony did, and kept behind
// the barrier: were the reply lost on its way, or the server killed before it could send one, nobody would hold the new shares. Whoever
// gives the same share with the same nonce again gets it again, until it is acknowledged, or until a node has served
// for [Timing].Answer since the rekey or since its start. The time counts while a node serves, so that a crash at night leaves the
// answer there in the morning.
//
//	version u8 = 1 | made i64 (Unix ns) | nonce u8-len | share number u8 | authority u24-len (the custody that the share is of)
//	| shares u8 | threshold u8 | flags u8 (1 backup, 2 verification) | verification nonce u8-len
//	| keys u8 count, each u16-len | fingerprints u8 count, each u8-len
type answer struct {
	made      time.Time
	number    int
	authority *recovery.ShareSet
	reply     RekeyResult
}

const (
	flagBackup       = 1
	flagVerification = 2
)

func answerPath(p recovery.Purpose) string { return pathAnswer + string(p) }

func (a *answer) result() *RekeyResult { return &a.reply }

func (a *answer) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	text := func(s string) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	r := &a.reply
	b.AddUint8(1)
	b.AddUint64(uint64(a.made.UnixNano()))
	text(r.Nonce)
	b.AddUint8(uint8(a.number))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.authority.Marshal()) })
	b.AddUint8(uint8(r.Shares))
	b.AddUint8(uint8(r.Threshold))
	var flags uint8
	if r.Backup {
		flags |= flagBackup
	}
	if r.VerificationRequired {
		flags |= flagVerification
	}
	b.AddUint8(flags)
	text(r.VerificationNonce)
	b.AddUint8(uint8(len(r.Keys)))
	for _, k := range r.Keys {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(k.Expose()) })
	}
	b.AddUint8(uint8(len(r.PGPFingerprints)))
	for _, f := range r.PGPFingerprints {
		text(f)
	}
	return b.Bytes()
}

var errAnswer = errors.New("node: not a record of a kept answer")

func unmarshalAnswer(record []byte) (*answer, error) {
	s := cryptobyte.String(record)
	var version, number, shares, threshold, flags uint8
	var made uint64
	var nonce, authority, verification cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !s.ReadUint64(&made) || !s.ReadUint8LengthPrefixed(&nonce) ||
		!s.ReadUint8(&number) || !s.ReadUint24LengthPrefixed(&authority) || !s.ReadUint8(&shares) || !s.ReadUint8(&threshold) ||
		!s.ReadUint8(&flags) || flags > flagBackup|flagVerification || !s.ReadUint8LengthPrefixed(&verification) {
		return nil, errAnswer
	}
	shareSet, err := recovery.UnmarshalShareSet(authority)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errAnswer, err)
	}
	a := &answer{made: time.Unix(0, int64(made)).UTC(), number: int(number), authority: shareSet, reply: RekeyResult{
		Nonce: string(nonce), Shares: int(shares), Threshold: int(threshold),
		Backup: flags&flagBackup != 0, VerificationRequired: flags&flagVerification != 0, VerificationNonce: string(verification),
	}}
	if !a.reply.readLists(&s) || !s.Empty() {
		return nil, errAnswer
	}
	return a, nil
}

func (r *RekeyResult) readLists(s *cryptobyte.String) bool {
	var keys, prints uint8
	if !s.ReadUint8(&keys) {
		return false
	}
	for range keys {
		var k cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&k) {
			return false
		}
		r.Keys = append(r.Keys, secret.Copy(k))
	}
	if !s.ReadUint8(&prints) {
		return false
	}
	for range prints {
		var f cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&f) {
			return false
		}
		r.PGPFingerprints = append(r.PGPFingerprints, string(f))
	}
	return true
}

// is reports whether it is this answer that a share and a nonce ask for.
func (a *answer) is(nonce string, share *secret.Bytes) bool {
	number, err := a.authority.Identify(share)
	return subtle.ConstantTimeCompare([]byte(a.reply.Nonce), []byte(nonce)) == 1 && err == nil && number == a.number
}

// keepAnswer adds the answer to the transaction of what it tells, as far as the configuration wants answers to be kept.
func (n *Node) keepAnswer(tx *barrier.Tx, c *recovery.Ceremony, res *RekeyResult) error {
	if n.cfg.Timing.Answer <= 0 || len(res.Keys) == 0 || len(c.Given) == 0 {
		return nil
	}
	a := &answer{made: n.cfg.Now(), number: c.Given[len(c.Given)-1].Number, authority: n.state.Load().shareSet, reply: *res}
	raw, err := a.marshal()
	if err != nil {
		return fmt.Errorf("node: keeping the answer: %w", err)
	}
	tx.Put(answerPath(c.Purpose), raw)
	return nil
}

// readAnswer returns the answer that is kept for a purpose, nil where there is none or its time is over.
func (n *Node) readAnswer(ctx context.Context, b *barrier.Barrier, p recovery.Purpose) (*answer, error) {
	if n.answersOver() {
		return nil, nil
	}
	raw, err := b.Get(ctx, answerPath(p))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeFault(err, "the answer of the last share could not be read")
	}
	defer clear(raw)
	a, err := unmarshalAnswer(raw)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", answerPath(p), err)
	}
	return a, nil
}

// answerStarts gives kept answers their whole time from now on.
func (n *Node) answerStarts() { n.answerEnds.Store(n.cfg.Now().Add(n.cfg.Timing.Answer).UnixNano()) }

// answersOver reports whether kept answers had their time.
func (n *Node) answersOver() bool {
	end := n.answerEnds.Load()
	return end != 0 && n.cfg.Now().UnixNano() >= end
}

// RekeyAcknowledge wipes the kept answer of a target's rekey, because its holder has the new shares. It takes the share and the nonce
// that the answer was given for: nobody else can throw away what somebody has not seen yet.
func (n *Node) RekeyAcknowledge(ctx context.Context, t recovery.Target, nonce string, share *secret.Bytes) error {
	return n.acknowledge(ctx, purposeOf(t), nonce, share)
}

func (n *Node) acknowledge(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) error {
	a, err := n.Role()
	if err != nil {
		return err
	}
	kept, err := n.readAnswer(ctx, a.barrier, p)
	if err != nil {
		return err
	}
	if kept == nil || !kept.is(nonce, share) {
		return fault.New(fault.Invalid, "no answer is kept for this share and nonce")
	}
	tell(ctx, kept.authority, kept.number)
	n.transition.Lock()
	defer n.transition.Unlock()
	return storeFault(n.dropAnswers(ctx, a.barrier, p), "the answer could not be wiped")
}

// wipeAnswers removes kept answers once they had their time, and with them the former people's way to unseal.
func (n *Node) wipeAnswers(ctx context.Context) {
	n.transition.Lock()
	defer n.transition.Unlock()
	a := n.writer()
	if a == nil || !n.answersOver() {
		return
	}
	if err := n.dropAnswers(ctx, a.barrier, slots...); err != nil {
		n.log.Warn("new shares, kept in case the reply was lost, could not be wiped; it is tried again", "error", err)
	}
}

// slots are the purposes that a ceremony can be under way for, one each.
var slots = []recovery.Purpose{recovery.PurposeRekeyBarrier, recovery.PurposeRekeyRecovery, recovery.PurposeGenerateRoot}

// dropAnswers removes kept answers and, with the barrier's, the former people from the sealed record, in one commit. The caller holds
// transition.
func (n *Node) dropAnswers(ctx context.Context, b *barrier.Barrier, purposes ...recovery.Purpose) error {
	tx, some, previous := b.Begin(), false, false
	for _, p := range purposes {
		previous = previous || p == recovery.PurposeRekeyBarrier
		_, err := b.Get(ctx, answerPath(p))
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		tx.Delete(answerPath(p))
		some = true
	}
	record := *n.state.Load().record
	if previous = previous && record.Previous != nil; previous {
		record.Previous = nil
		raw, err := record.Marshal()
		if err != nil {
			return err
		}
		tx.PutRaw(keySealed, raw)
	}
	if !some && !previous {
		return nil
	}
	failpoint.Point("answer.wipe")
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	if previous {
		n.change(func(f *nodeState) { f.record, f.previous = &record, nil })
	}
	return nil
}
