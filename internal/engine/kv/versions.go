package kv

import (
	"context"
	"slices"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// deleteCurrent marks the current version as deleted; its value is kept.
func (d *versioned) deleteCurrent(ctx context.Context, path string, _ *mount.Request) (*mount.Response, error) {
	return nil, d.mark(ctx, path, []uint64{0}, d.deleteOne)
}

func (d *versioned) deleteOne(v *version) bool {
	if v.destroyed || v.deleted(d.now()) {
		return false
	}
	v.deletion = d.now().UnixNano()
	return true
}

func (d *versioned) deleteVersions(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	numbers, err := givenVersions(r)
	if err != nil {
		return nil, err
	}
	return nil, d.mark(ctx, path, numbers, d.deleteOne)
}

func (d *versioned) undeleteVersions(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	numbers, err := givenVersions(r)
	if err != nil {
		return nil, err
	}
	return nil, d.mark(ctx, path, numbers, func(v *version) bool {
		if v.destroyed || v.deletion == 0 {
			return false
		}
		v.deletion = 0
		return true
	})
}

func (d *versioned) destroyVersions(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	numbers, err := givenVersions(r)
	if err != nil {
		return nil, err
	}
	return nil, d.mark(ctx, path, numbers, func(v *version) bool {
		destroy := !v.destroyed
		v.destroyed = true
		return destroy
	})
}

func givenVersions(r *mount.Request) ([]uint64, error) {
	numbers, err := versionNumbers(r.Data, "versions")
	if err == nil && len(numbers) == 0 {
		err = fault.New(fault.Invalid, `no version number provided: send a list, such as "versions": [1, 2]`)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), err
}

// mark changes versions in one commit. It skips versions that do not exist or need no change, and
// writes nothing if none is left. The values of destroyed versions are removed too.
func (d *versioned) mark(ctx context.Context, path string, numbers []uint64, change func(*version) bool) error {
	defer d.lock(path)()
	s, err := d.take(ctx, path, nil)
	if s == nil || err != nil {
		return err
	}
	changed := false
	var gone []uint64
	for _, n := range numbers {
		v, ok := s.find(n)
		if !ok || !change(&v) {
			continue
		}
		changed = true
		s.update(v)
		switch {
		case !v.destroyed:
		case v.number == s.current && s.value != nil:
			s.value = nil
		default:
			gone = append(gone, v.number)
		}
	}
	if !changed {
		return nil
	}
	return d.save(ctx, path, s, gone)
}
