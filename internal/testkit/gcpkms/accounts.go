package gcpkms

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// account is a service account, which its tokens authenticate.
type account struct {
	name   string
	kid    string
	key    *rsa.PublicKey // nil: it has opaque tokens only
	grants []Grant
}

// domain is the suffix of the accounts' addresses, distinct from Google's.
const domain = "@emulator.iam.example"

func (a *account) email() string { return a.name + domain }

// grantedToken is an issued access token, stored by its hash.
type grantedToken struct {
	account string
	expires time.Time // zero: never
}

// Source: cloud.google.com/iam/docs/service-accounts-create: 6 to 30 there; the emulator accepts
// one letter.
var accountForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,29}$`)

// SetAccount adds an account, or replaces it: JWTs of its previous key and its previous
// tokens become invalid.
func (s *Service) SetAccount(name string, key *rsa.PublicKey, grants ...Grant) error {
	if !accountForm.MatchString(name) {
		return fmt.Errorf("%w: an account's name is a lowercase letter, then at most 29 lowercase letters, digits "+
			"and hyphens: %q", ErrGrant, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[name] = &account{name: name, key: key, kid: keyID(key), grants: grants}
	for t, of := range s.tokens {
		if of.account == name {
			delete(s.tokens, t)
		}
	}
	return nil
}

// AddToken makes an opaque access token of an account; zero expires never.
func (s *Service) AddToken(token, account string, expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[sha256.Sum256([]byte(token))] = grantedToken{account: account, expires: expires}
}

func keyID(key *rsa.PublicKey) string {
	if key == nil {
		return ""
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(key))
	return hex.EncodeToString(sum[:20])
}

// Credentials returns the credentials file of an account for Google's libraries. tokenURL is the
// emulator's OAuth2 endpoint.
//
// Source: google.aip.dev/auth/4112.
func Credentials(name string, key *rsa.PrivateKey, tokenURL string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "emulator", "private_key_id": keyID(&key.PublicKey),
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": name + domain, "client_id": "0", "token_uri": tokenURL, "universe_domain": "googleapis.com",
	}, "", "  ")
}

// Sources: the texts that cloudkms.googleapis.com answers with;
// cloud.google.com/docs/authentication/troubleshoot; ErrorInfo by google.aip.dev/193.
const (
	textMissing = "Request is missing required authentication credential. Expected OAuth 2 access token, login " +
		"cookie or other valid " +
		"authentication credential."
	textInvalid = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or " +
		"other valid " +
		"authentication credential."
)

func unauthenticated(text, reason string) error {
	return detailed(codes.Unauthenticated, text, &errdetails.ErrorInfo{
		Reason: reason, Domain: "googleapis.com", Metadata: map[string]string{"service": "cloudkms.googleapis.com"},
	})
}

// authenticate finds the account of a request by its bearer token.
func (s *Service) authenticate(ctx context.Context) (*account, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return nil, unauthenticated(textMissing, "CREDENTIALS_MISSING")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, unauthenticated(textMissing, "CREDENTIALS_MISSING")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[sha256.Sum256([]byte(token))]; ok {
		if a := s.accounts[t.account]; a != nil && (t.expires.IsZero() || s.o.Now().Before(t.expires)) {
			return a, nil
		}
		return nil, unauthenticated(textInvalid, "ACCESS_TOKEN_EXPIRED")
	}
	// Source: google.aip.dev/auth/4111: a JWT that the account signed replaces an access token.
	claims, a, err := s.signed(token)
	if err != nil || !claims.forService() || claims.Subject != claims.Issuer {
		return nil, unauthenticated(textInvalid, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
	}
	return a, nil
}
