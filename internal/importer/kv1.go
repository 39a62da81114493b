package importer

import "context"

// kv1 copies a kv mount without versions.
func (r *run) kv1(ctx context.Context, mount string) error {
	return r.walk(ctx, "secret", mount, func(ctx context.Context, name string) error {
		item := Item{Kind: "secret", Path: mount + "/" + name}
		return r.settle(ctx, item, r.plainSecret(ctx, &item))
	})
}

func (r *run) plainSecret(ctx context.Context, item *Item) error {
	var want, have map[string]any
	found, err := r.from.read(ctx, item.Path, nil, &want)
	if err == nil && !found {
		err = left("the source lists it and does not show it")
	}
	if err != nil {
		return err
	}
	exists, err := r.to.read(ctx, item.Path, nil, &have)
	if err != nil {
		return err
	}
	item.Outcome = Created
	if exists {
		if equal(want, have) {
			item.Outcome = Same
			return nil
		}
		if err := r.clash("another content at the destination"); err != nil {
			return err
		}
		item.Outcome = Updated
	}
	if r.DryRun {
		return nil
	}
	return r.to.write(ctx, item.Path, want)
}
