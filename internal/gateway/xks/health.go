package xks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/version"
)

// proofs are the last proofs of health, by store. A store is made by an operator, so there are few.
type proofs struct {
	mu sync.Mutex
	by map[string]*proof
}

// proof is an encryption and decryption by the health key of a store.
type proof struct {
	mu   sync.Mutex // held while it is made: others wait for its result
	at   time.Time
	took time.Duration
	err  error
}

func (p *proofs) of(store string) *proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = map[string]*proof{}
	}
	if p.by[store] == nil {
		p.by[store] = &proof{}
	}
	return p.by[store]
}

// States of a member of the fleet.
const (
	active      = "ACTIVE"
	degraded    = "DEGRADED"
	unavailable = "UNAVAILABLE"
)

// slowProof is the time of two operations above which the device is degraded: AWS waits 250 ms.
const slowProof = 100 * time.Millisecond

// fleet returns a proof of health. A failed one is repeated after a tenth of the time.
func (o *Own) fleet(ctx context.Context, s *Store) (Fleet, error) {
	p := o.proofs.of(s.Name + "\x00" + s.HealthKey.Path(""))
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := cmp.Or(o.Proof, 30*time.Second)
	if p.err != nil {
		keep /= 10
	}
	if age := o.Now().Sub(p.at); p.at.IsZero() || age < 0 || age >= keep {
		begun := o.Now()
		p.err = o.prove(ctx, s)
		p.at = o.Now()
		p.took = p.at.Sub(begun)
	}
	state := active
	switch {
	case isName(p.err, DependencyTimeout), isName(p.err, Throttling), p.err != nil && ctx.Err() != nil:
		state = unavailable
	case p.err != nil:
		return Fleet{}, &Error{Name: InvalidState, Message: "the health key of the store cannot be used", Cause: p.err}
	case p.took > slowProof:
		state = degraded
	}
	return Fleet{Size: 1, Vendor: "Sealgate", Model: "Sealgate " + version.Release, Manager: "Sealgate",
		Details: []Member{{ID: s.HealthKey.Name, Model: s.HealthKey.Mount, Status: state}}}, nil
}

// prove encrypts and decrypts a random text, if the store's policies allow both.
func (o *Own) prove(ctx context.Context, s *Store) error {
	k := &ownKey{o, &ExternalKey{Key: s.HealthKey}, "xks:" + s.Name}
	err := o.Core.Roles.Do(ctx, func(ctx context.Context, v gateway.View) error {
		for _, operation := range []string{"encrypt", "decrypt"} {
			c := &Call{Store: s.Name, Operation: string(opHealth)}
			if _, err := v.Authorize(ctx, caller(s.Name, "", s.Policies), s.HealthKey.Path(operation), params{c}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return keyError(err, "")
	}
	newest, err := k.Newest(ctx)
	if err != nil {
		return err
	}
	var text [32]byte
	if _, err := rand.Read(text[:]); err != nil {
		return err
	}
	aad := fullAAD(nil, newest.Metadata().Marshal())
	iv, ciphertext, tag, err := newest.Seal(ctx, text[:], aad)
	if err != nil {
		return err
	}
	back, err := newest.Open(ctx, iv, ciphertext, tag, aad)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(back, text[:]):
		return fault.Wrap(errors.New("xks: the health key decrypts to another text"), fault.Internal, "the key is broken")
	}
	return nil
}
