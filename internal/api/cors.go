package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/sealgate/sealgate/internal/api/settings"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

type corsAnswer struct {
	Enabled bool     `json:"enabled"`
	Origins []string `json:"allowed_origins,omitempty"`
	Headers []string `json:"allowed_headers,omitempty"`
}

// corsHeaders are those that clients of the API send; a page may send them.
var corsHeaders = []string{
	"Content-Type", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-MFA", "X-Vault-No-Request-Forwarding", "X-Vault-Wrap-Format",
	"X-Vault-Wrap-TTL", "X-Vault-Policy-Override", "Authorization", "X-Vault-Token", "X-Vault-Namespace", "X-Vault-Request",
}

func (h *handler) readCORS(ctx context.Context, q *request) (*answer, error) {
	s, err := h.Shared.settings.Get(ctx, q.state)
	if err != nil {
		return nil, err
	}
	a := corsAnswer{Enabled: s.CORS.Enabled}
	if s.CORS.Enabled {
		a.Origins, a.Headers = s.CORS.Origins, append(append([]string{}, corsHeaders...), s.CORS.Headers...)
	}
	return shown(a)
}

func (h *handler) writeCORS(ctx context.Context, q *request) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	c, f := settings.CORS{Version: settings.Version, Enabled: true}, field.Map(data)
	for _, err := range []error{f.Names("allowed_origins", &c.Origins), f.Names("allowed_headers", &c.Headers), f.Flag("enabled", &c.Enabled)} {
		if err != nil {
			return nil, err
		}
	}
	if len(c.Origins) == 0 {
		return nil, fault.New(fault.Invalid, "at least one origin or the wildcard must be provided")
	}
	for _, o := range c.Origins {
		if o == "*" && len(c.Origins) > 1 {
			return nil, fault.New(fault.Invalid, "to allow all origins the '*' must be the only value for allowed_origins")
		}
	}
	if err := h.Shared.settings.Change(ctx, q.state, settings.PathCORS, c); err != nil {
		return nil, err
	}
	return done()
}

func (h *handler) deleteCORS(ctx context.Context, q *request) (*answer, error) {
	if err := h.Shared.settings.Change(ctx, q.state, settings.PathCORS, nil); err != nil {
		return nil, err
	}
	return done()
}

// crossOrigin answers what a browser asks before a page's request, and lets a page's request through where its origin may.
// Without CORS an Origin means nothing: command lines and proxies send one as well.
func (h *handler) crossOrigin(q *request) (*answer, error) {
	c := h.Front.CORS
	if !c.Enabled && h.Node != nil {
		if active, err := h.Node.Role(); err == nil {
			if s, err := h.Shared.settings.Get(q.http.Context(), active); err == nil {
				c.Enabled, c.Origins, c.Headers = s.CORS.Enabled, s.CORS.Origins, s.CORS.Headers
			}
		}
	}
	if !c.Enabled {
		return nil, nil
	}
	origin, header := q.http.Header.Get("Origin"), q.out.Header()
	header.Add("Vary", "Origin")
	allowed := false
	for _, o := range c.Origins {
		allowed = allowed || o == "*" || o == origin
	}
	if !allowed {
		return nil, errOrigin
	}
	header.Set("Access-Control-Allow-Origin", origin)
	if c.AllowCredentials {
		header.Set("Access-Control-Allow-Credentials", "true")
	}
	if q.http.Method != http.MethodOptions {
		return nil, nil
	}
	header.Set("Access-Control-Allow-Methods", "DELETE, GET, OPTIONS, POST, PUT, LIST, PATCH, SCAN")
	header.Set("Access-Control-Allow-Headers", strings.Join(append(append([]string{}, corsHeaders...), c.Headers...), ", "))
	header.Set("Access-Control-Max-Age", "300")
	return &answer{status: http.StatusNoContent}, nil
}
