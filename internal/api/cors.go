package api

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// CORSHeaders are the headers that clients of the API send, and that a page may send.
var CORSHeaders = []string{
	"Content-Type", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-MFA", "X-Vault-No-Request-Forwarding",
	"X-Vault-Wrap-Format",
	"X-Vault-Wrap-TTL", "X-Vault-Policy-Override", "Authorization", "X-Vault-Token",
	"X-Vault-Namespace", "X-Vault-Request",
}

// crossOrigin answers a browser's preflight request, and lets a page's request through if its
// origin is allowed. Without CORS the header Origin means nothing: command lines and proxies send
// it, too.
func (h *Handler) crossOrigin(q *Request) (*Answer, error) {
	c := h.Front.CORS
	if !c.Enabled && h.Node != nil {
		if active, err := h.Node.Role(); err == nil {
			if s, err := h.Shared.Settings.Get(q.HTTP.Context(), active); err == nil {
				c.Enabled, c.Origins, c.Headers = s.CORS.Enabled, s.CORS.Origins, s.CORS.Headers
			}
		}
	}
	if !c.Enabled {
		return nil, nil
	}
	origin, header := q.HTTP.Header.Get("Origin"), q.Out.Header()
	header.Add("Vary", "Origin")
	allowed := false
	for _, o := range c.Origins {
		allowed = allowed || o == "*" || o == origin
	}
	if !allowed {
		return nil, errOrigin
	}
	q.originAllowed = true
	header.Set("Access-Control-Allow-Origin", origin)
	if c.AllowCredentials {
		header.Set("Access-Control-Allow-Credentials", "true")
	}
	if q.HTTP.Method != http.MethodOptions {
		return nil, nil
	}
	header.Set("Access-Control-Allow-Methods", "DELETE, GET, OPTIONS, POST, PUT, LIST, PATCH, SCAN")
	header.Set("Access-Control-Allow-Headers",
		strings.Join(append(append([]string{}, CORSHeaders...), c.Headers...), ", "))
	header.Set("Access-Control-Max-Age", "300")
	return &Answer{Status: http.StatusNoContent}, nil
}

// errOrigin refuses pages of origins that are not allowed.
var errOrigin = &Status{http.StatusForbidden, "origin not allowed"}

// checkOrigin refuses a POST that a page of another origin could send without asking the browser
// first, where no token authorises it: the page would use the network position of its visitor.
// Logins are exempt, because identity providers post to them.
func (q *Request) checkOrigin() error {
	r := q.HTTP
	origin := r.Header.Get("Origin")
	if origin == "" || r.Method != http.MethodPost || q.originAllowed || q.Route.Access == WithToken ||
		q.Route.Access == ByMethod {
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == "application/json" {
		return nil
	}
	if r.Header.Get("X-Vault-Token") != "" || r.Header.Get("Authorization") != "" {
		return nil // neither can be sent without asking
	}
	if u, err := url.Parse(origin); err == nil && u.Host == r.Host {
		return nil
	}
	return errOrigin
}
