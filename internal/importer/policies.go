package importer

import (
	"context"
	"slices"
	"strings"
)

// policies copies the ACL policies. root is built in; default is compared by its rules, because
// every server words it in its own way.
func policies(r *run, ctx context.Context) error {
	const path = "sys/policies/acl"
	names, err := r.from.list(ctx, path)
	if err != nil {
		return r.settle(ctx, Item{Kind: "policy", Path: path}, err)
	}
	r.say("%d policies", len(names))
	for _, name := range names {
		if name == "root" {
			continue
		}
		if err := checkPath(name); err != nil {
			r.add(Item{Kind: "policy", Path: path + "/" + name, Outcome: Left, Reason: err.Error()})
			continue
		}
		d := document{kind: "policy", path: path + "/" + name, drop: []string{"name", "version", "modified"}}
		if name == "default" {
			d.alike = func(want, have map[string]any) bool { return sameRules(want["policy"], have["policy"]) }
		}
		if err := r.copyDocument(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func passwordPolicies(r *run, ctx context.Context) error {
	return r.folder(ctx, "sys/policies/password", document{kind: "password policy"})
}

// sameRules compares policies without their comments, white space and order.
func sameRules(a, b any) bool {
	ta, ok1 := a.(string)
	tb, ok2 := b.(string)
	return ok1 && ok2 && slices.Equal(rules(ta), rules(tb))
}

func rules(policy string) []string {
	var b strings.Builder
	for line := range strings.Lines(policy) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "//") {
			b.WriteString(line)
		}
	}
	all := strings.Split(strings.Join(strings.Fields(b.String()), ""), "path\"")
	slices.Sort(all)
	return all
}
