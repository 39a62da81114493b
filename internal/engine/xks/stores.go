package xks

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/gateway/xks"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// uriPath is the path that AWS appends to a prefix.
const uriPath = "/kms/xks/v1"

func names(all []string) *mount.Response {
	if len(all) == 0 {
		return nil
	}
	return &mount.Response{Data: map[string]any{"keys": all}}
}

func listStores(b *backend, ctx context.Context, _ *mount.Request, _, _ string) (*mount.Response, error) {
	x, err := b.all(ctx)
	if err != nil {
		return nil, err
	}
	return names(slices.Sorted(maps.Keys(x.byName))), nil
}

// find returns a store, or [errNoStore].
func (b *backend) find(ctx context.Context, name string) (*store, error) {
	x, err := b.all(ctx)
	if err == nil && x.byName[name] == nil {
		err = errNoStore
	}
	if err != nil {
		return nil, err
	}
	return x.byName[name], nil
}

func readStore(b *backend, ctx context.Context, _ *mount.Request, name, _ string) (*mount.Response, error) {
	s, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	shown, err := b.shownCredentials(ctx, s)
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: map[string]any{
		"name": name, "prefix": s.Prefix, "uri_path": s.Prefix + uriPath, "region": s.Region, "disabled": s.Disabled,
		"first_use": firstUseWord(s.FirstUse), "health_key": s.HealthKey.Mount + "/" + s.HealthKey.Name,
		"policies": s.Policies, "description": s.Description, "credentials": shown,
	}}, nil
}

func (b *backend) shownCredentials(ctx context.Context, s *store) ([]map[string]any, error) {
	uses, err := b.lastUses(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	shown := []map[string]any{}
	for _, c := range s.Credentials {
		one := map[string]any{"access_key_id": c.AccessKeyID, "created": c.Created.Format(time.RFC3339), "last_used": nil}
		if at := uses[c.AccessKeyID]; !at.IsZero() {
			one["last_used"] = at.Format(time.RFC3339)
		}
		shown = append(shown, one)
	}
	return shown, nil
}

// Words of first_use.
const (
	firstUseDeny  = "deny"
	firstUseAllow = "allow"
)

func firstUseWord(on bool) string {
	if on {
		return firstUseAllow
	}
	return firstUseDeny
}

// writeStore makes a store or changes what is given of it.
func writeStore(b *backend, ctx context.Context, r *mount.Request, name, _ string) (*mount.Response, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	x, err := b.all(ctx)
	if err != nil {
		return nil, err
	}
	next := store{Store: xks.Store{Name: name}}
	old := x.byName[name]
	if old != nil {
		next = *old
	} else if len(x.byName) >= maxStores {
		return nil, fault.New(fault.Limited, "a mount has at most %d external key stores; delete one or use another mount",
			maxStores)
	}
	if err := next.set(r); err != nil {
		return nil, err
	}
	if other := x.byPrefix[next.Prefix]; other != nil && other.Name != name {
		return nil, fault.New(fault.Invalid, "the prefix is that of the store %q; each store needs its own", other.Name)
	}
	if err := next.Store.Check(); err != nil {
		return nil, fault.New(fault.Invalid, "%s", strings.TrimPrefix(err.Error(), "xks: "))
	}
	return nil, b.putStore(ctx, &next)
}

// set reads the fields that are given.
func (s *store) set(r *mount.Request) error {
	m := field.Map(r.Data)
	var health string
	firstUse := firstUseWord(s.FirstUse)
	policies := s.Policies
	err := field.First(m.Text("prefix", &s.Prefix), m.Text("region", &s.Region), m.Flag("disabled", &s.Disabled),
		m.Text("first_use", &firstUse), m.Text("health_key", &health), m.Names("policies", &policies),
		m.Text("description", &s.Description))
	if err != nil {
		return err
	}
	if m.Has("policies") {
		if err := mayGive(r.Identity, policies); err != nil {
			return err
		}
		s.Policies = policies
	}
	switch firstUse {
	case firstUseDeny, firstUseAllow:
		s.FirstUse = firstUse == firstUseAllow
	default:
		return fault.New(fault.Invalid, `first_use must be "deny" or "allow"`)
	}
	if health != "" {
		if s.HealthKey, err = transitKey("health_key", health); err != nil {
			return err
		}
	}
	switch {
	case strings.HasPrefix(s.Prefix+"/", "/v1/"):
		return fault.New(fault.Invalid, "the prefix must not begin with /v1: the API has it")
	case len(s.Policies) == 0:
		return fault.New(fault.Invalid, "policies is missing: name those that allow update on the encrypt and decrypt paths "+
			"of the transit keys, such as transit/encrypt/orders")
	case s.HealthKey.Name == "":
		return fault.New(fault.Invalid, "health_key is missing: name a transit key, such as transit/health, by which AWS's "+
			"health checks prove the device")
	case len(s.Description) > 4096, len(s.Region) > 64, len(s.Policies) > 64:
		return fault.New(fault.Invalid, "description has at most 4096 characters, region 64, and policies at most 64 names")
	}
	return nil
}

// mayGive refuses policies that the client does not have: a client that may configure stores must
// not reach keys by it that he cannot reach himself.
func mayGive(who token.Identity, policies []string) error {
	for _, p := range policies {
		switch {
		case p == "root" || p == "" || len(p) > 255:
			return fault.New(fault.Invalid, "a store cannot have the policy %q", p)
		case !who.Root && !slices.Contains(who.Policies, p):
			return fault.New(fault.Denied, "the policy %q is not one of the token's own, so the store cannot have it", p)
		}
	}
	return nil
}

// transitKey reads "transit/orders": the last segment is the key.
func transitKey(name, text string) (gateway.Key, error) {
	i := strings.LastIndexByte(text, '/')
	k := gateway.Key{Name: text[i+1:]}
	if i > 0 {
		k.Mount = strings.Trim(text[:i], "/")
	}
	if k.Mount == "" || k.Name == "" || len(text) > 255 {
		return k, fault.New(fault.Invalid, "%s must be mount and name of a transit key, such as transit/orders", name)
	}
	return k, nil
}

func removeStore(b *backend, ctx context.Context, _ *mount.Request, name, _ string) (*mount.Response, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	keys, err := b.base.List(ctx, keyPrefix+name+"/", "", 1)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		return nil, fault.New(fault.Invalid, "the store has external keys, which AWS KMS keys may need: delete them first, "+
			"or disable the store")
	}
	return nil, b.commit(ctx, storage.Delete(storePrefix+name), storage.Delete(usePrefix+name))
}

// maxCredentials bounds the credentials of a store that are valid at once.
const maxCredentials = 4

func listCredentials(b *backend, ctx context.Context, _ *mount.Request, name, _ string) (*mount.Response, error) {
	s, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range s.Credentials {
		ids = append(ids, c.AccessKeyID)
	}
	return names(ids), nil
}

// addCredential makes a credential beside those that there are.
func addCredential(b *backend, ctx context.Context, _ *mount.Request, name, _ string) (*mount.Response, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	s, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(s.Credentials) >= maxCredentials {
		return nil, fault.New(fault.Limited, "a store has at most %d credentials; delete one that is not used any more",
			maxCredentials)
	}
	c, err := xks.NewCredential(b.rand)
	if err != nil {
		return nil, err
	}
	c.Created = b.now().UTC()
	next := *s
	next.Credentials = append(slices.Clone(s.Credentials), c)
	if err := b.putStore(ctx, &next); err != nil {
		return nil, err
	}
	return configuration(&next, c), nil
}

// configuration is the file that the console of AWS KMS takes.
func configuration(s *store, c xks.Credential) *mount.Response {
	return &mount.Response{Data: map[string]any{
		"access_key_id": c.AccessKeyID, "uri_path": s.Prefix + uriPath,
		"configuration": map[string]any{
			"XksProxyUriPath": s.Prefix + uriPath,
			"XksProxyAuthenticationCredential": map[string]any{
				"AccessKeyId": c.AccessKeyID, "RawSecretAccessKey": string(c.Secret.Expose()),
			},
		},
	}}
}

// download shows the newest credential again.
func download(b *backend, ctx context.Context, _ *mount.Request, name, _ string) (*mount.Response, error) {
	s, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(s.Credentials) == 0 {
		return nil, fault.New(fault.NotFound, "the store has no credential; make one")
	}
	return configuration(s, s.Credentials[len(s.Credentials)-1]), nil
}

func removeCredential(b *backend, ctx context.Context, _ *mount.Request, name, id string) (*mount.Response, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	s, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	next := *s
	next.Credentials = slices.DeleteFunc(slices.Clone(s.Credentials),
		func(c xks.Credential) bool { return c.AccessKeyID == id })
	if len(next.Credentials) == len(s.Credentials) {
		return nil, fault.New(fault.NotFound, "the store has no credential of this access key id")
	}
	return nil, b.putStore(ctx, &next)
}
