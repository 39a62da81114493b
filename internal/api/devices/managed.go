package devices

import (
	"context"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys/device"
)

var managedRoutes = []api.Route{
	{Methods: api.Listing, Path: "sys/managed-keys/*", Folder: true, Capability: policy.List, Guarded: true,
		Handle: listManaged},
	{Methods: api.Get, Path: "sys/managed-keys/*", Capability: policy.Read, Guarded: true, Handle: readManaged},
	{Methods: api.Write, Path: "sys/managed-keys/*", Body: api.KeyBody, Capability: policy.Update, Guarded: true,
		Handle: writeManaged},
	{Methods: api.Remove, Path: "sys/managed-keys/*", Capability: policy.Delete, Guarded: true, Handle: removeManaged},
}

var managedDocs = map[string]api.Doc{
	"sys/managed-keys/*": {
		Text: "Configures, shows and removes a key in a device that transit mounts may use, as <type>/<name>; " +
			"<type>/<name>/test/sign makes a round trip with it.",
		Empty: true, Open: true, Body: slices.Concat([]api.DocField{
			{"library", "string", "pkcs11: the name of a kms_library stanza of the server's configuration."},
			{"token_label", "string", "pkcs11"}, {"token_serial", "string", "pkcs11"}, {"slot", "string", "pkcs11"},
			{"pin", "string", "pkcs11: write-only."}, {"key_label", "string", "pkcs11"},
			{"key_id", "string", "pkcs11: in hexadecimal."},
			{"mechanism", "string", "pkcs11: what kind of key is made, such as 0x1087."},
			{"key_bits", "string", "Of a key that is made."}, {"curve", "string", "Of a key that is made."},
		}, entryDocs),
	},
}

// managedName splits the rest of a path.
func managedName(q *api.Request) (kind, name, action string) {
	kind, rest, _ := strings.Cut(strings.Trim(q.Rest, "/"), "/")
	name, action, _ = strings.Cut(rest, "/")
	return kind, name, action
}

var errPath = fault.New(fault.NotFound, "1 error occurred:\n\t* unsupported path\n\n")

func listManaged(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	kind, name, _ := managedName(q)
	if name != "" {
		return nil, errPath
	}
	return api.List(r.Names(ctx, device.Managed, kind+"/"))
}

func readManaged(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	kind, name, action := managedName(q)
	if name == "" || action != "" {
		return nil, errPath
	}
	e, ok, err := r.Entry(ctx, device.Managed, kind+"/"+name)
	if err != nil || !ok {
		return nil, err
	}
	a := map[string]any{"name": e.Name, "type": e.Type, "UUID": e.ID}
	describe(r, &e, a)
	return api.Show(a)
}

func writeManaged(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	kind, name, action := managedName(q)
	switch {
	case name == "" || action != "" && action != "test/sign":
		return nil, errPath
	case action != "":
		if err := r.Test(ctx, device.Managed, kind+"/"+name); err != nil {
			return nil, err
		}
		return api.Done()
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	change, err := readEntry(data, device.DefaultUsages())
	if err != nil {
		return nil, err
	}
	p, err := params(data, entryFields...)
	if err != nil {
		return nil, err
	}
	err = r.Write(ctx, device.Entry{Face: device.Managed, Type: kind, Name: name},
		device.Change{Given: p, Entry: change})
	if err != nil {
		return nil, err
	}
	return api.Done()
}

func removeManaged(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := registry(q)
	if err != nil {
		return nil, err
	}
	kind, name, action := managedName(q)
	if name == "" || action != "" {
		return nil, errPath
	}
	if err := r.Remove(ctx, device.Managed, kind+"/"+name); err != nil {
		return nil, err
	}
	return api.Done()
}
