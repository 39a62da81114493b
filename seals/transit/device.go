package transit

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/seals"
)

// Key is one version of a key of a transit engine, whose operations are used one by one. It has the
// seal's connection, token renewal, deadline and classes of failures.
type Key struct {
	w       *Wrapper
	version int
}

// OpenKey takes the seal's parameters, but for tls_ca_cert, which is the certificate in PEM:
// nothing is read from files or the environment. It makes no request.
func OpenKey(cfg seals.Config, version int) (*Key, error) {
	cfg.Getenv, cfg.Params = nil, maps.Clone(cfg.Params)
	ca := cfg.Params["tls_ca_cert"]
	delete(cfg.Params, "tls_ca_cert")
	if cfg.Params["address"] == "" || cfg.Params["token"] == "" {
		return nil, seals.ConfigError("transit", cfg.Name, errors.New("address and token are required"))
	}
	made, err := New(cfg)
	if err != nil {
		return nil, err
	}
	w := made.(*Wrapper) //nolint:forcetypeassert // New's only type
	if ca != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(ca)) {
			return nil, seals.ConfigError("transit", cfg.Name, errors.New("tls_ca_cert has no certificate in PEM"))
		}
		w.transport.TLSClientConfig.RootCAs = pool
	}
	return &Key{w, version}, nil
}

// Close ends the renewal of the token.
func (k *Key) Close() error { return k.w.Close() }

// Info is the server's report about the version.
type Info struct {
	ID       string // canonical: the seal's id of the key, and the version
	Type     string // the engine's name of the type
	Public   []byte // PKIX, DER; nil for a symmetric key
	Disabled bool   // soft-deleted, or below min_decryption_version
	Encrypts bool
	Decrypts bool
	Signs    bool
	KeySize  int
}

// Describe reads the key.
func (k *Key) Describe(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, k.w.settings.timeout)
	defer cancel()
	s, err := k.w.attempt(ctx, func(ctx context.Context) (*api.Secret, error) {
		return k.w.client.Logical().ReadWithContext(ctx, k.w.settings.mount+"/keys/"+k.w.settings.key)
	})
	switch {
	case err != nil:
		return Info{}, k.w.failure(err)
	case s == nil:
		return Info{}, k.w.failure(errNoKey)
	}
	raw, err := json.Marshal(s.Data)
	if err != nil {
		return Info{}, k.w.failure(errAnswer)
	}
	var in struct {
		keyInfo
		Encrypts bool                       `json:"supports_encryption"`
		Decrypts bool                       `json:"supports_decryption"`
		Signs    bool                       `json:"supports_signing"`
		KeySize  int                        `json:"key_size"`
		Keys     map[string]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &in); err != nil || in.Latest < 1 {
		return Info{}, k.w.failure(errAnswer)
	}
	info := Info{ID: k.w.id + "#v" + strconv.Itoa(k.version), Type: in.Kind, Encrypts: in.Encrypts, Decrypts: in.Decrypts,
		Signs: in.Signs, KeySize: in.KeySize, Disabled: in.SoftDeleted || k.version < in.MinDecryption}
	if k.version > in.Latest || k.version < in.MinAvailable {
		return info, seals.Fail(seals.KeyGone, fmt.Errorf("the key %s has the versions %d to %d", k.w.id,
			max(1, in.MinAvailable), in.Latest), "correct the version")
	}
	var version struct {
		Public string `json:"public_key"`
	}
	if json.Unmarshal(in.Keys[strconv.Itoa(k.version)], &version) == nil { // a number for a symmetric key
		if block, _ := pem.Decode([]byte(version.Public)); block != nil {
			info.Public = block.Bytes
		}
	}
	return info, nil
}

// call sends an operation and returns one string of the answer.
func (k *Key) call(ctx context.Context, operation, want string, body map[string]any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, k.w.settings.timeout)
	defer cancel()
	s, err := k.w.write(ctx, operation, body)
	if err != nil {
		return "", k.w.failure(err)
	}
	if s == nil {
		return "", k.w.failure(errAnswer)
	}
	text, ok := s.Data[want].(string)
	if !ok {
		return "", k.w.failure(errAnswer)
	}
	return text, nil
}

// Encrypt returns the server's ciphertext, "vault:v1:...".
func (k *Key) Encrypt(ctx context.Context, plain, aad []byte) (string, error) {
	body := map[string]any{"plaintext": encode(plain), "key_version": strconv.Itoa(k.version), "type": neverAType}
	if len(aad) > 0 {
		body["associated_data"] = encode(aad)
	}
	return k.call(ctx, "encrypt", "ciphertext", body)
}

// Decrypt decrypts a ciphertext of Encrypt. One of another version is corrupt: permission for this
// version is none for the others.
func (k *Key) Decrypt(ctx context.Context, text string, aad []byte) ([]byte, error) {
	if v, err := keyVersion(text); err != nil || v != "v"+strconv.Itoa(k.version) {
		return nil, seals.Fail(seals.Corrupt, errors.New("the ciphertext is not of this key's version"),
			"check the ciphertext")
	}
	body := map[string]any{"ciphertext": text}
	if len(aad) > 0 {
		body["associated_data"] = encode(aad)
	}
	out, err := k.call(ctx, "decrypt", "plaintext", body)
	if err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(out)
	if err != nil {
		return nil, k.w.failure(errAnswer)
	}
	return plain, nil
}

// Sign signs a digest. hash is the engine's name, such as sha2-256; for RSA pkcs1 selects the
// padding, and salt is the length of PSS.
func (k *Key) Sign(ctx context.Context, digest []byte, hash string, pkcs1 bool, salt string) ([]byte, error) {
	body := map[string]any{"input": encode(digest), "prehashed": true, "hash_algorithm": hash,
		"key_version": strconv.Itoa(k.version)}
	if pkcs1 {
		body["signature_algorithm"] = "pkcs1v15"
	} else if salt != "" {
		body["salt_length"] = salt
	}
	return k.bytes(k.call(ctx, "sign", "signature", body))
}

// MAC computes an HMAC with a hash.
func (k *Key) MAC(ctx context.Context, input []byte, hash string) ([]byte, error) {
	return k.bytes(k.call(ctx, "hmac", "hmac", map[string]any{"input": encode(input), "algorithm": hash,
		"key_version": strconv.Itoa(k.version)}))
}

// bytes decodes what is behind "vault:v1:".
func (k *Key) bytes(text string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(text[strings.LastIndexByte(text, ':')+1:])
	if err != nil || len(b) == 0 {
		return nil, k.w.failure(errAnswer)
	}
	return b, nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

var _ seals.KeyOwner = (*Wrapper)(nil)

// OwnsKey compares mount and name, whatever the server's address: one server has many. A client
// sends "a//b" as "a/b", and servers may ignore letter case.
func (w *Wrapper) OwnsKey(_ context.Context, id string) bool {
	name, _, _ := strings.Cut(id, "#")
	plain := func(p string) string { return strings.ToLower(path.Clean("/" + p)) }
	return strings.HasSuffix(plain(name), plain(w.settings.mount+"/keys/"+w.settings.key))
}
