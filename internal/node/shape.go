package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/storage"
)

// shape is how many recovery shares there are and how many are asked for. It stands outside the barrier so that sys/seal-status can tell
// it while sealed. It decides nothing: the custody behind the barrier does.
//
//	version u8 = 1 | shares u8 | threshold u8
type shape struct{ shares, threshold int }

func (s shape) marshal() []byte { return []byte{1, byte(s.shares), byte(s.threshold)} }

func unmarshalShape(b []byte) (shape, error) {
	if len(b) != 3 || b[0] != 1 {
		return shape{}, fmt.Errorf("node: %s is not in a format that this program reads", keyShape)
	}
	return shape{shares: int(b[1]), threshold: int(b[2])}, nil
}

func readShape(ctx context.Context, s storage.Store) (shape, error) {
	raw, err := s.Get(ctx, keyShape)
	if errors.Is(err, storage.ErrNotFound) {
		return shape{}, nil
	}
	if err != nil {
		return shape{}, err
	}
	return unmarshalShape(raw)
}
