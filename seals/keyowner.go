package seals

import "context"

// KeyOwner is implemented by providers that know their keys in a device or service which other
// parts of the program use, too.
type KeyOwner interface {
	// OwnsKey reports whether the key with a canonical id, as the provider's type has them, is or may
	// be one of the seal. It is true where that cannot be told now.
	OwnsKey(ctx context.Context, id string) bool
}
