package azurekv

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RSA-OAEP, as the service has it
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// retention is how long a deleted key can be recovered. [delete]
const retention = 90 * 24 * time.Hour

type key struct {
	name     string
	versions []*Version // the newest is the last
	purge    time.Time  // when it is gone for good, once it is deleted
}

// Version is one version of a key. Its fields may be changed between requests by [Service.Change].
type Version struct {
	ID         string
	Enabled    bool
	NotBefore  time.Time // zero: no such date
	Expires    time.Time
	Operations []string // nil: all
	private    *rsa.PrivateKey
	created    time.Time
}

// NewKey makes a key with one version.
func (s *Service) NewKey(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[name] = &key{name: name}
	s.addVersion(name)
}

// Rotate gives a key a new version.
func (s *Service) Rotate(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addVersion(name)
}

func (s *Service) addVersion(name string) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // rand.Reader never fails
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	k := s.keys[name]
	k.versions = append(k.versions, &Version{ID: hex.EncodeToString(id), Enabled: true, private: private,
		created: s.Now()})
}

// Change changes every version of a key.
func (s *Service) Change(name string, change func(*Version)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.keys[name].versions {
		change(v)
	}
}

// Delete deletes a key; it can be recovered until its retention is over. [delete]
func (s *Service) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[name]
	k.purge = s.Now().Add(retention)
	s.deleted[name] = k
	delete(s.keys, name)
}

// Recover restores a deleted key. [delete]
func (s *Service) Recover(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[name] = s.deleted[name]
	delete(s.deleted, name)
}

// Purge destroys a deleted key. [delete]
func (s *Service) Purge(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, name)
	delete(s.deleted, name)
}

// operate carries out one operation: GET keys/NAME[/VERSION], POST keys/NAME/[VERSION]/OPERATION,
// GET deletedkeys/NAME. [rest]
func (s *Service) operate(r *http.Request, p *Principal) (any, *refusal) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" }) // an empty version
	switch {
	case parts[0] == "deletedkeys" && len(parts) == 2 && r.Method == http.MethodGet:
		return s.getDeleted(r, p, parts[1])
	case parts[0] == "keys" && r.Method == http.MethodGet && (len(parts) == 2 || len(parts) == 3):
		return s.get(r, p, parts[1], strings.Join(parts[2:], ""))
	case parts[0] == "keys" && r.Method == http.MethodPost && len(parts) == 3:
		return s.crypt(r, p, parts[1], "", parts[2])
	case parts[0] == "keys" && r.Method == http.MethodPost && len(parts) == 4:
		return s.crypt(r, p, parts[1], parts[2], parts[3])
	}
	return nil, &refusal{http.StatusMethodNotAllowed, "HttpMethodNotAllowed", "", "the emulator has no such operation"}
}

func (s *Service) find(name, version string) (*Version, *refusal) {
	if k := s.keys[name]; k != nil {
		for _, v := range slices.Backward(k.versions) {
			if version == "" || v.ID == version {
				return v, nil
			}
		}
	}
	return nil, &refusal{http.StatusNotFound, "KeyNotFound", "",
		fmt.Sprintf("A key with (name/id) %s/%s was not found in this key vault. "+
			"If you recently deleted this key you may be able to recover it using the correct recovery command.", name,
			version)}
}

func bundle(r *http.Request, name string, v *Version) map[string]any {
	attributes := map[string]any{"enabled": v.Enabled, "created": v.created.Unix(), "updated": v.created.Unix(),
		"recoveryLevel": "Recoverable+Purgeable"}
	if !v.Expires.IsZero() {
		attributes["exp"] = v.Expires.Unix()
	}
	if !v.NotBefore.IsZero() {
		attributes["nbf"] = v.NotBefore.Unix()
	}
	return map[string]any{
		"key": map[string]any{"kid": kid(r, name, v), "kty": "RSA", "key_ops": operations(v),
			"n": b64(v.private.N.Bytes()),
			"e": b64(big.NewInt(int64(v.private.E)).Bytes())},
		"attributes": attributes,
	}
}

func operations(v *Version) []string {
	if v.Operations == nil {
		return []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
	}
	return v.Operations
}

func kid(r *http.Request, name string, v *Version) string {
	return "https://" + r.Host + "/keys/" + name + "/" + v.ID
}

func (s *Service) get(r *http.Request, p *Principal, name, version string) (any, *refusal) {
	if err := p.may("get"); err != nil {
		return nil, err
	}
	v, err := s.find(name, version)
	if err != nil {
		return nil, err
	}
	return bundle(r, name, v), nil
}

func (s *Service) getDeleted(r *http.Request, p *Principal, name string) (any, *refusal) {
	if err := p.may("get"); err != nil {
		return nil, err
	}
	k := s.deleted[name]
	if k == nil {
		return nil, &refusal{http.StatusNotFound, "KeyNotFound", "", "Deleted Key not found: " + name}
	}
	out := bundle(r, name, k.versions[len(k.versions)-1])
	out["recoveryId"] = "https://" + r.Host + "/deletedkeys/" + name
	out["deletedDate"], out["scheduledPurgeDate"] = k.purge.Add(-retention).Unix(), k.purge.Unix()
	return out, nil
}

// usable checks the dates and the enabled flag of a version: an expired one still unwraps. [keys]
func (s *Service) usable(v *Version, operation string) *refusal {
	forbidden := func(inner, format string) *refusal {
		return &refusal{http.StatusForbidden, "Forbidden", inner, fmt.Sprintf(format, operation)}
	}
	now := s.Now()
	switch {
	case !v.Enabled:
		return forbidden("KeyDisabled", "Operation %s is not allowed on a disabled key.")
	case !slices.Contains(operations(v), operation):
		return forbidden("", "Operation %s is not permitted on this key.")
	case operation == "unwrapKey":
	case !v.Expires.IsZero() && !now.Before(v.Expires):
		return forbidden("KeyExpired", "Operation %s is not allowed on an expired key.")
	case !v.NotBefore.IsZero() && now.Before(v.NotBefore):
		return forbidden("KeyNotYetValid", "Operation %s is not allowed on a key that is not yet valid.")
	}
	return nil
}

// sign makes a signature of RS256 or PS256, whose salt is as long as the hash. [rest]
func sign(alg string, v *Version, digest []byte) ([]byte, *refusal) {
	var out []byte
	var err error
	switch {
	case len(digest) != sha256.Size:
		return nil, bad("Property 'value' has an invalid length for %s.", alg)
	case alg == "RS256":
		out, err = rsa.SignPKCS1v15(nil, v.private, crypto.SHA256, digest)
	case alg == "PS256":
		out, err = rsa.SignPSS(rand.Reader, v.private, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: sha256.Size})
	default:
		return nil, bad("Invalid algorithm %q", alg)
	}
	if err != nil {
		return nil, bad("Unable to sign with this key.")
	}
	return out, nil
}

// crypt is wrapKey, unwrapKey and sign. [rest]
func (s *Service) crypt(r *http.Request, p *Principal, name, version, operation string) (any, *refusal) {
	names := map[string]string{"wrapkey": "wrapKey", "unwrapkey": "unwrapKey", "sign": "sign"}
	operation = names[strings.ToLower(operation)]
	if operation == "" {
		return nil, &refusal{http.StatusMethodNotAllowed, "HttpMethodNotAllowed", "",
			"the emulator has no such operation"}
	}
	if err := p.may(operation); err != nil {
		return nil, err
	}
	var body struct{ Alg, Value string }
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&body); err != nil {
		return nil, bad("Request body is not valid JSON.")
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(body.Value, "="))
	if err != nil || len(value) == 0 {
		return nil, bad("Content of 'value' is not base64url, or property 'value' is required.")
	}
	h := map[string]func() hash.Hash{"RSA-OAEP-256": sha256.New, "RSA-OAEP": sha1.New}[body.Alg]
	if h == nil && operation != "sign" {
		return nil, bad("Invalid algorithm %q", body.Alg)
	}
	v, refused := s.find(name, version)
	if refused == nil {
		refused = s.usable(v, operation)
	}
	if refused != nil {
		return nil, refused
	}
	if operation == "sign" {
		out, refused := sign(body.Alg, v, value)
		if refused != nil {
			return nil, refused
		}
		return map[string]string{"kid": kid(r, name, v), "value": b64(out)}, nil
	}
	var out []byte
	if operation == "wrapKey" {
		out, err = rsa.EncryptOAEP(h(), rand.Reader, &v.private.PublicKey, value, nil)
	} else {
		out, err = rsa.DecryptOAEP(h(), nil, v.private, value, nil)
	}
	if err != nil {
		return nil, bad("Unable to %s specified value with this key.",
			map[string]string{"wrapKey": "encrypt", "unwrapKey": "decrypt"}[operation])
	}
	if s.garble {
		out[len(out)/2] ^= 1
	}
	return map[string]string{"kid": kid(r, name, v), "value": b64(out)}, nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
