package approle

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
)

// role is a record: see [method.Marshal]. Durations are seconds.
type role struct {
	UUID         string   `json:"uuid"` // prefix of its secrets; a new role of the same name gets another
	RoleID       string   `json:"role_id"`
	BindSecretID bool     `json:"bind_secret_id"`
	SecretUses   int64    `json:"secret_id_num_uses,omitempty"`
	SecretTTL    int64    `json:"secret_id_ttl,omitempty"`
	SecretCIDRs  []string `json:"secret_id_bound_cidrs,omitempty"`
	method.TokenParams
}

// parts maps the paths below a role to the field that each shows and changes.
var parts = map[string]string{
	"bind-secret-id": "bind_secret_id", "secret-id-num-uses": "secret_id_num_uses", "secret-id-ttl": "secret_id_ttl",
	"secret-id-bound-cidrs": "secret_id_bound_cidrs", "bound-cidr-list": "secret_id_bound_cidrs",
	"token-bound-cidrs": "token_bound_cidrs",
	"policies":          "token_policies", "period": "token_period", "token-ttl": "token_ttl",
	"token-max-ttl":  "token_max_ttl",
	"token-num-uses": "token_num_uses",
}

// aliases maps deprecated field names to current ones.
var aliases = map[string]string{"policies": "token_policies", "period": "token_period",
	"bound_cidr_list": "secret_id_bound_cidrs"}

func (x *role) show() map[string]any {
	return x.Show(map[string]any{
		"bind_secret_id": x.BindSecretID, "local_secret_ids": false, "secret_id_num_uses": x.SecretUses,
		"secret_id_ttl":         x.SecretTTL,
		"secret_id_bound_cidrs": method.NotNil(x.SecretCIDRs),
	})
}

// read reads the fields of a request.
func (x *role) read(f field.Map) error {
	if f.Has("bound_cidr_list") && !f.Has("secret_id_bound_cidrs") {
		g := field.Map{"secret_id_bound_cidrs": f["bound_cidr_list"]}
		for name, v := range f {
			if v != nil {
				g[name] = v
			}
		}
		f = g
	}
	err := field.First(
		f.Text("role_id", &x.RoleID), f.Flag("bind_secret_id", &x.BindSecretID),
		f.Number("secret_id_num_uses", &x.SecretUses),
		f.Seconds("secret_id_ttl", &x.SecretTTL), f.Limits("secret_id_bound_cidrs", &x.SecretCIDRs), x.Read(f),
	)
	if err != nil {
		return err
	}
	if x.SecretCIDRs, err = method.Networks("secret_id_bound_cidrs", x.SecretCIDRs); err != nil {
		return err
	}
	var local bool
	if err := f.Flag("local_secret_ids", &local); err != nil {
		return err
	}
	return x.check(local)
}

const maxRoleID = 512

func (x *role) check(local bool) error {
	switch {
	case local:
		return method.Invalid("local_secret_ids is not supported: this server has no replication between clusters; leave " +
			"it out")
	case x.SecretUses < 0:
		return method.Invalid("secret_id_num_uses cannot be negative")
	case x.SecretTTL < 0:
		return method.Invalid("secret_id_ttl cannot be negative")
	case x.RoleID == "" || len(x.RoleID) > maxRoleID:
		return method.Invalid("role_id must have 1 to %d bytes", maxRoleID)
	case !x.BindSecretID && len(x.SecretCIDRs) == 0 && len(x.BoundCIDRs) == 0:
		return method.Invalid("at least one constraint should be enabled on the role: bind_secret_id, or a CIDR list")
	}
	return nil
}

// role handles "role/<name>" and the paths below it.
func (d *backend) role(ctx context.Context, r *mount.Request, rest string) (*mount.Response, error) {
	name, part, _ := strings.Cut(rest, "/")
	name, err := method.Name("role name", name)
	if err != nil {
		return nil, err
	}
	l := d.lock(name)
	l.Lock()
	defer l.Unlock()
	x, err := method.Load[role](ctx, d.store, rolePrefix+name)
	if err != nil {
		return nil, err
	}
	switch {
	case part == "" && r.Operation == mount.Delete:
		return nil, d.deleteRole(ctx, name, x)
	case part == "" && method.IsWrite(r.Operation):
		return nil, d.writeRole(ctx, name, x, r.Data)
	case x == nil && r.Operation == mount.Read:
		return nil, nil
	case x == nil && part != "":
		return nil, method.Invalid("role %q does not exist", name)
	case part == "" && r.Operation == mount.Read:
		return &mount.Response{Data: x.show()}, nil
	case part == "":
		return nil, method.ErrUnsupported
	case part == "role-id":
		return d.roleID(ctx, r, name, x)
	case parts[part] != "":
		return d.field(ctx, r, name, x, parts[part])
	}
	return d.secrets(ctx, r, name, x, part)
}

func (d *backend) writeRole(ctx context.Context, name string, old *role, f field.Map) error {
	x := &role{BindSecretID: true}
	if old != nil {
		*x = *old
	} else {
		var err error
		if x.UUID, err = uuid.New(d.rnd); err != nil {
			return err
		}
		if x.RoleID, err = uuid.New(d.rnd); err != nil {
			return err
		}
	}
	if err := x.read(f); err != nil {
		return err
	}
	return d.saveRole(ctx, name, old, x)
}

// saveRole writes a role and, if its role id is new, the index entry for it.
func (d *backend) saveRole(ctx context.Context, name string, old, x *role) error {
	op, err := method.Put(rolePrefix+name, x)
	if err != nil {
		return err
	}
	b := storage.Batch{Ops: []storage.Op{op}}
	if old == nil || old.RoleID != x.RoleID {
		key, err := d.hash(ctx, "role", x.RoleID)
		if err != nil {
			return err
		}
		taken, err := method.Load[string](ctx, d.store, idPrefix+key)
		if err != nil {
			return err
		}
		if taken != nil {
			return method.Invalid("role_id is already in use by another role")
		}
		to, err := method.Put(idPrefix+key, name)
		if err != nil {
			return err
		}
		b.If = []storage.Condition{storage.IfAbsent(idPrefix + key)}
		b.Ops = append(b.Ops, to)
		if old != nil {
			before, err := d.hash(ctx, "role", old.RoleID)
			if err != nil {
				return err
			}
			b.Ops = append(b.Ops, storage.Delete(idPrefix+before))
		}
	}
	return d.store.Commit(ctx, b)
}

// deleteRole deletes a role in one commit; its secrets are removed afterwards, or by Maintain after
// a crash.
func (d *backend) deleteRole(ctx context.Context, name string, x *role) error {
	if x == nil {
		return nil
	}
	key, err := d.hash(ctx, "role", x.RoleID)
	if err != nil {
		return err
	}
	gone, err := method.Put(gonePrefix+x.UUID, name)
	if err != nil {
		return err
	}
	err = d.store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(rolePrefix + name),
		storage.Delete(idPrefix + key), gone}})
	if err != nil {
		return err
	}
	return d.removeSecrets(ctx, x.UUID)
}

// Maintain implements [mount.Maintainer]: it removes the remains of deleted roles.
func (d *backend) Maintain(ctx context.Context) error {
	uuids, err := d.store.List(ctx, gonePrefix, "", 0)
	if err != nil {
		return err
	}
	for _, uuid := range uuids {
		if err := d.removeSecrets(ctx, uuid); err != nil {
			return err
		}
	}
	return nil
}

// removeSecrets removes the secrets of a deleted role.
func (d *backend) removeSecrets(ctx context.Context, uuid string) error {
	for {
		names, err := d.store.List(ctx, secretPrefix+uuid+"/", "", mount.MaxOps/2)
		if err != nil {
			return err
		}
		var b storage.Batch
		for _, name := range names {
			key := secretPrefix + uuid + "/" + name
			s, err := method.Load[secret](ctx, d.store, key)
			if err != nil {
				return err
			}
			b.Ops = append(b.Ops, storage.Delete(key))
			if s != nil {
				b.Ops = append(b.Ops, storage.Delete(accessorPrefix+s.AccessorHash))
			}
		}
		if len(names) == 0 {
			return method.Remove(ctx, d.store, gonePrefix+uuid)
		}
		if err := d.store.Commit(ctx, b); err != nil {
			return err
		}
	}
}

// roleID shows or sets a role's role id.
func (d *backend) roleID(ctx context.Context, r *mount.Request, name string, old *role) (*mount.Response, error) {
	if r.Operation == mount.Read {
		return &mount.Response{Data: map[string]any{"role_id": old.RoleID}}, nil
	}
	if !method.IsWrite(r.Operation) {
		return nil, method.ErrUnsupported
	}
	x := *old
	x.RoleID = ""
	if err := field.Map(r.Data).Text("role_id", &x.RoleID); err != nil {
		return nil, err
	}
	if x.RoleID == "" {
		return nil, method.Invalid("missing role_id")
	}
	if err := x.check(false); err != nil {
		return nil, err
	}
	return nil, d.saveRole(ctx, name, old, &x)
}

// field shows, sets or resets one field of a role.
func (d *backend) field(
	ctx context.Context, r *mount.Request, name string, old *role, key string,
) (*mount.Response, error) {
	given := field.Map{}
	switch {
	case r.Operation == mount.Read:
		return &mount.Response{Data: map[string]any{key: old.show()[key]}}, nil
	case r.Operation == mount.Delete:
		given[key] = initial(key)
	case method.IsWrite(r.Operation):
		for alias, to := range aliases {
			if to == key && r.Data[alias] != nil {
				given[key] = r.Data[alias]
			}
		}
		if r.Data[key] != nil {
			given[key] = r.Data[key]
		}
		if len(given) == 0 {
			return nil, method.Invalid("missing %s", key)
		}
	default:
		return nil, method.ErrUnsupported
	}
	x := *old
	if err := x.read(given); err != nil {
		return nil, err
	}
	return nil, d.saveRole(ctx, name, old, &x)
}

// initial returns the default of a field, as a request would give it.
func initial(field string) any {
	switch v := (&role{BindSecretID: true}).show()[field].(type) {
	case []string:
		return ""
	case bool:
		return v
	}
	return "0"
}
