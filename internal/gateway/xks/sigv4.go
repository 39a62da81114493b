package xks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// AWS Signature Version 4, as far as a server verifies it: the request's method, path, signed
// headers and body under a key derived from the secret, the day, the region and the service.
const (
	algorithm = "AWS4-HMAC-SHA256"
	service   = "kms-xks-proxy"
	terminal  = "aws4_request"
	dateForm  = "20060102T150405Z"
	dayForm   = "20060102"
	maxSkew   = 5 * time.Minute
)

// errSignature is what every refused caller gets: it does not say which step failed.
var errSignature = fail(AuthenticationFailed, "the request's signature is not valid for this store")

// signature is a parsed Authorization header.
type signature struct {
	accessKeyID string
	day, region string
	headers     []string // signed names, lower case, sorted
	value       []byte
}

// parseAuthorization reads the Authorization header.
func parseAuthorization(header string) (*signature, error) {
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return nil, errors.New("the Authorization header is missing or of another algorithm")
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; !ok || twice {
			return nil, errors.New("the Authorization header is malformed")
		}
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(fields) != 3 || len(scope) != 5 || scope[3] != service || scope[4] != terminal {
		return nil, errors.New("the credential scope is not one of " + service)
	}
	value, err := hex.DecodeString(fields["Signature"])
	if err != nil || len(value) != sha256.Size {
		return nil, errors.New("the signature is not 64 hexadecimal digits")
	}
	headers := strings.Split(fields["SignedHeaders"], ";")
	if !slices.IsSorted(headers) || len(slices.Compact(slices.Clone(headers))) != len(headers) {
		return nil, errors.New("the signed headers are not sorted, or one is there twice")
	}
	for _, h := range headers {
		if h == "" || strings.ToLower(h) != h {
			return nil, errors.New("a signed header's name is empty or not in lower case")
		}
	}
	for _, must := range []string{"host", "x-amz-date"} {
		if !slices.Contains(headers, must) {
			return nil, fmt.Errorf("the header %q is not signed", must)
		}
	}
	return &signature{accessKeyID: scope[0], day: scope[1], region: scope[2], headers: headers, value: value}, nil
}

// verify checks the signature over a request and its body under one secret. The caller compares
// access key ids.
func (s *signature) verify(r *http.Request, body []byte, key *secret.Bytes, now time.Time) error {
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(dateForm, stamp)
	switch {
	case err != nil || len(r.Header.Values("X-Amz-Date")) != 1:
		return errors.New("X-Amz-Date is missing or malformed")
	case at.Format(dayForm) != s.day:
		return errors.New("the day of X-Amz-Date is not that of the credential scope")
	case now.Sub(at).Abs() > maxSkew:
		return fmt.Errorf("X-Amz-Date is more than %s from this server's clock", maxSkew)
	}
	canonical, err := s.canonical(r, body)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(canonical))
	scope := strings.Join([]string{s.day, s.region, service, terminal}, "/")
	text := strings.Join([]string{algorithm, stamp, scope, hex.EncodeToString(sum[:])}, "\n")
	signing := append([]byte("AWS4"), key.Expose()...)
	for _, part := range []string{s.day, s.region, service, terminal} {
		next := mac(signing, part)
		clear(signing)
		signing = next
	}
	defer clear(signing)
	if !hmac.Equal(mac(signing, text), s.value) {
		return errors.New("the signature does not match")
	}
	return nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	write(h, []byte(text))
	return h.Sum(nil)
}

// canonical is the canonical request. The path is taken as received; the API has no query.
func (s *signature) canonical(r *http.Request, body []byte) (string, error) {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n\n")
	for _, name := range s.headers {
		values := r.Header.Values(name)
		if name == "host" {
			values = []string{r.Host}
		}
		if len(values) == 0 {
			return "", fmt.Errorf("the signed header %q is not in the request", name)
		}
		folded := make([]string, len(values))
		for i, v := range values {
			folded[i] = strings.Join(strings.Fields(v), " ")
		}
		b.WriteString(name + ":" + strings.Join(folded, ",") + "\n")
	}
	sum := sha256.Sum256(body)
	b.WriteString("\n" + strings.Join(s.headers, ";") + "\n" + hex.EncodeToString(sum[:]))
	return b.String(), nil
}
