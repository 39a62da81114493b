package recovery

import (
	"io"
	"sync"

	"github.com/sealgate/sealgate/internal/secret"
)

// Unsealing collects shares, in memory, until they combine to the custody's key. Shares that it holds are destroyed
// when the key is put together, and by Reset. It is safe for use by several goroutines.
type Unsealing struct {
	shareSet *ShareSet
	rand     io.Reader

	mu     sync.Mutex
	nonce  string
	shares map[int]*secret.Bytes // by number
}

// NewUnsealing collects shares of c. Randomness for the nonce comes from rnd, or from crypto/rand where it is nil.
func NewUnsealing(c *ShareSet, rnd io.Reader) *Unsealing {
	return &Unsealing{shareSet: c, rand: rnd, shares: map[int]*secret.Bytes{}}
}

// Give takes one share, of which it keeps a copy, and returns the key once a threshold of distinct shares
// is there; until then nil. A share that it already has changes nothing. A wrong one is refused
// ([ErrShareLength], [ErrShareUnknown], [ErrShareReplaced]) and leaves the others as they are.
//
// The caller destroys the key. The shares are forgotten with it, so the next Give begins anew.
func (u *Unsealing) Give(share *secret.Bytes) (*secret.Bytes, error) {
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

func (u *Unsealing) combine() (*secret.Bytes, error) {
	list := make([]*secret.Bytes, 0, len(u.shares))
	for _, s := range u.shares {
		list = append(list, s)
	}
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

// Progress is how many distinct shares are there.
func (u *Unsealing) Progress() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.shares)
}

// Nonce names the attempt, from its first share on; "" where there is none. It protects nothing.
func (u *Unsealing) Nonce() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.nonce
}

// Reset forgets the attempt and destroys its shares.
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
