package device

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"time"

	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/secret"
)

// Driver opens the devices or services of one type.
type Driver interface {
	// Parameters lists what a configuration of the type may have.
	Parameters() Parameters
	// Connect checks the parameters and returns a connection. It touches neither device nor network.
	Connect(s Settings) (Connection, error)
	// Select reads which key the parameters name.
	Select(p Params) (Ref, error)
}

// Parameters are the names of parameters.
type Parameters struct {
	Connection []string // of the device or service
	Key        []string // of one key in it
	Secret     []string // those of both that are never shown
	Ignored    []string // accepted from clients of Vault, without a meaning here
}

// Settings are the parameters of a connection.
type Settings struct {
	Name   string
	Params Params
	Log    *slog.Logger

	// Library is the one that the configuration names, of types that load libraries.
	Library *Library
}

// Library is a kms_library stanza of the server's configuration: requests can name it, and no path.
type Library struct {
	Type   string // "pkcs11"
	Name   string
	Path   string
	Params map[string]string // as those of the seal of that type: isolation, network, allow_paths, pin
}

// Connection is a device or service with its credentials. Every call ends by the context's end or
// the connection's own deadline. Errors are classified, see [seals.ClassOf].
type Connection interface {
	// Open finds a key and describes it.
	Open(ctx context.Context, r Ref) (Key, Facts, error)
	// Timeout is the longest time that a call takes.
	Timeout() time.Duration
	Close() error
}

// Ref selects a key in a device; the driver decides what name and id are.
type Ref struct {
	Name string // label, ARN, resource, ...
	ID   string // id in hexadecimal, version, ...; "" where the name is enough
}

// Facts are the properties of a key that a device reports.
type Facts struct {
	Identity   string    // canonical: equal for the same key, however it was selected
	Spec       keys.Spec // its type
	Public     []byte    // PKIX, DER; nil for a symmetric key
	Protection string    // in words
	State      string    // "enabled", "disabled", "pending deletion", ...
	Deletion   time.Time // zero: not planned
	Uses       []Usage   // what the device allows
}

// Key is an open key. It implements some of [keys.Encrypter], [DigestSigner], [BlockDecrypter] and
// [HMACer].
type Key any

// DigestSigner is implemented by keys that sign digests, as crypto.Signer does. An ECDSA signature
// is ASN.1.
type DigestSigner interface {
	SignDigest(ctx context.Context, digest []byte, o crypto.SignerOpts) ([]byte, error)
}

// BlockDecrypter is implemented by RSA keys that decrypt: OAEP with a hash and an empty label, or
// PKCS #1 v1.5 if the hash is 0.
type BlockDecrypter interface {
	DecryptRSA(ctx context.Context, block []byte, h crypto.Hash) ([]byte, error)
}

// HMACer is implemented by HMAC keys.
type HMACer interface {
	MAC(ctx context.Context, input []byte, h crypto.Hash) ([]byte, error)
}

// Generator is implemented by connections that make keys. The name of a new key is one that no
// other key has: a key that has it is [ErrExists].
type Generator interface {
	Generate(ctx context.Context, r Ref, s keys.Spec) (Ref, error)
}

// Namer is implemented by connections that make or import keys.
type Namer interface {
	// Identity returns what [Facts.Identity] of a key that does not exist yet will be, as far as the
	// reference says it.
	Identity(r Ref) string
}

// Importer is implemented by connections that take keys from outside, as [keys.Importer] does.
type Importer interface {
	// Fresh returns the reference of a key to import: it gets an id that no other key has, unless it
	// has one. So what a crash leaves behind is told from a key that has the same name.
	Fresh(r Ref) Ref
	Import(ctx context.Context, r Ref, s keys.Spec, private *secret.Bytes) (Ref, error)
}

// Remover is implemented by connections that destroy keys.
type Remover interface {
	Remove(ctx context.Context, r Ref) error
}

// Typer is implemented by drivers whose parameters say what a new key is.
type Typer interface {
	// Spec returns the type of a key to make; ok is false where the parameters do not say it.
	Spec(p Params) (s keys.Spec, ok bool, err error)
}

// ErrExists is returned by a [Generator] or [Importer] where the name is in use.
var ErrExists = errors.New("device: a key has this name")
