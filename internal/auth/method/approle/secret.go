package approle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
)

// secret is the record of a secret id, whose hash is in the key. See [method.Marshal].
type secret struct {
	Accessor     string            `json:"accessor"`
	AccessorHash string            `json:"accessor_hash"`
	Uses         int64             `json:"uses,omitempty"` // remaining; 0: unlimited
	TTL          int64             `json:"ttl,omitempty"`  // seconds
	Created      time.Time         `json:"created"`
	Updated      time.Time         `json:"updated"`
	Expires      time.Time         `json:"expires,omitzero"` // zero: never
	Meta         map[string]string `json:"metadata,omitempty"`
	CIDRs        []string          `json:"cidr_list,omitempty"`
	TokenCIDRs   []string          `json:"token_bound_cidrs,omitempty"`
}

// pointer is the record of an accessor.
type pointer struct {
	Role string `json:"role"` // its UUID
	Hash string `json:"hash"` // of the secret id
}

func (s *secret) expired(now time.Time) bool { return !s.Expires.IsZero() && !now.Before(s.Expires) }

func (s *secret) show() map[string]any {
	expires := "0001-01-01T00:00:00Z"
	if !s.Expires.IsZero() {
		expires = s.Expires.Format(time.RFC3339Nano)
	}
	meta := s.Meta
	if meta == nil {
		meta = map[string]string{}
	}
	return map[string]any{
		"secret_id_accessor": s.Accessor, "secret_id_num_uses": s.Uses, "secret_id_ttl": s.TTL, "metadata": meta,
		"creation_time": s.Created.Format(time.RFC3339Nano), "last_updated_time": s.Updated.Format(time.RFC3339Nano),
		"expiration_time": expires,
		"cidr_list":       method.NotNil(s.CIDRs), "token_bound_cidrs": method.NotNil(s.TokenCIDRs),
	}
}

// secrets handles the paths below a role that concern its secret ids. The caller holds the role's
// lock.
func (d *backend) secrets(ctx context.Context, r *mount.Request, name string, x *role, part string) (*mount.Response,
	error) {
	writes := method.IsWrite(r.Operation)
	switch {
	case part == "secret-id" && r.Operation == mount.List:
		return d.accessors(ctx, x)
	case part == "secret-id" && writes:
		id, err := uuid.New(d.rnd)
		if err != nil {
			return nil, err
		}
		return d.addSecret(ctx, x, id, r.Data)
	case part == "custom-secret-id" && writes:
		var id string
		if err := field.Map(r.Data).Text("secret_id", &id); err != nil {
			return nil, err
		}
		return d.addSecret(ctx, x, id, r.Data)
	case part == "secret-id/lookup" && writes, part == "secret-id-accessor/lookup" && writes,
		part == "secret-id/destroy" && (writes || r.Operation == mount.Delete),
		part == "secret-id-accessor/destroy" && (writes || r.Operation == mount.Delete):
		return d.oneSecret(ctx, r, x, part)
	}
	if known := []string{"secret-id", "custom-secret-id", "secret-id/lookup", "secret-id/destroy",
		"secret-id-accessor/lookup",
		"secret-id-accessor/destroy"}; slices.Contains(known, part) {
		return nil, method.ErrUnsupported
	}
	return nil, method.ErrNoPath
}

// accessors lists the accessors of valid secret ids.
func (d *backend) accessors(ctx context.Context, x *role) (*mount.Response, error) {
	prefix := secretPrefix + x.UUID + "/"
	names, err := d.store.List(ctx, prefix, "", 0)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, name := range names {
		s, err := method.Load[secret](ctx, d.store, prefix+name)
		if err != nil {
			return nil, err
		}
		if s != nil && !s.expired(d.now()) {
			keys = append(keys, s.Accessor)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	slices.Sort(keys)
	return &mount.Response{Data: map[string]any{"keys": keys}}, nil
}

const (
	maxSecretID = 4096
	maxMeta     = 64
)

// newSecret builds a secret id from a request, within the role's limits.
func (d *backend) newSecret(x *role, f field.Map) (*secret, error) {
	s := &secret{Uses: x.SecretUses, TTL: x.SecretTTL, Created: d.now()}
	err := field.First(
		f.Number("num_uses", &s.Uses), f.Seconds("ttl", &s.TTL), f.Pairs("metadata", &s.Meta),
		f.Limits("cidr_list", &s.CIDRs),
		f.Limits("token_bound_cidrs", &s.TokenCIDRs),
	)
	if err != nil {
		return nil, err
	}
	if s.CIDRs, err = method.Networks("cidr_list", s.CIDRs); err != nil {
		return nil, err
	}
	if s.TokenCIDRs, err = method.Networks("token_bound_cidrs", s.TokenCIDRs); err != nil {
		return nil, err
	}
	switch {
	case !x.BindSecretID:
		return nil, method.Invalid("bind_secret_id is not set on the role: it has no secret_ids")
	case s.Uses < 0:
		return nil, method.Invalid("num_uses cannot be negative")
	case x.SecretUses > 0 && (s.Uses == 0 || s.Uses > x.SecretUses):
		return nil, method.Invalid("num_uses cannot be higher than the role's secret_id_num_uses")
	case s.TTL < 0:
		return nil, method.Invalid("ttl cannot be negative")
	case x.SecretTTL > 0 && (s.TTL == 0 || s.TTL > x.SecretTTL):
		return nil, method.Invalid("ttl cannot be longer than the role's secret_id_ttl")
	case len(s.Meta) > maxMeta:
		return nil, method.Invalid("metadata has %d entries; at most %d are allowed", len(s.Meta), maxMeta)
	case !subset(s.CIDRs, x.SecretCIDRs):
		return nil, method.Invalid("cidr_list contains a network outside the role's secret_id_bound_cidrs")
	case !subset(s.TokenCIDRs, x.BoundCIDRs):
		return nil, method.Invalid("token_bound_cidrs contains a network outside the role's token_bound_cidrs")
	}
	s.Updated = s.Created
	if s.TTL > 0 {
		s.Expires = s.Created.Add(time.Duration(s.TTL) * time.Second)
	}
	return s, nil
}

// addSecret stores a secret id. Its response is the only place where the secret id is shown.
func (d *backend) addSecret(ctx context.Context, x *role, id string, f field.Map) (*mount.Response, error) {
	if id == "" || len(id) > maxSecretID {
		return nil, method.Invalid("secret_id must have 1 to %d bytes", maxSecretID)
	}
	s, err := d.newSecret(x, f)
	if err != nil {
		return nil, err
	}
	if s.Accessor, err = uuid.New(d.rnd); err != nil {
		return nil, err
	}
	if s.AccessorHash, err = d.hash(ctx, "accessor", s.Accessor); err != nil {
		return nil, err
	}
	key, err := d.secretHash(ctx, x, id)
	if err != nil {
		return nil, err
	}
	record, err := method.Put(secretPrefix+x.UUID+"/"+key, s)
	if err != nil {
		return nil, err
	}
	to, err := method.Put(accessorPrefix+s.AccessorHash, pointer{x.UUID, key})
	if err != nil {
		return nil, err
	}
	b := storage.Batch{If: []storage.Condition{storage.IfAbsent(record.Key)}, Ops: []storage.Op{record, to}}
	if err := d.store.Commit(ctx, b); err != nil {
		if taken, _ := method.Load[secret](ctx, d.store, record.Key); taken != nil {
			return nil, method.Invalid("SecretID is already registered")
		}
		return nil, err
	}
	return &mount.Response{Data: map[string]any{
		"secret_id": id, "secret_id_accessor": s.Accessor, "secret_id_num_uses": s.Uses, "secret_id_ttl": s.TTL,
	}}, nil
}

func (d *backend) secretHash(ctx context.Context, x *role, id string) (string, error) {
	return d.hash(ctx, "secret\x00"+x.UUID, id)
}

// oneSecret shows or destroys a secret id, given by itself or by its accessor.
func (d *backend) oneSecret(ctx context.Context, r *mount.Request, x *role, part string) (*mount.Response, error) {
	var id, accessor, key string
	f := field.Map{}
	maps.Copy(f, r.Data)
	for name := range r.Query { // of a DELETE
		if f[name] == nil {
			f[name] = r.Query.Get(name)
		}
	}
	err := field.First(f.Text("secret_id", &id), f.Text("secret_id_accessor", &accessor))
	if err != nil {
		return nil, err
	}
	what, doing, _ := strings.Cut(part, "/")
	if what == "secret-id" {
		if id == "" {
			return nil, method.Invalid("missing secret_id")
		}
		key, err = d.secretHash(ctx, x, id)
	} else {
		if accessor == "" {
			return nil, method.Invalid("missing secret_id_accessor")
		}
		key, err = d.byAccessor(ctx, x, accessor)
	}
	if err != nil {
		return nil, err
	}
	key = secretPrefix + x.UUID + "/" + key
	s, err := method.Load[secret](ctx, d.store, key)
	switch {
	case err != nil:
		return nil, err
	case s == nil || s.expired(d.now()):
		if what == "secret-id-accessor" {
			return nil, errAccessor
		}
		return &mount.Response{Status: 204}, nil // as Vault does
	case doing == "lookup":
		return &mount.Response{Data: s.show()}, nil
	}
	return nil, d.removeSecret(ctx, key, s)
}

var errAccessor = fault.New(fault.NotFound, "failed to find accessor entry for this secret_id_accessor")

func (d *backend) byAccessor(ctx context.Context, x *role, accessor string) (string, error) {
	hash, err := d.hash(ctx, "accessor", accessor)
	if err != nil {
		return "", err
	}
	p, err := method.Load[pointer](ctx, d.store, accessorPrefix+hash)
	if err != nil {
		return "", err
	}
	if p == nil || p.Role != x.UUID {
		return "", errAccessor
	}
	return p.Hash, nil
}

func (d *backend) removeSecret(ctx context.Context, key string, s *secret) error {
	return d.store.Commit(ctx,
		storage.Batch{Ops: []storage.Op{storage.Delete(key), storage.Delete(accessorPrefix + s.AccessorHash)}})
}

// tidy removes expired secret ids, and accessors without one.
func (d *backend) tidy(ctx context.Context) (*mount.Response, error) {
	names, err := d.store.List(ctx, rolePrefix, "", 0)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := d.tidyRole(ctx, name); err != nil {
			return nil, fmt.Errorf("approle: tidying: %w", err)
		}
	}
	return &mount.Response{Status: 202, Warnings: []string{"Tidy operation done: expired secret IDs are removed."}}, nil
}

func (d *backend) tidyRole(ctx context.Context, name string) error {
	l := d.lock(name)
	l.Lock()
	defer l.Unlock()
	x, err := method.Load[role](ctx, d.store, rolePrefix+name)
	if x == nil {
		return err
	}
	prefix := secretPrefix + x.UUID + "/"
	secrets, err := d.store.List(ctx, prefix, "", 0)
	if err != nil {
		return err
	}
	for _, key := range secrets {
		s, err := method.Load[secret](ctx, d.store, prefix+key)
		if err == nil && s != nil && s.expired(d.now()) {
			err = d.removeSecret(ctx, prefix+key, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
