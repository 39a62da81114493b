package operate

import (
	"context"
	"errors"
	"net/http"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

var auditRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/audit", Capability: policy.Read, Sudo: true, Style: api.DoubleStyle, Here: true,
		Handle: auditDevices},
	{Methods: api.Write, Path: "sys/audit/*", Folder: true, Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Style: api.DoubleStyle,
		Audit: api.AuditDevices, Handle: enableAudit},
	{Methods: api.Remove, Path: "sys/audit/*", Folder: true, Capability: policy.Delete, Sudo: true, Style: api.DoubleStyle,
		Audit: api.AuditDevices, Handle: disableAudit},
	{Methods: api.Write, Path: "sys/audit-hash/*", Body: api.AnyBody, Capability: policy.Update, Style: api.DoubleStyle,
		Guarded: true, Handle: auditHash},
	{Methods: api.Get, Path: "sys/config/auditing/request-headers", Capability: policy.Read, Sudo: true,
		Style: api.DoubleStyle, Here: true, Handle: auditedHeaders},
	{Methods: api.Get, Path: "sys/config/auditing/request-headers/*", Fold: true, Capability: policy.Read, Sudo: true,
		Style: api.DoubleStyle, Here: true, Handle: auditedHeader},
	{Methods: api.Write, Path: "sys/config/auditing/request-headers/*", Fold: true, Body: api.SmallBody,
		Capability: policy.Update,
		Sudo:       true, Style: api.DoubleStyle, Handle: auditHeader},
	{Methods: api.Remove, Path: "sys/config/auditing/request-headers/*", Fold: true, Capability: policy.Delete, Sudo: true,
		Style: api.DoubleStyle, Handle: unauditHeader},
}

var errNoTrail = fault.New(fault.Unsupported, "this server was started without an audit trail")

// changeTrail changes the audit trail, and gives its errors the texts that clients know.
func changeTrail(h *api.Handler, f func(*audit.Trail) error) (*api.Answer, error) {
	if h.Trail == nil {
		return nil, errNoTrail
	}
	err := f(h.Trail)
	if errors.Is(err, audit.ErrSealed) {
		return nil, fault.Wrap(err, fault.Sealed, api.TextSealed)
	}
	return nil, err
}

type deviceAnswer struct {
	Description string            `json:"description"`
	Local       bool              `json:"local"`
	Options     map[string]string `json:"options"`
	Path        string            `json:"path"`
	Type        string            `json:"type"`
}

// auditDevices lists the devices by path.
func auditDevices(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	all := map[string]deviceAnswer{}
	if h.Trail != nil {
		for _, c := range h.Trail.List() {
			all[c.Path] = deviceAnswer{c.Description, c.Local, c.Options, c.Path, c.Type}
		}
	}
	return api.Show(all)
}

func enableAudit(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	f := field.Map(data)
	c := audit.Config{Path: q.Rest}
	if c.Options, err = f.Texts("options"); err != nil {
		return nil, err
	}
	for _, err := range []error{f.Text("type", &c.Type), f.Text("description", &c.Description),
		f.Flag("local", &c.Local)} {
		if err != nil {
			return nil, err
		}
	}
	return changeTrail(h, func(t *audit.Trail) error { return t.Enable(ctx, c) })
}

func disableAudit(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return changeTrail(h, func(t *audit.Trail) error { return t.Disable(ctx, q.Rest) })
}

// auditHash returns what a value looks like in a device's entries.
func auditHash(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var input string
	if err := field.Map(data).Text("input", &input); err != nil {
		return nil, err
	}
	if input == "" {
		return nil, fault.New(fault.Invalid, "the \"input\" parameter is empty")
	}
	path, err := audit.CleanPath(q.Rest)
	if err != nil {
		return nil, err
	}
	if h.Trail != nil {
		if hash, ok := h.Trail.Hash(path, input); ok {
			return api.Show(map[string]string{"hash": hash})
		}
	}
	return nil, fault.New(fault.Invalid, "unknown audit backend %q", path)
}

type headerAnswer struct {
	HMAC bool `json:"hmac"`
}

func headerConfig(h *api.Handler) map[string]headerAnswer {
	all := map[string]headerAnswer{}
	if h.Trail != nil {
		for name, hmac := range h.Trail.HeaderConfig() {
			all[name] = headerAnswer{hmac}
		}
	}
	return all
}

func auditedHeaders(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	return api.Show(map[string]any{"headers": headerConfig(h)})
}

func auditedHeader(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	name := q.Rest
	one, ok := headerConfig(h)[name]
	if !ok {
		return nil, fault.New(fault.Invalid, "Could not find header in config")
	}
	return api.Show(map[string]headerAnswer{http.CanonicalHeaderKey(name): one})
}

func auditHeader(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var hmac bool
	if err := field.Map(data).Flag("hmac", &hmac); err != nil {
		return nil, err
	}
	return changeTrail(h, func(t *audit.Trail) error { return t.SetHeader(ctx, q.Rest, hmac) })
}

func unauditHeader(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return changeTrail(h, func(t *audit.Trail) error { return t.RemoveHeader(ctx, q.Rest) })
}
