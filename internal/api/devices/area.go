// Package devices answers for the keys in HSMs and cloud services: Vault's managed keys and
// OpenBao's external keys, two faces of one registry.
//
// It guarantees that a configuration is stored only after a round trip with its key, and that a
// secret of a configuration is never shown: not to the client that wrote it, either.
//
// Stays compatible: paths and members of Vault's sys/managed-keys and of OpenBao's
// sys/external-keys. The member health, allow_destroy_key, and the permissions of external keys are
// this program's.
package devices

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/keys/device"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: slices.Concat(managedRoutes, externalRoutes),
	Docs:   api.Merged(managedDocs, externalDocs),
}

// registry returns the role's registry.
func registry(q *api.Request) (*device.Registry, error) {
	if r := q.Role.Devices(); r != nil {
		return r, nil
	}
	return nil, fault.New(fault.NotFound, "1 error occurred:\n\t* unsupported path\n\n")
}

// flags are the permissions of an entry, as members of bodies and answers.
func flags(e *device.Entry) map[string]*bool {
	return map[string]*bool{
		"allow_generate_key": &e.AllowGenerate, "allow_replace_key": &e.AllowReplace, "allow_store_key": &e.AllowStore,
		"allow_destroy_key": &e.AllowDestroy, "any_mount": &e.AnyMount,
	}
}

// readEntry reads the members of a body that are not parameters.
func readEntry(f field.Map, defaults []device.Usage) (func(*device.Entry), error) {
	var e device.Entry
	var names []string
	errs := []error{f.Names("usages", &names)}
	for name, into := range flags(&e) {
		errs = append(errs, f.Flag(name, into))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	usages, err := device.ParseUsages(names)
	if err != nil {
		return nil, err
	}
	return func(to *device.Entry) {
		given := flags(&e)
		for name, into := range flags(to) {
			if f.Has(name) {
				*into = *given[name]
			}
		}
		if len(usages) > 0 {
			to.Usages = usages
		} else if len(to.Usages) == 0 {
			to.Usages = slices.Clone(defaults)
		}
	}, nil
}

// params are the members of a body that are not in skip.
func params(f field.Map, skip ...string) (device.Params, error) {
	p := device.Params{}
	for name := range f {
		if slices.Contains(skip, name) || !f.Has(name) {
			continue
		}
		var v string
		if err := f.Text(name, &v); err != nil {
			return nil, err
		}
		p[name] = v
	}
	return p, nil
}

var entryFields = []string{
	"usages", "allow_generate_key", "allow_replace_key", "allow_store_key", "allow_destroy_key", "any_mount", "name",
	"type",
}

var entryDocs = []api.DocField{
	{"usages", "list", "encrypt, decrypt, sign, verify, mac."},
	{"allow_generate_key", "boolean", "Keys may be made in the device: where it has none, and for each rotation."},
	{"allow_store_key", "boolean", "Keys may be imported into the device."},
	{"allow_destroy_key", "boolean", "Trimmed keys may be destroyed in the device."},
	{"allow_replace_key", "boolean", "The parameters may select another key later."},
	{"any_mount", "boolean", "Every mount may use it."},
}

// healthAnswer is the state of a key in its device.
type healthAnswer struct {
	State    string `json:"state"`
	Class    string `json:"class,omitempty"`
	Since    string `json:"since"`
	Checked  string `json:"checked,omitempty"`
	Deletion string `json:"deletion_date,omitempty"`
}

const stamp = "2006-01-02T15:04:05Z"

func describeHealth(r *device.Registry, label string) *healthAnswer {
	h, ok := r.Health(label)
	if !ok {
		return nil
	}
	a := &healthAnswer{State: h.Text(), Class: string(h.Class), Since: h.Since.UTC().Format(stamp)}
	if !h.Checked.IsZero() {
		a.Checked = h.Checked.UTC().Format(stamp)
	}
	if !h.Deletion.IsZero() {
		a.Deletion = h.Deletion.UTC().Format(stamp)
	}
	return a
}

// describe adds an entry to an answer.
func describe(r *device.Registry, e *device.Entry, into map[string]any) {
	for name, v := range e.Params {
		into[name] = v
	}
	for name, v := range flags(e) {
		into[name] = *v
	}
	into["usages"] = e.Usages
	if h := describeHealth(r, e.Label()); h != nil {
		into["health"] = h
	}
	if s := r.Leases(e.Label()); s.Count > 0 {
		into["leases"] = map[string]any{"count": s.Count, "first_end": s.First.UTC().Format(stamp)}
	}
}
