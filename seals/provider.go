package seals

import (
	"context"
	"log/slog"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// Factory makes a provider's wrapper from a configuration stanza. It checks the
// parameters (an error is a mistake in the configuration) and touches neither device nor network: those are met by the
// first Encrypt, Decrypt or KeyId, so that a server starts while its HSM is away.
type Factory func(Config) (wrapping.Wrapper, error)

// Config is one seal stanza.
type Config struct {
	Name   string            // the seal's name, unique in the set
	Type   string            // "pkcs11", "awskms", ...
	Params map[string]string // by the provider's names; values are as written: "env://X" and "file://P" are not resolved yet
	Getenv func(string) string
	Log    *slog.Logger
}

// Versioned is implemented by providers whose key has versions: the one that Encrypt uses now.
type Versioned interface {
	KeyVersion(ctx context.Context) (string, error)
}

// Stamper is implemented by providers whose blobs tell the version that made them, "" where one does not. That is surer than to ask for the version
// behind the encryption: the key may have been rotated in between.
type Stamper interface {
	VersionOf(blob *wrapping.BlobInfo) string
}

// Binder is implemented by providers that cannot bind additional data to a ciphertext, and say so at start.
// A provider that does not implement it promises that it does.
type Binder interface {
	BindsAAD() bool
}

// Closer is implemented by providers that hold sessions, connections or goroutines.
type Closer interface {
	Close() error
}

// Successor is implemented by providers that must know what became of the one that they replace when a configuration is read again, such
// as a PIN that was refused.
type Successor interface {
	Succeed(old wrapping.Wrapper)
}

// Quorum is implemented by the provider behind which people stand (seals/shamir): Decrypt needs their key first.
type Quorum interface {
	// For returns the provider for the people with a public key, locked: Encrypt needs nobody.
	For(publicKey []byte) (wrapping.Wrapper, error)
	// Unlock gives the combined key (32 bytes) that Decrypt uses until Lock; it is copied.
	Unlock(key []byte) error
	// Lock forgets it.
	Lock()
}

// KeyState is what a device or service tells of a seal's key beyond whether it works.
type KeyState struct {
	ID, Version  string            // canonical id of the key; the version that Encrypt uses, "" where there are none
	State        string            // "enabled", "disabled", "pending deletion", "destroyed", or the provider's own word; "" where it may not be asked
	DeletionDate time.Time         // when the key will be destroyed; zero where it will not
	Latest       string            // the newest version of the key, "" where that is not known
	Protection   string            // "hsm", "software", "external", ...; "" where it is not told
	Region       string            // where the key is
	Detail       map[string]string // whatever else helps an operator, such as "rotation": "every 365 days"; no secrets
}

// Describer is implemented by providers that can tell the state of their key. It costs a call of its own, to which the
// credentials may have no right although Encrypt and Decrypt work: then the state has what is known without it, and Detail's "degraded" says why.
type Describer interface {
	Describe(ctx context.Context) (KeyState, error)
}
