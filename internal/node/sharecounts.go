package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/storage"
)

// shareCounts is how many recovery shares there are and how many are needed. It is outside the
// barrier so that sys/seal-status can report it while sealed. It decides nothing: the share set
// behind the barrier does.
//
//	version u8 = 1 | shares u8 | threshold u8
type shareCounts struct{ shares, threshold int }

func (s shareCounts) marshal() []byte { return []byte{1, byte(s.shares), byte(s.threshold)} }

func unmarshalShareCounts(b []byte) (shareCounts, error) {
	if len(b) != 3 || b[0] != 1 {
		return shareCounts{}, fmt.Errorf("node: %s is not in a format that this program reads", keyShareCounts)
	}
	return shareCounts{shares: int(b[1]), threshold: int(b[2])}, nil
}

func readShareCounts(ctx context.Context, s storage.Store) (shareCounts, error) {
	raw, err := s.Get(ctx, keyShareCounts)
	if errors.Is(err, storage.ErrNotFound) {
		return shareCounts{}, nil
	}
	if err != nil {
		return shareCounts{}, err
	}
	return unmarshalShareCounts(raw)
}
