package recovery

import (
	"io"
	"sync"
)

// Unsealing collects shares in memory until they combine to the share set's key. The key's
// restoration and Reset destroy the collected shares. It is safe for concurrent use.
type Unsealing struct {
	shareSet *ShareSet
	rand     io.Reader

	mu     sync.Mutex
	nonce  string
	shares map[int]*Secret // by number
}

// NewUnsealing collects shares of c. The nonce's randomness comes from rnd, or from crypto/rand if
// rnd is nil.
func NewUnsealing(c *ShareSet, rnd io.Reader) *Unsealing {
	return &Unsealing{shareSet: c, rand: rnd, shares: map[int]*Secret{}}
}

// Give submits one share, of which it keeps a copy. It returns the key once it has a threshold of
// distinct shares, and nil before that. A repeated share changes nothing. A wrong share is refused
// ([ErrShareLength], [ErrShareUnknown], [ErrShareReplaced]) and leaves the others unchanged.
//
// The caller destroys the key. The collected shares are destroyed with it, so the next Give starts
// over.
func (u *Unsealing) Give(share *Secret) (*Secret, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	number, err := u.shareSet.Identify(share)
	if err != nil {
		return nil, err
	}
	if u.nonce == "" {
		if u.nonce, err = newNonce(u.rand); err != nil {
			return nil, err
		}
	}
	if u.shares[number] == nil {
		u.shares[number] = share.Clone()
	}
	if len(u.shares) < u.shareSet.Threshold {
		return nil, nil
	}
	defer u.reset()
	return u.combine()
}

// With returns the key that the collected shares and one more combine to. It keeps neither: the
// collected shares stay as they are, so that the last one can be submitted again. The caller
// destroys the key.
func (u *Unsealing) With(last *Secret) (*Secret, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := u.shareSet.Identify(last); err != nil {
		return nil, err
	}
	list := []*Secret{last}
	for _, s := range u.shares {
		if !s.Equal(last) {
			list = append(list, s)
		}
	}
	return u.combineAll(list)
}

func (u *Unsealing) combine() (*Secret, error) {
	list := make([]*Secret, 0, len(u.shares))
	for _, s := range u.shares {
		list = append(list, s)
	}
	return u.combineAll(list)
}

func (u *Unsealing) combineAll(list []*Secret) (*Secret, error) {
	key := list[0].Clone() // a single share is the key itself
	if u.shareSet.Shares > 1 {
		key.Destroy()
		var err error
		if key, err = Combine(list); err != nil {
			return nil, err
		}
	}
	if !u.shareSet.VerifyKey(key) {
		key.Destroy()
		return nil, ErrWrongKey
	}
	return key, nil
}

// Progress returns the number of distinct shares.
func (u *Unsealing) Progress() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.shares)
}

// Nonce identifies the attempt from its first share on; "" before that. It protects nothing.
func (u *Unsealing) Nonce() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.nonce
}

// Reset ends the attempt and destroys its shares.
func (u *Unsealing) Reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reset()
}

func (u *Unsealing) reset() {
	for _, s := range u.shares {
		s.Destroy()
	}
	clear(u.shares)
	u.nonce = ""
}
