package xks

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/secret"
)

// Store is one external key store of a customer: a path prefix, its credentials, and whether it
// answers.
type Store struct {
	Name        string
	Prefix      string // "" or "/" with 8 to 116 more characters; AWS appends "/kms/xks/v1"
	Region      string // of the KMS that may sign; "" allows any
	Disabled    bool   // the kill switch: every operation answers InvalidStateException
	Credentials []Credential

	Policies  []string    // that decide who may use a key: see [Own]
	FirstUse  bool        // a key without a pin serves the first KMS key that uses it, see [Own.Authorize]
	HealthKey gateway.Key // proves that the device works
}

// Credential is a SigV4 credential. Several may be valid at once, so that they can be rotated.
type Credential struct {
	AccessKeyID string        // 20 to 30 characters of A-Z and 2-7
	Secret      *secret.Bytes // the secret string, 43 to 64 characters of base64
	Created     time.Time
}

var (
	prefixForm      = regexp.MustCompile(`^(/[A-Za-z0-9_/-]{8,116})?$`)
	accessKeyIDForm = regexp.MustCompile(`^[A-Z2-7]{20,30}$`)
	secretForm      = regexp.MustCompile(`^[A-Za-z0-9/+=]{43,64}$`)
	keyIDForm       = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
)

// Check refuses a store that AWS would refuse.
func (s *Store) Check() error {
	if !prefixForm.MatchString(s.Prefix) {
		return fmt.Errorf("xks: the prefix %q is not empty and not a path of 9 to 117 letters, digits, '/', '_' or '-'",
			s.Prefix)
	}
	for _, c := range s.Credentials {
		if !accessKeyIDForm.MatchString(c.AccessKeyID) {
			return fmt.Errorf("xks: the access key id of store %q has to be 20 to 30 characters of A-Z and 2-7", s.Name)
		}
		if !secretForm.Match(c.Secret.Expose()) {
			return fmt.Errorf("xks: the secret of access key %s has to be 43 to 64 characters of base64", c.AccessKeyID)
		}
	}
	return nil
}

// NewCredential makes a credential of 160 and 256 random bits. A nil rnd means crypto/rand.
func NewCredential(rnd io.Reader) (Credential, error) {
	if rnd == nil {
		rnd = rand.Reader
	}
	var raw [20 + 32]byte
	defer clear(raw[:])
	if _, err := io.ReadFull(rnd, raw[:]); err != nil {
		return Credential{}, fmt.Errorf("xks: making a credential: %w", err)
	}
	text := base64.StdEncoding.AppendEncode(nil, raw[20:])
	return Credential{AccessKeyID: base32.StdEncoding.EncodeToString(raw[:20])[:20], Secret: secret.New(text)}, nil
}

// Stores finds the external key stores.
type Stores interface {
	// Find returns the store of a prefix, nil where there is none.
	Find(ctx context.Context, prefix string) (*Store, error)
	// Used notes that a credential verified a request.
	Used(store *Store, accessKeyID string, at time.Time)
}

// Keys finds the external keys of a store.
type Keys interface {
	// Find returns a key, or an [Error] with the name KeyNotFound.
	Find(ctx context.Context, store *Store, id string) (Key, error)
}

// Key is an external key: AES-256, with versions.
type Key interface {
	State() KeyState
	// Newest is the version that encrypts.
	Newest(ctx context.Context) (Version, error)
	// ForCiphertext is the version that a ciphertext's metadata names. Foreign metadata, of a
	// ciphertext that another proxy made, is the key's to judge.
	ForCiphertext(ctx context.Context, metadata []byte) (Version, error)
}

// KeyState is the set of operations that an operator allows with a key.
type KeyState struct {
	Disabled  bool // the kill switch of the key
	NoEncrypt bool
	NoDecrypt bool
	HashedAAD bool // ciphertexts of AWS's sample proxy are tried as well, see the package's aad.go
}

// Version does the work of one key version, in the device or in memory as the key says.
type Version interface {
	Metadata() Metadata
	// Seal encrypts by AES-256-GCM under an IV that it chooses, of 12 bytes. The ciphertext is as
	// long as the plaintext.
	Seal(ctx context.Context, plaintext, aad []byte) (iv, ciphertext, tag []byte, err error)
	// Open decrypts. What does not authenticate is an [Error] with the name InvalidCiphertext.
	Open(ctx context.Context, iv, ciphertext, tag, aad []byte) ([]byte, error)
}
