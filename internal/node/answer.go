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
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// answer is the reply to the last share of a rekey. It is written in the same commit as the rekey itself, and kept behind the
// barrier: were the reply lost on its way, or the server killed before it could send one, nobody would hold the new shares. Whoever
// gives the same share with the same nonce again gets it again, until a node has served for [Timing].Answer since the rekey or since
// its start. The time counts while a node serves, so that a crash at night leaves the answer there in the morning.
//
//	version u8 = 1 | made i64 (Unix ns) | nonce u8-len | share number u8 | authority u24-len (the custody that the share is of)
//	| keys u8 count, each u8-len
type answer struct {
	made      time.Time
	nonce     string
	number    int
	authority *recovery.Custody
	keys      []*secret.Bytes
}

func answerPath(t recovery.Target) string { return pathAnswer + t.String() }

func (a *answer) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint64(uint64(a.made.UnixNano()))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.nonce)) })
	b.AddUint8(uint8(a.number))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.authority.Marshal()) })
	b.AddUint8(uint8(len(a.keys)))
	for _, k := range a.keys {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(k.Expose()) })
	}
	return b.Bytes()
}

var errAnswer = errors.New("node: not a record of a rekey's answer")

func unmarshalAnswer(record []byte) (*answer, error) {
	s := cryptobyte.String(record)
	var version, number, count uint8
	var made uint64
	var nonce, authority cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !s.ReadUint64(&made) || !s.ReadUint8LengthPrefixed(&nonce) ||
		!s.ReadUint8(&number) || !s.ReadUint24LengthPrefixed(&authority) || !s.ReadUint8(&count) {
		return nil, errAnswer
	}
	custody, err := recovery.UnmarshalCustody(authority)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errAnswer, err)
	}
	a := &answer{made: time.Unix(0, int64(made)).UTC(), nonce: string(nonce), number: int(number), authority: custody}
	for range count {
		var k cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&k) {
			return nil, errAnswer
		}
		a.keys = append(a.keys, secret.Copy(k))
	}
	if !s.Empty() {
		return nil, errAnswer
	}
	return a, nil
}

// is reports whether it is this answer that a share and a nonce ask for.
func (a *answer) is(nonce string, share *secret.Bytes) bool {
	number, err := a.authority.Identify(share)
	return subtle.ConstantTimeCompare([]byte(a.nonce), []byte(nonce)) == 1 && err == nil && number == a.number
}

// keepAnswer adds the answer to the transaction of the rekey, as far as the configuration wants answers to be kept.
func (n *Node) keepAnswer(tx *barrier.Tx, t recovery.Target, c *recovery.Ceremony, keys []*secret.Bytes) error {
	if n.cfg.Timing.Answer <= 0 || len(keys) == 0 {
		return nil
	}
	a := &answer{
		made: n.cfg.Now(), nonce: c.Nonce, keys: keys,
		number: c.Given[len(c.Given)-1].Number, authority: n.facts.Load().custody,
	}
	raw, err := a.marshal()
	if err != nil {
		return fmt.Errorf("node: keeping the answer: %w", err)
	}
	tx.Put(answerPath(t), raw)
	return nil
}

// readAnswer returns the answer that is kept for a target, nil where there is none or its time is over.
func (n *Node) readAnswer(ctx context.Context, b *barrier.Barrier, t recovery.Target) (*answer, error) {
	if n.answersOver() {
		return nil, nil
	}
	raw, err := b.Get(ctx, answerPath(t))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeFault(err, "the answer of the last rekey could not be read")
	}
	defer clear(raw)
	a, err := unmarshalAnswer(raw)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", answerPath(t), err)
	}
	return a, nil
}

// answersOver reports whether kept answers had their time. The caller holds transition.
func (n *Node) answersOver() bool { return !n.answerEnds.IsZero() && !n.cfg.Now().Before(n.answerEnds) }

// wipeAnswers removes kept answers once they had their time, and with them the former people's way to unseal.
func (n *Node) wipeAnswers(ctx context.Context) {
	n.transition.Lock()
	defer n.transition.Unlock()
	a := n.active.Load()
	if a == nil || !n.answersOver() {
		return
	}
	if err := n.dropAnswers(ctx, a.barrier); err != nil {
		n.log.Warn("the new shares of a rekey, kept in case its reply was lost, could not be wiped; it is tried again", "error", err)
	}
}

// dropAnswers removes every kept answer and the former people from the sealed record, in one commit. The caller holds transition.
func (n *Node) dropAnswers(ctx context.Context, b *barrier.Barrier) error {
	tx, some := b.Begin(), false
	for t := range purposes {
		_, err := b.Get(ctx, answerPath(t))
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		tx.Delete(answerPath(t))
		some = true
	}
	record := *n.facts.Load().record
	if record.Former != nil {
		record.Former = nil
		raw, err := record.Marshal()
		if err != nil {
			return err
		}
		tx.PutRaw(keySealed, raw)
		some = true
	}
	if !some {
		return nil
	}
	failpoint.Point("answer.wipe")
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	n.change(func(f *facts) { f.record, f.former = &record, nil })
	return nil
}
