package gcpckms

import (
	"context"
	"errors"
	"log/slog"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// Key is a key of Cloud KMS for other data than a seal's. It has the seal's connection,
// credentials, deadline, integrity checks and classes of failures. What a seal has encrypted does
// not decrypt here, because the additional data differ.
type Key struct{ w *Wrapper }

// OpenKey takes the seal's parameters, but for credentials, which are the JSON of a service
// account, and tls_ca_cert, which is given as ca in PEM: nothing is read from files or the
// environment where credentials are given. It makes no request.
func OpenKey(cfg seals.Config, ca []byte) (*Key, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("gcpckms", cfg.Name, err)
	}
	if s.path != "" {
		return nil, seals.ConfigError("gcpckms", cfg.Name, errors.New("credentials must be JSON"))
	}
	if s.inline != nil {
		kind, err := credType(s.inline.Expose())
		if err == nil && kind != "service_account" { // others name files, programs and addresses to read
			err = errors.New("the credentials must be those of a service account")
		}
		if err != nil {
			return nil, seals.ConfigError("gcpckms", cfg.Name, err)
		}
	}
	s.caPEM = ca
	return &Key{&Wrapper{name: cfg.Name, s: s, conn: newConn(s)}}, nil
}

// Close closes the connection.
func (k *Key) Close() error { return k.w.Close() }

// Describe reads the state of the key's primary version.
func (k *Key) Describe(ctx context.Context) (seals.KeyState, error) { return k.w.Describe(ctx) }

const deviceAAD = "sealgate-transit\x00"

// Encrypt encrypts with the primary version.
func (k *Key) Encrypt(ctx context.Context, plain, aad []byte) ([]byte, error) {
	blob, err := k.w.Encrypt(ctx, plain, wrapping.WithAad(append([]byte(deviceAAD), aad...)))
	if err != nil {
		return nil, err
	}
	return blob.Ciphertext, nil
}

// Decrypt decrypts what Encrypt returned for the same additional data.
func (k *Key) Decrypt(ctx context.Context, ciphertext, aad []byte) ([]byte, error) {
	return k.w.Decrypt(ctx, &wrapping.BlobInfo{Ciphertext: ciphertext, KeyInfo: &wrapping.KeyInfo{KeyId: k.w.s.name()}},
		wrapping.WithAad(append([]byte(deviceAAD), aad...)))
}

var _ seals.KeyOwner = (*Wrapper)(nil)

// OwnsKey compares the key's resource name, but for the project, which has an id and a number.
func (w *Wrapper) OwnsKey(_ context.Context, id string) bool {
	return afterProject(id) == afterProject(w.s.name())
}

func afterProject(name string) string {
	for i, slashes := 0, 0; i < len(name); i++ {
		if name[i] == '/' {
			if slashes++; slashes == 2 {
				return name[i:]
			}
		}
	}
	return name
}
