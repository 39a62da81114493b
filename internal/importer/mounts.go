package importer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mountEntry is an entry of sys/mounts or sys/auth.
type mountEntry struct {
	Type        string            `json:"type"`
	Description string            `json:"description"`
	UUID        string            `json:"uuid"`
	Local       bool              `json:"local"`
	SealWrap    bool              `json:"seal_wrap"`
	Options     map[string]string `json:"options"`
	Config      map[string]any    `json:"config"`
}

// version returns the version of a kv mount, "1" or "2".
func (m mountEntry) version() string {
	if m.Type == "kv" && m.Options["version"] == "2" {
		return "2"
	}
	return "1"
}

var (
	// builtIn are mounts of every server. Their content is not data, or is copied by steps of its own.
	builtIn = []string{"system", "ns_system", "identity", "ns_identity", "cubbyhole", "ns_cubbyhole", "token", "ns_token"}

	engineTypes = []string{"kv", "generic", "transit"}
	methodTypes = slices.Sorted(maps.Keys(methodContent))
)

// engines copies the secrets engines.
func engines(r *run, ctx context.Context) error {
	return r.mounts(ctx, "sys/mounts", "mount", engineTypes, func(ctx context.Context, path string, m mountEntry) error {
		switch {
		case m.Type == "transit":
			return r.transit(ctx, path)
		case m.version() == "2":
			return r.kv2(ctx, path)
		}
		return r.kv1(ctx, path)
	})
}

// mounts makes the mounts of a table, and brings the content of each over. What is not kept of a
// mount is its accessor and its UUID.
func (r *run) mounts(ctx context.Context, table, kind string, types []string,
	content func(context.Context, string, mountEntry) error,
) error {
	want, err := r.from.table(ctx, table)
	if err != nil {
		return r.settle(ctx, Item{Kind: kind, Path: table}, err)
	}
	have, err := r.to.table(ctx, table)
	if err != nil {
		return r.settle(ctx, Item{Kind: kind, Path: table}, err)
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		m := want[path]
		if slices.Contains(builtIn, m.Type) {
			continue
		}
		item := Item{Kind: kind, Path: path, Outcome: Left}
		if !slices.Contains(types, m.Type) {
			item.Reason = fmt.Sprintf("Sealgate has no %s of the type %.40q", kind, m.Type)
			r.add(item)
			continue
		}
		if err := checkPath(path); err != nil {
			item.Reason = err.Error()
			r.add(item)
			continue
		}
		r.say("%s %s (%s)", kind, path, m.Type)
		old, exists := have[path]
		usable, err := r.mount(ctx, table, m, old, exists, &item)
		if err := r.settle(ctx, item, err); err != nil {
			return err
		}
		if usable {
			if err := content(ctx, strings.TrimSuffix(path, "/"), m); err != nil {
				return err
			}
		}
	}
	return nil
}

// mount makes one mount, or compares its settings. usable reports whether its content can be
// copied.
func (r *run) mount(ctx context.Context, table string, m, old mountEntry, exists bool, item *Item) (usable bool,
	err error,
) {
	at := table + "/" + strings.TrimSuffix(item.Path, "/")
	config := maps.Clone(m.Config)
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	item.Outcome = Created
	if !exists {
		if !r.DryRun {
			err = r.to.write(ctx, at, map[string]any{"type": m.Type, "description": m.Description, "local": m.Local,
				"seal_wrap": m.SealWrap, "options": m.Options, "config": filled(config)})
		}
		return err == nil, err
	}
	if old.Type != m.Type || old.version() != m.version() {
		item.Outcome = Differs
		return false, differs("the destination has a mount of another type or version there (%s): nothing of it was brought",
			old.Type)
	}
	fields := differing(config, old.Config)
	if m.Description != old.Description {
		fields = append(fields, "description")
	}
	if len(fields) == 0 {
		item.Outcome = Same
		return true, nil
	}
	err = r.clash("other settings at the destination: %s; its content is brought", strings.Join(fields, ", "))
	if err != nil {
		return true, err
	}
	item.Outcome = Updated
	if !r.DryRun {
		config["description"] = m.Description
		err = r.to.write(ctx, at+"/tune", config)
	}
	return true, err
}

// filled drops what is no more than a default.
func filled(config map[string]any) map[string]any {
	maps.DeleteFunc(config, func(_ string, v any) bool { return blank(v) })
	return config
}

// others reports what is never brought over, so that nobody takes a clean report for a complete
// copy.
func others(r *run, ctx context.Context) error {
	for _, o := range []struct{ kind, path, reason string }{
		{"namespace", "sys/namespaces", "run the import again with -source-namespace for its content"},
		{"identity", "identity/entity/id", "Sealgate has no identity entities: policies of entities do not apply"},
		{"identity", "identity/group/id", "Sealgate has no identity groups: policies of groups do not apply"},
		{"quota", "sys/quotas/rate-limit", "quotas are not brought over: set them at the destination"},
	} {
		names, err := r.from.list(ctx, o.path)
		if err != nil && !itemOnly(err) {
			return err
		}
		if len(names) > 0 { // a refusal: the endpoint is missing, or the token may not ask
			r.add(Item{Kind: o.kind, Path: o.path, Outcome: Left, Reason: fmt.Sprintf("%d of them: %s", len(names), o.reason)})
		}
	}
	var devices map[string]any
	if _, err := r.from.read(ctx, "sys/audit", nil, &devices); err != nil && !itemOnly(err) {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(devices)) {
		r.add(Item{Kind: "audit device", Path: path, Outcome: Left,
			Reason: "audit devices are not brought over: enable them at the destination"})
	}
	return nil
}
