package devices

import (
	"context"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
)

var externalRoutes = []api.Route{
	{Methods: api.Listing, Path: "sys/external-keys/configs", Capability: policy.List, Guarded: true,
		Handle: listExternal},
	{Methods: api.Listing, Path: "sys/external-keys/configs/*", Folder: true, Capability: policy.List, Guarded: true,
		Handle: listExternal},
	{Methods: api.Get, Path: "sys/external-keys/configs/*", Capability: policy.Read, Guarded: true, Handle: readExternal},
	{Methods: api.Write, Path: "sys/external-keys/configs/*", Body: api.KeyBody, Capability: policy.Update, Guarded: true,
		Handle: writeExternal},
	{Methods: []string{"PATCH"}, Path: "sys/external-keys/configs/*", Body: api.KeyBody, Capability: policy.Patch,
		Guarded: true, Handle: patchExternal},
	{Methods: api.Remove, Path: "sys/external-keys/configs/*", Capability: policy.Delete, Guarded: true,
		Handle: removeExternal},
}

var externalDocs = map[string]api.Doc{
	"sys/external-keys/configs": {Text: "Lists the configurations of external keys."},
	"sys/external-keys/configs/*": {
		Text: "Configures, shows and removes a device or service as <config>, its keys as <config>/keys/<key>, and the " +
			"mounts that may use a key as <config>/keys/<key>/grants/<mount>.",
		Empty: true, Open: true, Body: slices.Concat([]api.DocField{
			{"plugin", "string", "Of a configuration: the type of the device or service."},
		}, entryDocs),
	},
}

// place is the object that a path below configs/ names.
type place struct {
	config, key, mount string
	list               string // "configs", "keys" or "grants": what a list lists
}

// parsePlace reads "<config>[/keys[/<key>[/grants[/<mount>]]]]".
func parsePlace(q *api.Request) (p place, err error) {
	rest := strings.Trim(q.Rest, "/")
	p.list = "configs"
	for _, part := range []struct {
		into *string
		next string
	}{{&p.config, "keys"}, {&p.key, "grants"}} {
		if rest == "" {
			return p, nil
		}
		*part.into, rest, _ = strings.Cut(rest, "/")
		if p.list = ""; rest == "" {
			return p, nil
		}
		var word string
		if word, rest, _ = strings.Cut(rest, "/"); word != part.next {
			return p, errPath
		}
		p.list = part.next
	}
	if rest != "" {
		p.mount, err = mount.CleanPath(rest)
		p.list = ""
	}
	return p, err
}

func (p place) label() string { return p.config + ":" + p.key }

func listExternal(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	p, err := parsePlace(q)
	if err != nil {
		return nil, err
	}
	switch p.list {
	case "configs":
		return api.List(r.Configs(ctx))
	case "keys":
		return api.List(r.Names(ctx, device.External, p.config+":"))
	case "grants":
		e, _, err := r.Entry(ctx, device.External, p.label())
		return api.List(e.Mounts, err)
	}
	return nil, errPath
}

func readExternal(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	p, err := parsePlace(q)
	if err != nil {
		return nil, err
	}
	a := map[string]any{}
	if p.key == "" {
		c, ok, err := r.Config(ctx, p.config)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, fault.New(fault.Invalid, "config %q not found", p.config)
		case p.list != "":
			return nil, errPath
		}
		for name, v := range c.Params {
			a[name] = v
		}
		a["plugin"] = c.Type
		return api.Show(a)
	}
	e, ok, err := r.Entry(ctx, device.External, p.label())
	switch {
	case err != nil:
		return nil, err
	case !ok || p.mount != "" && !slices.Contains(e.Mounts, p.mount):
		return nil, nil
	case p.mount != "":
		return api.Show(a)
	case p.list != "":
		return nil, errPath
	}
	describe(r, &e, a)
	delete(a, "any_mount")
	return api.Show(a)
}

func writeExternal(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	if strings.HasSuffix(q.Rest, "/") {
		return nil, fault.New(fault.Invalid, "cannot write to a path ending in '/'")
	}
	return changeExternal(ctx, q, true)
}

func patchExternal(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := q.CheckPatchType(); err != nil {
		return nil, err
	}
	return changeExternal(ctx, q, false)
}

// changeExternal writes what the path names. replace removes parameters that are not given.
func changeExternal(ctx context.Context, q *api.Request, replace bool) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	p, err := parsePlace(q)
	if err == nil && p.list != "" {
		err = errPath
	}
	if err != nil {
		return nil, err
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	f := field.Map(data)
	switch {
	case p.mount != "":
		m, _ := q.Role.Mounts().Get(p.mount) // OpenBao accepts a mount that does not exist yet
		err = r.Grant(ctx, p.label(), p.mount, m.UUID)
	case p.key != "":
		err = writeExternalKey(ctx, r, p, f, replace)
	default:
		err = writeConfig(ctx, r, p.config, f, replace)
	}
	if err != nil {
		return nil, err
	}
	return api.Done()
}

func writeConfig(ctx context.Context, r *device.Registry, name string, f field.Map, replace bool) error {
	var kind string
	if err := f.Text("plugin", &kind); err != nil {
		return err
	}
	if kind == "" && replace {
		return fault.New(fault.Invalid, `missing required field "plugin"`)
	}
	given, err := params(f, "plugin")
	if err != nil {
		return err
	}
	return r.WriteConfig(ctx, name, kind, device.Change{Given: given, Replace: replace})
}

func writeExternalKey(ctx context.Context, r *device.Registry, p place, f field.Map, replace bool) error {
	change, err := readEntry(f, nil)
	if err != nil {
		return err
	}
	skip := slices.DeleteFunc(slices.Clone(entryFields), func(name string) bool { return name == "name" })
	given, err := params(f, skip...)
	if err != nil {
		return err
	}
	return r.Write(ctx, device.Entry{Face: device.External, Config: p.config, Name: p.key},
		device.Change{Given: given, Replace: replace, Entry: change})
}

func removeExternal(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	p, err := parsePlace(q)
	if err == nil && p.list != "" {
		err = errPath
	}
	if err != nil {
		return nil, err
	}
	switch {
	case p.mount != "":
		err = r.Withdraw(ctx, p.label(), p.mount)
	case p.key != "":
		err = r.Remove(ctx, device.External, p.label())
	default:
		err = r.RemoveConfig(ctx, p.config)
	}
	if err != nil {
		return nil, err
	}
	return api.Done()
}
