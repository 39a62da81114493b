package kubernetes

import (
	"context"
	"slices"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// role is a record: see [method.Marshal].
type role struct {
	Names      []string `json:"bound_service_account_names"`
	Namespaces []string `json:"bound_service_account_namespaces,omitempty"`
	Selector   string   `json:"bound_service_account_namespace_selector,omitempty"`
	Audience   string   `json:"audience,omitempty"`
	Alias      string   `json:"alias_name_source"`
	method.TokenParams
}

// roles are the records of roles.
var roles = method.Record[role]{
	What: "role name", Prefix: rolePrefix, New: func(string) *role { return &role{Alias: aliasUID} },
	Show: (*role).show, Read: (*role).read,
}

func (d *backend) role(ctx context.Context, r *mount.Request, name string) (*mount.Response, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	return roles.Handle(ctx, d.store, r, name)
}

func (x *role) show() map[string]any {
	data := x.Show(map[string]any{
		"bound_service_account_names": x.Names, "bound_service_account_namespaces": method.NotNil(x.Namespaces),
		"bound_service_account_namespace_selector": x.Selector, "alias_name_source": x.Alias,
	})
	if x.Audience != "" {
		data["audience"] = x.Audience
	}
	return data
}

// Sources of the name of an alias.
const (
	aliasUID  = "serviceaccount_uid"
	aliasName = "serviceaccount_name"
)

func (x *role) read(f field.Map) error {
	err := field.First(x.Read(f),
		f.Limits("bound_service_account_names", &x.Names), f.Limits("bound_service_account_namespaces", &x.Namespaces),
		f.Text("bound_service_account_namespace_selector", &x.Selector), f.Text("audience", &x.Audience),
		f.Text("alias_name_source", &x.Alias),
	)
	if err != nil {
		return err
	}
	if len(x.Names) == 0 {
		return method.Invalid(`"bound_service_account_names" can not be empty`)
	}
	if len(x.Namespaces) == 0 && x.Selector == "" {
		return method.Invalid(`"bound_service_account_namespaces" can not be empty if ` +
			`"bound_service_account_namespace_selector" is not set`)
	}
	for _, list := range [][]string{x.Names, x.Namespaces} {
		if len(list) > 1 && slices.Contains(list, "*") {
			return method.Invalid(`can not mix "*" with values`)
		}
	}
	if x.Selector != "" {
		if _, err := parseSelector(x.Selector); err != nil {
			return method.Invalid(`invalid "bound_service_account_namespace_selector" configured: give a JSON object with ` +
				`matchLabels or matchExpressions`)
		}
	}
	if x.Alias == "" {
		x.Alias = aliasUID
	}
	if x.Alias != aliasUID && x.Alias != aliasName {
		return method.Invalid("invalid alias_name_source, must be one of: serviceaccount_uid, serviceaccount_name")
	}
	return nil
}

// bound reports whether one of the patterns matches a name.
func bound(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return method.Glob(p, name) })
}
