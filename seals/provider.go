package seals

import (
	"context"
	"log/slog"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
)

// Secret holds bytes that are wiped by Destroy, compared in constant time and never printed or
// marshalled.
type Secret = secret.Bytes

// NewSecret returns a Secret that owns b. The caller must not use b afterwards.
func NewSecret(b []byte) *Secret { return secret.New(b) }

// Factory makes a provider's wrapper from a configuration stanza. It checks the parameters: an
// error is a mistake in the configuration. It touches neither device nor network, so that a server
// starts while its HSM is unavailable; the first Encrypt, Decrypt or KeyId does.
type Factory func(Config) (wrapping.Wrapper, error)

// Config is one seal stanza.
type Config struct {
	Name   string            // unique in the set
	Type   string            // "pkcs11", "awskms", ...
	Params map[string]string // as written in the stanza: "env://X" and "file://P" are not resolved
	Getenv func(string) string
	Log    *slog.Logger
}

// Bounded is implemented by providers that end every call themselves, by the context's end or by
// their own timeout, even where the device or library hangs. The set calls them directly; it calls
// every other provider in a goroutine that it can abandon.
type Bounded interface {
	// Timeout returns the longest time that a call takes.
	Timeout() time.Duration
}

// Versioned is implemented by providers whose key has versions.
type Versioned interface {
	// KeyVersion returns the version that Encrypt uses now.
	KeyVersion(ctx context.Context) (string, error)
}

// Stamper is implemented by providers whose blobs name the key version that made them. It takes
// precedence over [Versioned], whose answer may be newer than the blob.
type Stamper interface {
	// VersionOf returns the version that made the blob, "" where the blob does not name one.
	VersionOf(blob *wrapping.BlobInfo) string
}

// KeyRotator is implemented by providers that can make a new version of their key, which Encrypt
// uses from then on. Older versions stay readable. It needs a permission that a seal does not
// need otherwise.
type KeyRotator interface {
	RotateKey(ctx context.Context) error
}

// Closer is implemented by providers that hold sessions, connections or goroutines.
type Closer interface {
	Close() error
}

// Successor is implemented by providers that take over state from the wrapper that they replace
// when the configuration is reloaded, such as a PIN that was refused.
type Successor interface {
	Succeed(old wrapping.Wrapper)
}

// Quorum is implemented by the seal of the unseal custodians (seals/shamir): Encrypt needs only
// their public key, Decrypt the private key that their shares combine to.
type Quorum interface {
	// For returns a locked wrapper for the quorum with the given public key.
	For(publicKey []byte) (wrapping.Wrapper, error)
	// Unlock sets the combined key (32 bytes) that Decrypt uses until Lock. It copies the key.
	Unlock(key []byte) error
	// Lock drops the key.
	Lock()
}

// KeyState is the report of a device or service about a seal's key.
type KeyState struct {
	ID, Version  string            // canonical id; the version that Encrypt uses, "" without versions
	State        string            // "enabled", "disabled", "pending deletion", "destroyed", ...; "" if unknown
	DeletionDate time.Time         // when the key will be destroyed; zero if it will not
	Latest       string            // newest version, "" if unknown
	Protection   string            // "hsm", "software", "external", ...; "" if unknown
	Region       string            // where the key is
	Detail       map[string]string // further details, such as "rotation": "every 365 days"; no secrets
}

// Describer is implemented by providers that can report the state of their key. Describe costs a
// call that the credentials may lack permission for even where Encrypt and Decrypt work: the state
// then holds what is known without it, and Detail["degraded"] says why.
type Describer interface {
	Describe(ctx context.Context) (KeyState, error)
}
