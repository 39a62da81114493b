package importer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// document is an object with settings that one path reads and writes: a role, a policy.
type document struct {
	kind string
	path string // at both servers
	drop []string
	// given is set for settings that a mount always has: with default values alone they count as
	// absent.
	given bool
	// hidden adds fields that a write needs and that the document does not show. It is called for a
	// document that is made, and not for one that is replaced.
	hidden func(ctx context.Context, fields map[string]any) (notes []string, err error)
	// always are notes of what reading does not show, from the fields of the source.
	always func(fields map[string]any) []string
	alike  func(want, have map[string]any) bool // nil: by [differing]
}

// copyDocument brings one document over.
func (r *run) copyDocument(ctx context.Context, d document) error {
	item := Item{Kind: d.kind, Path: d.path}
	err := r.tryDocument(ctx, d, &item)
	return r.settle(ctx, item, err)
}

func (r *run) tryDocument(ctx context.Context, d document, item *Item) error {
	if err := checkPath(d.path); err != nil {
		return left("%v", err)
	}
	want := map[string]any{}
	found, err := r.from.read(ctx, d.path, nil, &want)
	if err != nil || !found {
		if err == nil {
			err = left("the source lists it and does not show it")
		}
		return err
	}
	if d.always != nil {
		item.Notes = d.always(want)
	}
	maps.DeleteFunc(want, func(name string, v any) bool { return v == nil || slices.Contains(d.drop, name) })
	have := map[string]any{}
	exists, err := r.to.read(ctx, d.path, nil, &have)
	if err != nil {
		return err
	}
	item.Outcome = Created
	if d.given && allBlank(have) {
		exists = allBlank(want)
	}
	if exists {
		fields := differing(want, have)
		if len(fields) == 0 || d.alike != nil && d.alike(want, have) {
			item.Outcome = Same
			return nil
		}
		if err := r.clash("other values at the destination: %s", strings.Join(fields, ", ")); err != nil {
			return err
		}
		item.Outcome = Updated
	}
	if r.DryRun {
		return nil
	}
	sent := maps.Clone(want)
	if d.hidden != nil && !exists {
		notes, err := d.hidden(ctx, sent)
		if err != nil {
			return err
		}
		item.Notes = append(item.Notes, notes...)
	}
	if err := r.to.write(ctx, d.path, sent); err != nil {
		return err
	}
	return r.verifyDocument(ctx, d, want, item)
}

func allBlank(fields map[string]any) bool {
	for _, v := range fields {
		if !blank(v) {
			return false
		}
	}
	return true
}

// verifyDocument reads back what was written, and notes what the destination does not keep.
func (r *run) verifyDocument(ctx context.Context, d document, want map[string]any, item *Item) error {
	have := map[string]any{}
	if found, err := r.to.read(ctx, d.path, nil, &have); err != nil || !found {
		if err == nil {
			err = fmt.Errorf("the destination does not show what was written: %w", &Refusal{Code: 404})
		}
		return err
	}
	if fields := differing(want, have); len(fields) > 0 && (d.alike == nil || !d.alike(want, have)) {
		item.Notes = append(item.Notes, "the destination keeps other values of "+strings.Join(fields, ", "))
	}
	return nil
}

// folder copies every document below a path.
func (r *run) folder(ctx context.Context, path string, d document) error {
	names, err := r.from.list(ctx, path)
	if err != nil {
		return r.settle(ctx, Item{Kind: d.kind, Path: path}, err)
	}
	for _, name := range names {
		d.path = path + "/" + name
		if err := checkName(name); err != nil {
			r.add(Item{Kind: d.kind, Path: d.path, Outcome: Left, Reason: err.Error()})
			continue
		}
		if err := r.copyDocument(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
