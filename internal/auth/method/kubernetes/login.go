package kubernetes

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

const maxToken = 64 << 10

// denied refuses a login without a reason for the client, which may be anybody; the cause is for
// the log.
func denied(cause error) error { return fault.Wrap(cause, fault.Denied, "permission denied") }

// forbidden refuses a login with a reason.
func forbidden(text string) error { return fault.New(fault.Denied, "%s", text) }

func (d *backend) login(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	var name, token string
	f := field.Map(r.Data)
	if err := field.First(f.Text("role", &name), f.Text("jwt", &token)); err != nil {
		return nil, err
	}
	switch {
	case name == "":
		return nil, method.Invalid("missing role")
	case token == "":
		return nil, method.Invalid("missing jwt")
	case len(token) > maxToken:
		return nil, method.Invalid("the token has %d bytes; at most %d are accepted", len(token), maxToken)
	}
	x, err := method.Load[role](ctx, d.store, rolePrefix+strings.ToLower(name))
	if err != nil {
		return nil, err
	}
	if x == nil {
		return nil, method.Invalid("invalid role name %q", name)
	}
	if !method.Within(x.BoundCIDRs, r.Remote) {
		return nil, method.ErrOutside
	}
	c, err := method.Load[settings](ctx, d.store, configKey)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fault.New(fault.Internal, "could not load backend configuration: write auth/.../config first")
	}
	account, err := d.admitted(ctx, c, x, token)
	if err != nil {
		return nil, err
	}
	return x.Login(account.namespace+"-"+account.name, map[string]string{
		"role": name, "service_account_name": account.name, "service_account_namespace": account.namespace,
		"service_account_uid": account.uid, "service_account_secret_name": account.secret,
	}), nil
}

// admitted returns the service account of a token that the role admits and the API server accepts.
// The claims are checked first, so that most wrong tokens cost no request; the review decides.
func (d *backend) admitted(ctx context.Context, c *settings, x *role, token string) (*account, error) {
	claims, err := c.parse(token)
	if err != nil {
		return nil, denied(err)
	}
	if err := claims.check(c, x.Audience, d.now()); err != nil {
		return nil, err
	}
	a := claims.account()
	if !bound(x.Names, a.name) {
		return nil, forbidden("service account name not authorized")
	}
	server, err := d.server(c)
	if err != nil {
		return nil, err
	}
	if !bound(x.Namespaces, a.namespace) {
		if err := server.selects(ctx, x.Selector, a.namespace); err != nil {
			return nil, err
		}
	}
	audiences := claims.Audience
	if x.Audience != "" {
		audiences = []string{x.Audience}
	}
	status, err := server.review(ctx, token, audiences)
	if err != nil {
		return nil, err
	}
	switch {
	case !status.Authenticated || status.Error != "":
		return nil, denied(errors.New("the API server does not accept the token: it is expired, for another audience, or " +
			"of a deleted service account or pod"))
	case a.name == "" || a.namespace == "" || a.uid == "":
		return nil, denied(errors.New("the token lacks the name, namespace or UID of a service account"))
	case status.User.Username != "system:serviceaccount:"+a.namespace+":"+a.name || status.User.UID != a.uid:
		return nil, denied(errors.New("the API server names another account than the token"))
	case x.Audience != "" && !slices.Contains(status.Audiences, x.Audience):
		return nil, denied(errors.New("the API server does not confirm the audience of the role"))
	}
	return &a, nil
}
