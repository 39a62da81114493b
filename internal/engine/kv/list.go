package kv

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// keys is the body of a list response.
type keys struct {
	KeyInfo map[string]json.RawMessage `json:"key_info,omitempty"`
	Keys    []string                   `json:"keys"`
}

// page is the requested part of a list.
type page struct {
	after string
	limit int // unlimited if not positive
}

func readPage(r *mount.Request) (p page, err error) {
	if r.Query == nil {
		return p, nil
	}
	p.after = r.Query.Get("after")
	if text := r.Query.Get("limit"); text != "" {
		if p.limit, err = strconv.Atoi(text); err != nil {
			return p, fault.New(fault.Invalid, `"limit" must be a number: the maximum number of names to list`)
		}
	}
	return p, nil
}

// lister lists a folder as [storage.Store] does.
type lister func(ctx context.Context, folder, after string, limit int) ([]string, error)

// Bounds of a list: without them a token that may list a large folder could use all memory.
const (
	listPage  = 10_000   // names that one call of the storage returns
	listBytes = 64 << 20 // of all names: about two million of 16 bytes
	nameBytes = 16       // of a name beside its text
)

var errLongList = fault.New(fault.Invalid,
	"the list is longer than 64 MiB; read it in pages, with the parameters limit and after")

// collected are the names of a list.
type collected struct {
	names []string
	bytes int
}

func (c *collected) add(names ...string) error {
	for _, name := range names {
		c.bytes += len(name) + nameBytes
	}
	if c.bytes > listBytes {
		return errLongList
	}
	c.names = append(c.names, names...)
	return nil
}

// names lists a folder. One whose name cannot be a key is empty.
func (l lister) names(ctx context.Context, folder string, p page) ([]string, error) {
	var all collected
	for after := p.after; ; {
		most := listPage
		if p.limit > 0 {
			most = min(most, p.limit-len(all.names))
		}
		names, err := l(ctx, folder, after, most)
		if errors.Is(err, storage.ErrInvalidKey) {
			return nil, nil
		}
		if err == nil {
			err = all.add(names...)
		}
		if err != nil || len(names) < most || len(all.names) == p.limit {
			return all.names, err
		}
		after = names[len(names)-1]
	}
}

// treePage is how many names of a folder a scan holds at a time, beside its result.
const treePage = 1000

// tree lists everything below a folder, as relative paths in byte order of folders and names. It
// reads no more of a folder than it returns.
func (l lister) tree(ctx context.Context, folder string, p page) ([]string, error) {
	var all collected
	full := func() bool { return p.limit > 0 && len(all.names) == p.limit }
	most := treePage
	if p.limit > 0 {
		most = min(most, p.limit)
	}
	var walk func(below string) error
	walk = func(below string) error {
		from := ""
		if rest, ok := strings.CutPrefix(p.after, below); ok {
			from, _, _ = strings.Cut(rest, "/") // its folder, if there is one, comes after this name
		}
		for {
			names, err := l.names(ctx, folder+below, page{from, most})
			if err != nil {
				return err
			}
			for _, name := range names {
				path := below + name
				switch {
				case full():
					return nil
				case strings.HasSuffix(name, "/"):
					if path > p.after || strings.HasPrefix(p.after, path) {
						if err := walk(path); err != nil {
							return err
						}
					}
				case path > p.after:
					if err := all.add(path); err != nil {
						return err
					}
				}
			}
			if len(names) < most || full() {
				return nil
			}
			from = names[len(names)-1]
		}
	}
	err := walk("")
	return all.names, err
}

func shownKeys(names []string, err error) (*mount.Response, error) {
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return &mount.Response{Data: keys{Keys: names}}, nil
}

// folder lists the secrets, including those that an upgrade has not moved yet. It lists the unmoved
// ones first: one that is moved meanwhile is seen twice and merged, but never missed.
func (d *versioned) folder(ctx context.Context, folder, after string, limit int) ([]string, error) {
	up, err := d.upgrading(ctx)
	if err != nil {
		return nil, err
	}
	var old []string
	if !up.done {
		if old, err = d.store.List(ctx, entries+folder, after, limit); err != nil {
			return nil, err
		}
	}
	names, err := d.store.List(ctx, secretsPrefix+folder, after, limit)
	if err != nil || len(old) == 0 {
		return names, err
	}
	names = slices.Compact(slices.Sorted(slices.Values(append(names, old...))))
	if limit > 0 {
		names = names[:min(limit, len(names))]
	}
	return names, nil
}

func (d *versioned) list(ctx context.Context, folder string, r *mount.Request) (*mount.Response, error) {
	p, err := readPage(r)
	if err != nil {
		return nil, err
	}
	return shownKeys(lister(d.folder).names(ctx, folder, p))
}

func (d *versioned) scan(ctx context.Context, folder string, r *mount.Request) (*mount.Response, error) {
	p, err := readPage(r)
	if err != nil {
		return nil, err
	}
	return shownKeys(lister(d.folder).tree(ctx, folder, p))
}

func (d *versioned) listDetailed(ctx context.Context, folder string, r *mount.Request) (*mount.Response, error) {
	p, err := readPage(r)
	if err != nil {
		return nil, err
	}
	names, err := lister(d.folder).names(ctx, folder, p)
	return d.detailed(ctx, folder, names, err)
}

func (d *versioned) scanDetailed(ctx context.Context, folder string, r *mount.Request) (*mount.Response, error) {
	p, err := readPage(r)
	if err != nil {
		return nil, err
	}
	names, err := lister(d.folder).tree(ctx, folder, p)
	return d.detailed(ctx, folder, names, err)
}

// detailed adds the secrets' metadata to names; folders have none.
func (d *versioned) detailed(ctx context.Context, folder string, names []string, err error) (*mount.Response, error) {
	if err != nil || len(names) == 0 {
		return nil, err
	}
	out, size := keys{Keys: names, KeyInfo: map[string]json.RawMessage{}}, 0
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			continue
		}
		s, err := d.load(ctx, folder+name)
		if err != nil {
			return nil, err
		}
		if s != nil { // it may have been deleted since the list
			out.KeyInfo[name] = appendMetadata(nil, s, true)
			if size += len(out.KeyInfo[name]) + len(name); size > listBytes {
				return nil, errLongList
			}
		}
	}
	return &mount.Response{Data: out}, nil
}
