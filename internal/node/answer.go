package node

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// answer is the reply to the last share of a rekey. It is written in the same commit as the rekey itself, and kept behind the barrier
// until its time is over: were the reply lost on its way, or the server killed before it could send one, nobody would hold the new shares. Whoever
// gives the same share with the same nonce again gets it again.
//
//	version u8 = 1 | expires i64 (Unix ns) | nonce u8-len | share number u8 | authority u24-len (the custody that the share is of)
//	| keys u8 count, each u8-len
type answer struct {
	expires   time.Time
	nonce     string
	number    int
	authority *recovery.Custody
	keys      []*secret.Bytes
}

func answerPath(t recovery.Target) string { return pathAnswer + t.String() }

func (a *answer) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint64(uint64(a.expires.UnixNano()))
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
	var expires uint64
	var nonce, authority cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !s.ReadUint64(&expires) || !s.ReadUint8LengthPrefixed(&nonce) ||
		!s.ReadUint8(&number) || !s.ReadUint24LengthPrefixed(&authority) || !s.ReadUint8(&count) {
		return nil, errAnswer
	}
	custody, err := recovery.UnmarshalCustody(authority)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errAnswer, err)
	}
	a := &answer{expires: time.Unix(0, int64(expires)).UTC(), nonce: string(nonce), number: int(number), authority: custody}
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
		expires: n.cfg.Now().Add(n.cfg.Timing.Answer), nonce: c.Nonce, keys: keys,
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
	if !n.cfg.Now().Before(a.expires) {
		return nil, nil
	}
	return a, nil
}

// wipeAnswers removes the answers whose time is over.
func (n *Node) wipeAnswers(ctx context.Context) {
	n.transition.Lock()
	defer n.transition.Unlock()
	a := n.active.Load()
	if a == nil {
		return
	}
	for t := range purposes {
		raw, err := a.barrier.Get(ctx, answerPath(t))
		if err != nil {
			continue // there is none, or the next look sees it
		}
		kept, err := unmarshalAnswer(raw)
		clear(raw)
		if err == nil && n.cfg.Now().Before(kept.expires) {
			continue
		}
		if err := a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(answerPath(t))}}); err != nil {
			n.log.Warn("the new shares of a rekey, kept in case its reply was lost, could not be wiped; it is tried again", "error", err)
		}
	}
}
