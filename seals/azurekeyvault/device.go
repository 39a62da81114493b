package azurekeyvault

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sealgate/sealgate/seals"
)

// signer is the part of *azkeys.Client that [Key] calls beside [client].
type signer interface {
	Sign(ctx context.Context, name, version string, p azkeys.SignParameters,
		o *azkeys.SignOptions) (azkeys.SignResponse, error)
}

var _ signer = (*azkeys.Client)(nil)

// Key is one version of an RSA key whose operations are used one by one. It has the seal's
// connection, credentials, deadline and classes of failures.
type Key struct {
	w       *Wrapper
	version string
}

// OpenKey takes the seal's parameters, but for tls_ca_cert, which is given as ca in PEM. It makes
// no request.
func OpenKey(cfg seals.Config, version string, ca []byte) (*Key, error) {
	made, err := New(cfg)
	if err != nil {
		return nil, err
	}
	w := made.(*Wrapper) //nolint:forcetypeassert // New's only type
	if len(ca) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, seals.ConfigError("azurekeyvault", cfg.Name, errors.New("tls_ca_cert has no certificate in PEM"))
		}
		w.transport.TLSClientConfig.RootCAs = pool
	}
	return &Key{w, version}, nil
}

// Close wipes the secrets and closes idle connections.
func (k *Key) Close() error { return k.w.Close() }

// Info is the vault's report about a version.
type Info struct {
	ID         string // canonical, with the version
	Version    string
	Public     *rsa.PublicKey
	Protection string
	State      string
	Deletion   time.Time
	Unwraps    bool
	Signs      bool
}

// Describe reads a version, the newest one for "".
func (k *Key) Describe(ctx context.Context) (info Info, err error) {
	r, err := call(ctx, k.w, "get", func(ctx context.Context) (azkeys.GetKeyResponse, error) {
		return k.w.client.GetKey(ctx, k.w.settings.key, k.version, nil)
	})
	var gone *deletedError
	switch {
	case errors.As(err, &gone):
		return Info{}, seals.Fail(seals.PendingDeletion, err, "recover the key")
	case err != nil:
		return Info{}, err
	case r.Key == nil || r.Key.KID == nil || r.Key.Kty == nil || !k.w.namesKey(r.Key.KID):
		return Info{}, k.w.unexpected()
	case *r.Key.Kty != azkeys.KeyTypeRSA && *r.Key.Kty != azkeys.KeyTypeRSAHSM:
		return Info{}, seals.Fail(seals.Misconfigured, errors.New("the key is not an RSA key"), "use an RSA key")
	}
	info = Info{Version: r.Key.KID.Version(), Protection: "software", State: "enabled"}
	info.ID = k.w.id + "/" + info.Version
	if *r.Key.Kty == azkeys.KeyTypeRSAHSM {
		info.Protection = "hsm"
	}
	e := new(big.Int).SetBytes(r.Key.E)
	if !e.IsInt64() || e.Int64() > 1<<31-1 || len(r.Key.N) == 0 {
		return Info{}, k.w.unexpected()
	}
	info.Public = &rsa.PublicKey{N: new(big.Int).SetBytes(r.Key.N), E: int(e.Int64())}
	if r.Attributes != nil && r.Attributes.Enabled != nil && !*r.Attributes.Enabled {
		info.State = "disabled"
	}
	for _, op := range r.Key.KeyOps {
		info.Unwraps = info.Unwraps || op != nil && *op == azkeys.KeyOperationUnwrapKey
		info.Signs = info.Signs || op != nil && *op == azkeys.KeyOperationSign
	}
	return info, nil
}

// DecryptRSA decrypts a block of OAEP with SHA-256.
func (k *Key) DecryptRSA(ctx context.Context, block []byte) ([]byte, error) {
	r, err := call(ctx, k.w, "unwrapKey", func(ctx context.Context) (azkeys.UnwrapKeyResponse, error) {
		return k.w.client.UnwrapKey(ctx, k.w.settings.key, k.version, parameters(block), nil)
	})
	return r.Result, err
}

// Sign signs a digest by an algorithm of JWA: RS256, PS256, ...
func (k *Key) Sign(ctx context.Context, digest []byte, algorithm string) ([]byte, error) {
	r, err := call(ctx, k.w, "sign", func(ctx context.Context) (azkeys.SignResponse, error) {
		s, ok := k.w.client.(signer)
		if !ok {
			return azkeys.SignResponse{}, errors.New("the client cannot sign")
		}
		return s.Sign(ctx, k.w.settings.key, k.version, azkeys.SignParameters{
			Algorithm: to.Ptr(azkeys.SignatureAlgorithm(algorithm)), Value: digest}, nil)
	})
	return r.Result, err
}

var _ seals.KeyOwner = (*Wrapper)(nil)

// OwnsKey compares the key's name in its vault, whatever the version and the vault's address: one
// vault has many.
func (w *Wrapper) OwnsKey(_ context.Context, id string) bool {
	_, name, ok := strings.Cut(id, "/keys/")
	name, _, _ = strings.Cut(name, "/")
	return !ok || strings.EqualFold(name, w.settings.key)
}
