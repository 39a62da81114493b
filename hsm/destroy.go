package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Destroy destroys a key and its public key object on the token. It needs both label and id, and
// ErrKeyNotFound says that nothing has them.
func (t *Token) Destroy(ctx context.Context, label string, id []byte) error {
	if label == "" || len(id) == 0 {
		return fmt.Errorf("%w: a key is destroyed by its label and its id", ErrConfig)
	}
	id = bytes.Clone(id)
	return t.alter(ctx, func(c *call) error {
		maker, ok := c.session.(ck.KeyMaker)
		if !ok {
			return fmt.Errorf("%w: the library cannot destroy keys", ErrMechanism)
		}
		all, err := matches(c.session, label, id)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return fmt.Errorf("%w: %s", ErrKeyNotFound, nameOf(label, id))
		}
		var errs []error
		for _, o := range all {
			errs = append(errs, maker.Destroy(o.handle))
		}
		return errors.Join(errs...)
	})
}
