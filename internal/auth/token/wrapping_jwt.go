package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// A wrapping token may be returned as a JWT (RFC 7519) that names it. With the public key its
// recipient can verify that this server wrapped a response, and for how long. The JWT is accepted
// in place of the token. The key is stored at
//
//	auth/wrapping-key    version u8 = 1 | ECDSA P-521 private key in PKCS #8
const wrappingKeyKey = "auth/wrapping-key"

const (
	wrappingKeyVersion = 1
	maxWrappingJWT     = 4 << 10
	coordinate         = 66 // bytes of r and of s in a P-521 signature
)

// wrappingKey caches the key, which is read or created on first use.
type wrappingKey struct {
	mu  sync.Mutex
	key atomic.Pointer[ecdsa.PrivateKey]
}

type wrappingClaims struct {
	Accessor  string `json:"accessor"`
	Expires   int64  `json:"exp"`
	Issued    int64  `json:"iat"`
	ID        string `json:"jti"` // the wrapping token
	NotBefore int64  `json:"nbf"`
	Type      string `json:"type"`
}

// jwtHeader is {"alg":"ES512","typ":"JWT"}.
const jwtHeader = "eyJhbGciOiJFUzUxMiIsInR5cCI6IkpXVCJ9"

// jwtSigner signs and verifies the JWT form of wrapping tokens.
type jwtSigner struct {
	records
	wrapKey wrappingKey
}

// SignWrapping returns a wrapping token in its JWT form.
func (s *jwtSigner) SignWrapping(ctx context.Context, made *Created) (string, error) {
	key, err := s.wrapSigner(ctx)
	if err != nil {
		return "", err
	}
	t := made.Token
	body, err := json.Marshal(wrappingClaims{
		Accessor: t.Accessor, Expires: t.Expires.Unix(), Issued: t.Created.Unix(), ID: made.Text,
		NotBefore: t.Created.Add(-5 * time.Second).Unix(),
		Type:      "wrapping",
	})
	if err != nil {
		return "", err
	}
	text := jwtHeader + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha512.Sum512([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", fmt.Errorf("token: signing a wrapping token: %w", err)
	}
	var sig [2 * coordinate]byte
	r.FillBytes(sig[:coordinate])
	v.FillBytes(sig[coordinate:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig[:]), nil
}

// WrappingPublicKey returns the public key that verifies the JWTs of wrapping tokens, in PEM.
func (s *jwtSigner) WrappingPublicKey(ctx context.Context) (string, error) {
	key, err := s.wrapSigner(ctx)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// wrappingID returns the wrapping token that a text is or that a JWT of this server names. It
// returns errWrapping for an invalid JWT.
func (s *jwtSigner) wrappingID(ctx context.Context, text string) (string, error) {
	if strings.Count(text, ".") != 2 {
		return text, nil
	}
	if len(text) > maxWrappingJWT {
		return "", errWrapping
	}
	signed, encoded := text[:strings.LastIndexByte(text, '.')], text[strings.LastIndexByte(text, '.')+1:]
	payload, ok := strings.CutPrefix(signed, jwtHeader+".")
	sig, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil || len(sig) != 2*coordinate {
		return "", errWrapping
	}
	key, err := s.wrapSigner(ctx)
	if err != nil {
		return "", err
	}
	sum := sha512.Sum512([]byte(signed))
	r, v := new(big.Int).SetBytes(sig[:coordinate]), new(big.Int).SetBytes(sig[coordinate:])
	if !ecdsa.Verify(&key.PublicKey, sum[:], r, v) {
		return "", errWrapping
	}
	body, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", errWrapping
	}
	var c wrappingClaims
	if err := json.Unmarshal(body, &c); err != nil || c.Type != "wrapping" {
		return "", errWrapping
	}
	return c.ID, nil // the token's record decides whether it is still valid
}

func (s *jwtSigner) wrapSigner(ctx context.Context) (*ecdsa.PrivateKey, error) {
	w := &s.wrapKey
	if k := w.key.Load(); k != nil {
		return k, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	record, err := s.entries.Get(ctx, wrappingKeyKey)
	if errors.Is(err, storage.ErrNotFound) {
		record, err = s.makeWrappingKey(ctx)
	}
	if err != nil {
		return nil, err
	}
	defer clear(record)
	key, err := parseWrappingKey(record)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the signing key of wrapping tokens is damaged; restore a backup")
	}
	w.key.Store(key)
	return key, nil
}

func parseWrappingKey(record []byte) (*ecdsa.PrivateKey, error) {
	if len(record) == 0 || record[0] != wrappingKeyVersion {
		return nil, fmt.Errorf("%w: the key of wrapping tokens", ErrRecord)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(record[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: the key of wrapping tokens", ErrRecord) // the cause could reveal key bytes
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P521() {
		return nil, fmt.Errorf("%w: the key of wrapping tokens", ErrRecord)
	}
	return key, nil
}

// makeWrappingKey stores a new key unless one exists.
func (s *jwtSigner) makeWrappingKey(ctx context.Context) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	record := append([]byte{wrappingKeyVersion}, der...)
	err = s.entries.Commit(ctx, storage.Batch{
		If: []storage.Condition{storage.IfAbsent(wrappingKeyKey)}, Ops: []storage.Op{storage.Put(wrappingKeyKey, record)},
	})
	if errors.Is(err, storage.ErrConflict) {
		clear(record)
		return s.entries.Get(ctx, wrappingKeyKey)
	}
	return record, err
}
