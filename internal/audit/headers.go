package audit

import (
	"context"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
)

// maxHeaders bounds the request headers that entries show.
const maxHeaders = 64

// never lists the headers that no entry shows, hashed or not: they hold tokens.
var never = []string{"x-vault-token", "authorization", "cookie"}

func validHeader(name string) bool {
	if name == "" || len(name) > 128 || slices.Contains(never, name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// HeaderConfig returns the request headers that entries show, and whether their values are hashed.
func (t *Trail) HeaderConfig() map[string]bool {
	out := map[string]bool{}
	for _, h := range t.now.Load().headers {
		out[h.Name] = h.HMAC
	}
	return out
}

// SetHeader adds a request header to the entries, hashed or in plain text.
func (t *Trail) SetHeader(ctx context.Context, name string, hmac bool) error {
	name = strings.ToLower(name)
	if !validHeader(name) {
		return fault.New(fault.Invalid, "%q cannot be audited: it is not a valid header name, or the header holds a token",
			name)
	}
	return t.changeHeaders(ctx, func(all []header) ([]header, error) {
		all = slices.DeleteFunc(all, func(h header) bool { return h.Name == name })
		if len(all) >= maxHeaders {
			return nil, fault.New(fault.Invalid, "at most %d headers can be audited; remove one first", maxHeaders)
		}
		return append(all, header{name, hmac}), nil
	})
}

// RemoveHeader removes a request header from the entries.
func (t *Trail) RemoveHeader(ctx context.Context, name string) error {
	name = strings.ToLower(name)
	return t.changeHeaders(ctx, func(all []header) ([]header, error) {
		return slices.DeleteFunc(all, func(h header) bool { return h.Name == name }), nil
	})
}

func (t *Trail) changeHeaders(ctx context.Context, change func([]header) ([]header, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries == nil {
		return ErrSealed
	}
	all, err := change(slices.Clone(t.table.Headers))
	if err != nil {
		return err
	}
	if err := t.commit(ctx, table{Devices: t.table.Devices, Headers: all}); err != nil {
		return err
	}
	now := t.now.Load()
	t.now.Store(&set{devices: now.devices, headers: slices.Clone(all), active: true})
	return nil
}
