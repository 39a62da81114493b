package transit

import (
	"context"
	"errors"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/seals"
)

var _ seals.Limiter = (*Wrapper)(nil)

// Limits reports the lease of the token and the end of the client's certificate. A lease that is
// renewed and has less than a quarter left is one whose renewal fails, or which may not get longer.
func (w *Wrapper) Limits(ctx context.Context) ([]seals.Limit, error) {
	var out []seals.Limit
	var failed error
	if path := w.settings.tls.clientCert; path != "" {
		l, err := seals.CertificateLimit("client certificate", path)
		if failed = err; err == nil {
			out = append(out, l)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	s, err := w.attempt(ctx, func(ctx context.Context) (*api.Secret, error) {
		return w.client.Auth().Token().LookupSelfWithContext(ctx)
	})
	if err != nil || s == nil {
		return out, errors.Join(failed, w.failure(err))
	}
	ttl, err := s.TokenTTL()
	if err != nil || ttl <= 0 {
		return out, failed // a root token, or one that does not end
	}
	renewable, _ := s.TokenIsRenewable()
	life := time.Duration(0)
	if n, ok := s.Data["creation_ttl"].(interface{ Int64() (int64, error) }); ok {
		if seconds, err := n.Int64(); err == nil {
			life = time.Duration(seconds) * time.Second
		}
	}
	at, since := time.Now().Add(ttl), time.Time{}
	if life > 0 {
		since = at.Add(-life)
	}
	renews := w.settings.renew && renewable && ttl*4 > life
	return append(out, seals.Ends("token", since, at, renews, "give the seal a new token; a file is read again")), failed
}
