package node

import (
	"io"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// unsealProgress is the shares given to sys/unseal. After a rekey whose reply may be lost, shares
// of the previous set count too, separately: a quorum is of one set.
type unsealProgress struct {
	quorums []quorum // the share set, and the previous one where there is one
}

type quorum struct {
	shareSet *recovery.ShareSet
	shares   *recovery.Unsealing
}

func newUnsealProgress(custodians, previous *recovery.ShareSet, rnd io.Reader) *unsealProgress {
	g := &unsealProgress{}
	for _, c := range []*recovery.ShareSet{custodians, previous} {
		if c != nil {
			g.quorums = append(g.quorums, quorum{c, recovery.NewUnsealing(c, rnd)})
		}
	}
	return g
}

// give takes one share. Once a quorum is complete it returns the key and its share set. The error
// is that of the current share set.
func (g *unsealProgress) give(share *secret.Bytes) (*recovery.ShareSet, *secret.Bytes, error) {
	var first error
	for _, q := range g.quorums {
		key, err := q.shares.Give(share)
		if err == nil {
			return q.shareSet, key, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, nil, first
}

// progress is that of the quorum with the most shares.
func (g *unsealProgress) progress() (n int, nonce string) {
	for _, q := range g.quorums {
		if p := q.shares.Progress(); p > n {
			n, nonce = p, q.shares.Nonce()
		}
	}
	return n, nonce
}

func (g *unsealProgress) reset() {
	for _, q := range g.quorums {
		q.shares.Reset()
	}
}
