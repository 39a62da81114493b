package gcpkms

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// claims are those of a service account's JWT. Source:
// developers.google.com/identity/protocols/oauth2/service-account.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

const (
	maxToken = 16 << 10
	skew     = 5 * time.Minute // clocks differ
	audience = "https://cloudkms.googleapis.com/"
)

// errJWT is returned for a JWT that is not of a known account. It does not say why.
var errJWT = errors.New("not a JWT of a known account")

// signed reads a JWT and finds the account that signed it. Callers hold the lock.
//
// Source: google.aip.dev/auth/4111 and the page above: RS256, exp at most an hour after iat.
func (s *Service) signed(token string) (claims, *account, error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return claims{}, nil, errJWT
	}
	var header struct{ Alg, Kid string }
	var c claims
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || decode(parts[0], &header) != nil || decode(parts[1], &c) != nil || header.Alg != "RS256" {
		return claims{}, nil, errJWT
	}
	name, ours := strings.CutSuffix(c.Issuer, domain)
	a := s.accounts[name]
	if !ours || a == nil || a.key == nil || header.Kid != "" && header.Kid != a.kid {
		return claims{}, nil, errJWT
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(a.key, crypto.SHA256, sum[:], sig) != nil {
		return claims{}, nil, errJWT
	}
	now, issued, expires := s.o.Now(), time.Unix(c.Issued, 0), time.Unix(c.Expires, 0)
	if issued.After(now.Add(skew)) || !expires.After(now) || expires.Sub(issued) > time.Hour {
		return claims{}, nil, errJWT
	}
	return c, a, nil
}

func decode(part string, to any) error {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, to)
}

// Source: developers.google.com/identity/protocols/oauth2/scopes#cloudkms.
var scopes = []string{"https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/cloudkms"}

func (c claims) scoped() bool {
	return slices.ContainsFunc(strings.Fields(c.Scope), func(s string) bool { return slices.Contains(scopes, s) })
}

// forService: source: google.aip.dev/auth/4111: the JWT names the service as its audience, or has a
// scope.
func (c claims) forService() bool {
	return c.Audience == audience || c.Audience == "" && c.scoped()
}
