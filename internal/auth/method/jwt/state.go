package jwt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// state is a login by browser in progress. It travels with the browser, as base64url of
//
//	nonce 12 | AES-256-GCM( JSON ) | tag 16
//
// under a key of the mount, so that any node can finish the login, and unfinished logins use no
// memory.
type state struct {
	Role        string `json:"r"`
	Redirect    string `json:"u"`
	Nonce       string `json:"n"` // the nonce that the ID token must have
	Verifier    string `json:"v"` // the PKCE verifier
	ClientNonce string `json:"c,omitempty"`
	Expires     int64  `json:"e"` // Unix seconds
}

// stateKey is the record of the key: see [method.Marshal].
type stateKey struct {
	Key []byte `json:"key"`
}

const (
	stateKeyName = "state-key"
	maxState     = 8 << 10
	maxUsed      = 4096
)

var stateAAD = []byte("sealgate/auth/oidc/state/v1")

// sealer returns the cipher. Without create it returns nil if there is no key.
func (d *backend) sealer(ctx context.Context, create bool) (cipher.AEAD, error) {
	k, err := method.Load[stateKey](ctx, d.store, stateKeyName)
	switch {
	case err != nil:
		return nil, err
	case k == nil && !create:
		return nil, errState
	case k == nil:
		if k, err = d.makeStateKey(ctx); err != nil {
			return nil, err
		}
	}
	defer clear(k.Key)
	block, err := aes.NewCipher(k.Key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the key for logins by browser is damaged; enable the method again at "+
			"another path")
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (d *backend) makeStateKey(ctx context.Context) (*stateKey, error) {
	k := &stateKey{Key: make([]byte, 32)}
	if _, err := rand.Read(k.Key); err != nil {
		return nil, err
	}
	op, err := method.Put(stateKeyName, k)
	if err != nil {
		return nil, err
	}
	err = d.store.Commit(ctx, storage.Batch{If: []storage.Condition{storage.IfAbsent(stateKeyName)},
		Ops: []storage.Op{op}})
	if errors.Is(err, storage.ErrConflict) {
		return method.Load[stateKey](ctx, d.store, stateKeyName)
	}
	return k, err
}

func (d *backend) seal(ctx context.Context, s *state) (string, error) {
	aead, err := d.sealer(ctx, true)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, body, stateAAD)), nil
}

// unseal opens a state once on this node; the provider accepts its code once overall.
func (d *backend) unseal(ctx context.Context, text string) (*state, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > maxState || text == "" {
		return nil, errState
	}
	aead, err := d.sealer(ctx, false)
	if err != nil {
		return nil, err
	}
	body, err := aead.Open(nil, nil, raw, stateAAD)
	if err != nil {
		return nil, errState
	}
	s := &state{}
	if err := json.Unmarshal(body, s); err != nil || !d.now().Before(time.Unix(s.Expires, 0)) ||
		!d.firstUse(raw, s.Expires) {
		return nil, errState
	}
	return s, nil
}

// firstUse remembers used states until they expire. A full table evicts the one that expires first.
func (d *backend) firstUse(raw []byte, expires int64) bool {
	sum := sha256.Sum256(raw)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used == nil {
		d.used = map[[sha256.Size]byte]int64{}
	}
	if _, again := d.used[sum]; again {
		return false
	}
	if len(d.used) >= maxUsed {
		now, oldest := d.now().Unix(), sum
		least := expires
		for other, at := range d.used {
			if at <= now {
				delete(d.used, other)
			} else if at <= least {
				oldest, least = other, at
			}
		}
		if len(d.used) >= maxUsed {
			delete(d.used, oldest)
		}
	}
	d.used[sum] = expires
	return true
}
