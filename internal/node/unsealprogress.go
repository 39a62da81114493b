package node

import (
	"io"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// gathering is the shares given to sys/unseal. After a rekey whose reply may be lost, the shares of the people before count
// too, on their own: a quorum is of one generation.
type unsealProgress struct {
	quorums []quorum // the people, and the former ones where there are any
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

// give takes one share and returns the key, and whose it is, once a quorum is there. The error is that of the current people.
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

// progress is that of the quorum that has come furthest.
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
