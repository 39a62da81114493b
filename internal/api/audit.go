package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

var auditRoutes = []route{
	{Methods: get, Path: "sys/audit", Capability: policy.Read, Sudo: true, Style: doubleStyle, Here: true,
		Handle: (*handler).auditDevices},
	{Methods: write, Path: "sys/audit/*", Body: smallBody, Capability: policy.Update, Sudo: true, Style: doubleStyle,
		Audit: auditDevices, Handle: (*handler).enableAudit},
	{Methods: remove, Path: "sys/audit/*", Capability: policy.Delete, Sudo: true, Style: doubleStyle,
		Audit: auditDevices, Handle: (*handler).disableAudit},
	{Methods: write, Path: "sys/audit-hash/*", Body: anyBody, Capability: policy.Update, Style: doubleStyle,
		Guarded: true, Handle: (*handler).auditHash},
	{Methods: get, Path: "sys/config/auditing/request-headers", Capability: policy.Read, Sudo: true,
		Style: doubleStyle, Here: true, Handle: (*handler).auditedHeaders},
	{Methods: get, Path: "sys/config/auditing/request-headers/*", Capability: policy.Read, Sudo: true,
		Style: doubleStyle, Here: true, Handle: (*handler).auditedHeader},
	{Methods: write, Path: "sys/config/auditing/request-headers/*", Body: smallBody, Capability: policy.Update,
		Sudo: true, Style: doubleStyle, Handle: (*handler).auditHeader},
	{Methods: remove, Path: "sys/config/auditing/request-headers/*", Capability: policy.Delete, Sudo: true,
		Style: doubleStyle, Handle: (*handler).unauditHeader},
}

var errNoTrail = fault.New(fault.Unsupported, "this server was started without an audit trail")

// change makes a change of the trail, and gives its errors the words that clients know.
func (h *handler) changeTrail(f func(*audit.Trail) error) (*answer, error) {
	if h.Trail == nil {
		return nil, errNoTrail
	}
	err := f(h.Trail)
	if errors.Is(err, audit.ErrSealed) {
		return nil, fault.Wrap(err, fault.Sealed, textSealed)
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
func (h *handler) auditDevices(context.Context, *request) (*answer, error) {
	all := map[string]deviceAnswer{}
	if h.Trail != nil {
		for _, c := range h.Trail.List() {
			all[c.Path] = deviceAnswer{c.Description, c.Local, c.Options, c.Path, c.Type}
		}
	}
	return shown(all)
}

func (h *handler) enableAudit(ctx context.Context, q *request) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	f := field.Map(data)
	c := audit.Config{Path: q.rest}
	if c.Options, err = f.Texts("options"); err != nil {
		return nil, err
	}
	for _, err := range []error{f.Text("type", &c.Type), f.Text("description", &c.Description), f.Flag("local", &c.Local)} {
		if err != nil {
			return nil, err
		}
	}
	return h.changeTrail(func(t *audit.Trail) error { return t.Enable(ctx, c) })
}

func (h *handler) disableAudit(ctx context.Context, q *request) (*answer, error) {
	return h.changeTrail(func(t *audit.Trail) error { return t.Disable(ctx, q.rest) })
}

// auditHash tells by which name a device's entries have a value.
func (h *handler) auditHash(_ context.Context, q *request) (*answer, error) {
	data, err := q.object()
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
	path, err := audit.CleanPath(q.rest)
	if err != nil {
		return nil, err
	}
	if h.Trail != nil {
		if hash, ok := h.Trail.Hash(path, input); ok {
			return shown(map[string]string{"hash": hash})
		}
	}
	return nil, fault.New(fault.Invalid, "unknown audit backend %q", path)
}

type headerAnswer struct {
	HMAC bool `json:"hmac"`
}

func (h *handler) headerConfig() map[string]headerAnswer {
	all := map[string]headerAnswer{}
	if h.Trail != nil {
		for name, hmac := range h.Trail.HeaderConfig() {
			all[name] = headerAnswer{hmac}
		}
	}
	return all
}

func (h *handler) auditedHeaders(context.Context, *request) (*answer, error) {
	return shown(map[string]any{"headers": h.headerConfig()})
}

func (h *handler) auditedHeader(_ context.Context, q *request) (*answer, error) {
	name := strings.ToLower(q.rest)
	one, ok := h.headerConfig()[name]
	if !ok {
		return nil, fault.New(fault.Invalid, "Could not find header in config")
	}
	return shown(map[string]headerAnswer{http.CanonicalHeaderKey(name): one})
}

func (h *handler) auditHeader(ctx context.Context, q *request) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	var hmac bool
	if err := field.Map(data).Flag("hmac", &hmac); err != nil {
		return nil, err
	}
	return h.changeTrail(func(t *audit.Trail) error { return t.SetHeader(ctx, q.rest, hmac) })
}

func (h *handler) unauditHeader(ctx context.Context, q *request) (*answer, error) {
	return h.changeTrail(func(t *audit.Trail) error { return t.RemoveHeader(ctx, q.rest) })
}
