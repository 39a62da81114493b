package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealgate/sealgate/internal/auth/method/jwt"
)

// algorithms are those with which Kubernetes can be configured to sign.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
}

// claims are those of a service account's token: projected ones have the member "kubernetes.io",
// those of Secrets the names with slashes.
type claims struct {
	Issuer     string    `json:"iss"`
	Audience   audience  `json:"aud"`
	Expires    *moment   `json:"exp"`
	Before     *moment   `json:"nbf"`
	Issued     *moment   `json:"iat"`
	Projected  *bindings `json:"kubernetes.io"`
	Namespace  string    `json:"kubernetes.io/serviceaccount/namespace"`
	Name       string    `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID        string    `json:"kubernetes.io/serviceaccount/service-account.uid"`
	SecretName string    `json:"kubernetes.io/serviceaccount/secret.name"`
}

type bindings struct {
	Namespace string `json:"namespace"`
	Account   struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"serviceaccount"`
}

// account is a service account.
type account struct{ namespace, name, uid, secret string }

func (c *claims) account() account {
	if p := c.Projected; p != nil {
		return account{p.Namespace, p.Account.Name, p.Account.UID, c.SecretName}
	}
	return account{c.Namespace, c.Name, c.UID, c.SecretName}
}

// audience is one string or a list (RFC 7519, section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// moment is a NumericDate (RFC 7519, section 2).
type moment struct{ time.Time }

func (m *moment) UnmarshalJSON(b []byte) error {
	var n float64
	if err := json.Unmarshal(b, &n); err != nil || n < 0 || n > 1<<40 {
		return errors.New("not a time")
	}
	m.Time = time.Unix(int64(n), 0)
	return nil
}

// parse returns the claims of a token, and verifies its signature where keys are configured.
// Without keys the claims are unproven until the API server has reviewed the token.
func (c *settings) parse(token string) (*claims, error) {
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("it is not a signed JWT in compact form with an accepted algorithm")
	}
	payload := signed.UnsafePayloadWithoutVerification()
	if len(c.Keys) > 0 {
		if payload, err = c.verify(signed); err != nil {
			return nil, err
		}
	}
	var out *claims
	if err := json.NewDecoder(bytes.NewReader(payload)).Decode(&out); err != nil || out == nil {
		return nil, errors.New("the claims of the token have the wrong form")
	}
	return out, nil
}

func (c *settings) verify(signed *jose.JSONWebSignature) ([]byte, error) {
	for _, text := range c.Keys {
		key, err := jwt.PublicKey(text)
		if err != nil {
			return nil, err
		}
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("none of pem_keys verifies the token's signature")
}

// skew is how far the clocks of this server and the cluster may differ.
const skew = time.Minute

// check refuses what the API server need not be asked about.
func (c *claims) check(s *settings, aud string, now time.Time) error {
	want := s.Issuer
	if want == "" {
		want = defaultIssuer
	}
	switch {
	case s.CheckIssuer && c.Issuer != want:
		return forbidden("invalid issuer (iss) claim")
	case aud != "" && !slices.Contains(c.Audience, aud):
		return forbidden("invalid audience (aud) claim: audience claim does not match any expected audience")
	case c.Before != nil && now.Add(skew).Before(c.Before.Time):
		return forbidden("invalid not before (nbf) claim: token not yet valid")
	case c.Expires != nil && !now.Before(c.Expires.Add(skew)):
		return forbidden("invalid expiration time (exp) claim: token is expired")
	case c.Issued != nil && now.Add(skew).Before(c.Issued.Time):
		return forbidden("invalid issued at (iat) claim")
	}
	return nil
}
