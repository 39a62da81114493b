package kmsplugin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// Auth says how the plugin gets its token.
type Auth struct {
	Kind       string // "token_file", "approle" or "cert"
	Mount      string // of the auth method
	TokenFile  string
	RoleIDFile string
	SecretFile string
	Role       string // of cert; "" lets the server choose
}

// tokenFor returns a token, after a login where there is none that is known to be valid.
func (c *Client) tokenFor(ctx context.Context) (*secret.Bytes, error) {
	if t := c.valid(); t != nil {
		return t, nil
	}
	return c.again(ctx, nil)
}

// valid returns the token; nil where there is none, it has ended, or its file has another one.
func (c *Client) valid() *secret.Bytes {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == nil || !c.ends.IsZero() && !c.o.Now().Before(c.ends) {
		return nil
	}
	return c.token
}

// loginPause is the least time between two logins because of a refused token.
const loginPause = 10 * time.Second

// again logs in, unless another call has done so since refused was refused.
func (c *Client) again(ctx context.Context, refused *secret.Bytes) (*secret.Bytes, error) {
	c.login.Lock()
	defer c.login.Unlock()
	if t := c.valid(); t != nil && (refused == nil || !t.Equal(refused)) {
		return t, nil
	}
	if c.o.Auth.Kind == "token_file" {
		return c.readToken(ctx)
	}
	if t := c.valid(); t != nil && c.age() < loginPause {
		return t, nil // a fresh token that may not do this: another one may not either
	}
	return c.logIn(ctx)
}

// age is the time since the token was got or renewed.
func (c *Client) age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.o.Now().Sub(c.made)
}

// readToken reads the file of an agent, and asks the server how long the token is valid.
func (c *Client) readToken(ctx context.Context) (*secret.Bytes, error) {
	raw, err := os.ReadFile(c.o.Auth.TokenFile)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the token file of the plugin cannot be read")
	}
	defer clear(raw)
	token := secret.Copy(bytes.TrimSpace(raw))
	sum := sha256.Sum256(raw)
	var lease time.Duration
	r, err := c.ask(ctx, http.MethodGet, "auth/token/lookup-self", nil, token)
	switch {
	case errors.Is(err, errRefused): // the token may lack this right alone: its use shows that
	case err != nil:
		return nil, err
	default:
		lease = ttlOf(r)
	}
	c.set(token, hex.EncodeToString(sum[:]), lease)
	return token, nil
}

// logIn gets a token by an auth method. Files are read each time: they may have been replaced.
func (c *Client) logIn(ctx context.Context) (*secret.Bytes, error) {
	body := map[string]string{}
	switch c.o.Auth.Kind {
	case "approle":
		for name, path := range map[string]string{"role_id": c.o.Auth.RoleIDFile, "secret_id": c.o.Auth.SecretFile} {
			raw, err := os.ReadFile(path)
			if err != nil {
				return nil, fault.Wrap(err, fault.Unavailable, "the %s file of the plugin cannot be read", name)
			}
			body[name] = string(bytes.TrimSpace(raw))
			clear(raw)
		}
	case "cert":
		if c.o.Auth.Role != "" {
			body["name"] = c.o.Auth.Role
		}
	}
	r, err := c.ask(ctx, http.MethodPost, "auth/"+c.o.Auth.Mount+"/login", body, nil)
	switch {
	case errors.Is(err, errRefused), fault.Is(err, fault.Invalid):
		return nil, fault.Wrap(err, fault.Denied, "the server refuses the plugin's login by %s", c.o.Auth.Kind)
	case err != nil:
		return nil, err
	case r.Auth == nil || r.Auth.Token == "":
		return nil, fault.New(fault.Unavailable, "the server's answer to the plugin's login has no token")
	}
	token := secret.Copy([]byte(r.Auth.Token))
	c.set(token, "", time.Duration(r.Auth.Lease)*time.Second)
	c.o.Log.Info("the KMS plugin is logged in", "method", c.o.Auth.Kind, "lease", time.Duration(r.Auth.Lease)*time.Second)
	return token, nil
}

// set takes over a token. It is renewed after half of its lease.
func (c *Client) set(t *secret.Bytes, source string, lease time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.source, c.made = t, source, c.o.Now()
	c.renew, c.ends = time.Time{}, time.Time{}
	if lease > 0 {
		c.renew, c.ends = c.o.Now().Add(lease/2), c.o.Now().Add(lease)
	}
}

// keepEvery is how often [Client.Run] looks whether something is due.
const keepEvery = 5 * time.Second

// Run keeps the client logged in until ctx ends: it renews the token, logs in anew where that is
// refused, and takes over another token of the file.
func (c *Client) Run(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		c.keep(ctx)
		select {
		case <-ctx.Done():
			c.mu.Lock()
			if c.http != nil {
				c.http.CloseIdleConnections()
			}
			c.mu.Unlock()
			return
		case <-ticker.C:
		}
	}
}

// keep does what is due.
func (c *Client) keep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepEvery)
	defer cancel()
	c.mu.Lock()
	token, source, renew := c.token, c.source, c.renew
	c.mu.Unlock()
	var err error
	switch {
	case token == nil:
		_, err = c.again(ctx, nil)
	case c.replaced(source):
		c.o.Log.Info("the token file of the KMS plugin has another token, which is used")
		_, err = c.again(ctx, token)
	case !renew.IsZero() && !c.o.Now().Before(renew):
		err = c.renewSelf(ctx, token)
	}
	if err != nil && ctx.Err() == nil {
		c.o.Log.Warn("the KMS plugin is not logged in, or cannot renew its token; it is tried again", "error", err,
			"cause", errors.Unwrap(err))
	}
}

// replaced reports whether the token file has another token than the one in use.
func (c *Client) replaced(source string) bool {
	if c.o.Auth.Kind != "token_file" {
		return false
	}
	raw, err := os.ReadFile(c.o.Auth.TokenFile)
	defer clear(raw)
	sum := sha256.Sum256(raw)
	return err == nil && hex.EncodeToString(sum[:]) != source
}

// renewSelf renews the token, or replaces it.
func (c *Client) renewSelf(ctx context.Context, token *secret.Bytes) error {
	r, err := c.ask(ctx, http.MethodPost, "auth/token/renew-self", map[string]string{}, token)
	if err == nil && r.Auth != nil && r.Auth.Lease > 0 {
		c.mu.Lock()
		source := c.source
		c.mu.Unlock()
		c.set(token, source, time.Duration(r.Auth.Lease)*time.Second)
		if r.Auth.Renewable {
			return nil
		}
	}
	if fault.Is(err, fault.Unavailable) {
		return err
	}
	if c.o.Auth.Kind == "token_file" { // its owner replaces it
		return err
	}
	_, err = c.again(ctx, token)
	return err
}
