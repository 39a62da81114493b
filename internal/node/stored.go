package node

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// StoredRecord reads the sealed root key with the given Get of a store, without a node; nil where the store is not initialised.
func StoredRecord(ctx context.Context, get func(context.Context, string) ([]byte, error)) (*seals.Record, error) {
	raw, err := get(ctx, keySealed)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return seals.UnmarshalRecord(raw)
}
