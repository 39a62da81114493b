package approle

import (
	"context"
	"maps"
	"net/netip"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

var errLogin = fault.Wrap(mount.ErrCredentials, fault.Invalid, "invalid role or secret ID")

// subset reports whether every network is within one of the others; without others all are.
func subset(inner, outer []string) bool {
	if len(outer) == 0 {
		return true
	}
	for _, i := range inner {
		p, ok := token.ParseNetwork(i)
		within := false
		for _, o := range outer {
			q, valid := token.ParseNetwork(o)
			within = within || ok && valid && q.Bits() <= p.Bits() && q.Contains(p.Addr())
		}
		if !within {
			return false
		}
	}
	return true
}

// login authenticates a client by role id and, if the role requires one, secret id.
func (d *backend) login(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	if !method.IsWrite(r.Operation) {
		return nil, method.ErrUnsupported
	}
	var roleID, secretID string
	f := field.Map(r.Data)
	if err := field.First(f.Text("role_id", &roleID), f.Text("secret_id", &secretID)); err != nil {
		return nil, err
	}
	if roleID == "" {
		return nil, method.Invalid("missing role_id")
	}
	hash, err := d.hash(ctx, "role", roleID)
	if err != nil {
		return nil, err
	}
	name, err := method.Load[string](ctx, d.store, idPrefix+hash)
	if err != nil {
		return nil, err
	}
	// An unknown role costs the same work as a known one, so that neither the answer nor the time
	// reveals which role ids exist.
	unknown := name == nil
	if unknown {
		name = &hash
	}
	l := d.lock(*name)
	l.Lock()
	defer l.Unlock()
	x, err := method.Load[role](ctx, d.store, rolePrefix+*name)
	if err != nil {
		return nil, err
	}
	if unknown || x == nil || x.RoleID != roleID {
		x = &role{UUID: hash, BindSecretID: true} // has no secret ids
	}
	return d.admit(ctx, r, *name, x, secretID)
}

// refusal is the error for a client that has proven nothing. It does not depend on the role.
func refusal(secretID string) error {
	if secretID == "" {
		return method.Invalid("missing secret_id")
	}
	return errLogin
}

// admit checks the role's constraints. The caller holds its lock.
func (d *backend) admit(ctx context.Context, r *mount.Request, name string, x *role, secretID string) (*mount.Response,
	error) {
	meta := map[string]string{"role_name": name}
	networks := x.BoundCIDRs
	if x.BindSecretID {
		if secretID == "" {
			return nil, refusal(secretID)
		}
		s, err := d.spend(ctx, r, x, secretID)
		if err != nil {
			return nil, err
		}
		maps.Copy(meta, s.Meta)
		meta["role_name"] = name
		if len(s.TokenCIDRs) > 0 && subset(s.TokenCIDRs, x.BoundCIDRs) { // the role may be narrower now
			networks = s.TokenCIDRs
		}
	} else if !method.Within(x.SecretCIDRs, r.Remote) || !method.Within(networks, r.Remote) {
		return nil, refusal(secretID)
	}
	if !method.Within(networks, r.Remote) {
		return nil, method.ErrOutside
	}
	params := x.TokenParams
	params.BoundCIDRs = networks
	a := params.Login("", meta)
	return a, nil
}

func errOutside(remote string) error {
	host := remote
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		host = ap.Addr().String()
	}
	return method.Invalid("source address %q unauthorized through CIDR restrictions on the secret ID", host)
}

// spend takes one use of a secret id, in a commit before it has any effect.
func (d *backend) spend(ctx context.Context, r *mount.Request, x *role, id string) (*secret, error) {
	if len(id) > maxSecretID {
		return nil, errLogin
	}
	hash, err := d.secretHash(ctx, x, id)
	if err != nil {
		return nil, err
	}
	key := secretPrefix + x.UUID + "/" + hash
	s, err := method.Load[secret](ctx, d.store, key)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, errLogin
	case s.expired(d.now()):
		if err := d.removeSecret(ctx, key, s); err != nil {
			return nil, err
		}
		return nil, errLogin
	case !method.Within(s.CIDRs, r.Remote) || !method.Within(x.SecretCIDRs, r.Remote):
		return nil, errOutside(r.Remote)
	}
	switch s.Uses {
	case 0:
		return s, nil
	case 1:
		return s, d.removeSecret(ctx, key, s)
	}
	s.Uses--
	s.Updated = d.now()
	return s, method.Save(ctx, d.store, key, s)
}
