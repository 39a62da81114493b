package seals

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// Limiter is implemented by providers that know by what their seal will stop working although its
// key stays: credentials that expire, or tries of a PIN that are used up.
type Limiter interface {
	// Limits returns what is known. It may ask a device, and sends no PIN.
	Limits(ctx context.Context) ([]Limit, error)
}

// Limit is one thing by which a seal may stop working. Its JSON form is part of the API.
type Limit struct {
	What   string     `json:"what"`             // "client certificate", "token", "PIN tries"
	Since  *time.Time `json:"since,omitempty"`  // when its life began, where that is known
	At     *time.Time `json:"at,omitempty"`     // when it ends
	Renews bool       `json:"renews,omitempty"` // it is renewed automatically, and that works so far
	Danger string     `json:"danger,omitempty"` // what is wrong already, such as "a single try is left"
	Remedy string     `json:"remedy,omitempty"`
}

// Ends returns a limit in time. A zero since is not known.
func Ends(what string, since, at time.Time, renews bool, remedy string) Limit {
	l := Limit{What: what, At: &at, Renews: renews, Remedy: remedy}
	if !since.IsZero() {
		l.Since = &since
	}
	return l
}

// Times within which the end of a credential matters. A share of its life counts where that is
// shorter: credentials that other programs replace may live for minutes.
const (
	soonTime, soonShare     = 30 * 24 * time.Hour, 4
	doomedTime, doomedShare = 24 * time.Hour, 10
)

// Soon reports whether an operator should act.
func (l Limit) Soon(now time.Time) bool {
	return l.Danger != "" || l.endsWithin(now, soonTime, soonShare)
}

// Doomed reports whether the seal is about to be lost.
func (l Limit) Doomed(now time.Time) bool { return l.endsWithin(now, doomedTime, doomedShare) }

func (l Limit) endsWithin(now time.Time, limit time.Duration, share int) bool {
	if l.At == nil || l.Renews {
		return false
	}
	if l.Since != nil {
		limit = min(limit, l.At.Sub(*l.Since)/time.Duration(share))
	}
	return l.At.Sub(now) < limit
}

// maxCertificates bounds the file of a certificate.
const maxCertificates = 1 << 20

// CertificateLimit returns when the first certificate of a PEM file ends, which is the one that is
// shown to the server.
func CertificateLimit(what, path string) (Limit, error) {
	f, err := os.Open(path)
	if err != nil {
		return Limit{}, fmt.Errorf("%s: %w", what, secret.PathError(err, path))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCertificates))
	if err != nil {
		return Limit{}, fmt.Errorf("%s: %w", what, secret.PathError(err, path))
	}
	defer clear(text) // the file may hold the key as well
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return Limit{}, fmt.Errorf("%s: %w", what, errNoCertificate)
		}
		if block.Type != "CERTIFICATE" {
			clear(block.Bytes)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Limit{}, fmt.Errorf("%s: %w", what, err)
		}
		return Ends(what, c.NotBefore, c.NotAfter, false, "renew it; the file is read again"), nil
	}
}

var errNoCertificate = errors.New("the file has no certificate")

// askLimits asks a provider for its limits. What was known stays known if it does not answer.
func (s *Set) askLimits(ctx context.Context, i int) {
	m := s.seals[i]
	l, ok := m.Wrapper.(Limiter)
	if !ok {
		return
	}
	begun := time.Now()
	limits, err := invoke(ctx, s, i, l.Limits, nil)
	s.opts.Observe("limits", m.Type, time.Since(begun), err)
	if err == nil {
		s.change(m, func(st *Status) { st.Limits = limits })
	}
}
