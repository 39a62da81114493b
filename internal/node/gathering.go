package node

import (
	"io"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// gathering is the shares given to sys/unseal. After a rekey whose reply may be lost, the shares of the people before count
// too, on their own: a quorum is of one generation.
type gathering struct {
	quorums []quorum // the people, and the former ones where there are any
}

type quorum struct {
	custody *recovery.Custody
	shares  *recovery.Unsealing
}

func newGathering(people, former *recovery.Custody, rnd io.Reader) *gathering {
	g := &gathering{}
	for _, c := range []*recovery.Custody{people, former} {
		if c != nil {
			g.quorums = append(g.quorums, quorum{c, recovery.NewUnsealing(c, rnd)})
		}
	}
	return g
}

// give takes one share and returns the key, and whose it is, once a quorum is there. The error is that of the current people.
func (g *gathering) give(share *secret.Bytes) (*recovery.Custody, *secret.Bytes, error) {
	var first error
	for _, q := range g.quorums {
		key, err := q.shares.Give(share)
		if err == nil {
			return q.custody, key, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, nil, first
}

// progress is that of the quorum that has come furthest.
func (g *gathering) progress() (n int, nonce string) {
	for _, q := range g.quorums {
		if p := q.shares.Progress(); p > n {
			n, nonce = p, q.shares.Nonce()
		}
	}
	return n, nonce
}

func (g *gathering) reset() {
	for _, q := range g.quorums {
		q.shares.Reset()
	}
}
