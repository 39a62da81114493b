package transit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
)

// useAnswer is the recorded use of a version.
type useAnswer struct {
	Count uint64 `json:"count"`
	Last  string `json:"last_time"`
	By    string `json:"last_display_name"`
}

// readUse answers keys/<name>/use: which versions were used, when last and by whom.
func readUse(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	k, err := b.keys.Get(ctx, c.segs[0])
	if errors.Is(err, keys.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	uses, err := b.keys.Uses(ctx, k)
	if err != nil {
		return nil, err
	}
	all := map[string]useAnswer{}
	for n, u := range uses {
		if n >= k.MinAvailable {
			all[strconv.Itoa(n)] = useAnswer{u.Count, u.Last.Format(time.RFC3339Nano), u.By}
		}
	}
	return &mount.Response{Data: map[string]any{"name": k.Name, "versions": all}}, nil
}

// checkUse is asked before versions of a key below a number become unusable for decryption, or go
// with their key. Where one was used within the mount's window the request is refused, unless it
// says force; otherwise the warnings list the uses.
func (b *backend) checkUse(ctx context.Context, k *keys.Key, below int, force bool) (warnings []string, err error) {
	return b.checkRange(ctx, k, k.MinDecryption, below, force)
}

// checkTrim is asked before versions are destroyed, which may have been out of use for a while.
func (b *backend) checkTrim(ctx context.Context, k *keys.Key, below int, force bool) (warnings []string, err error) {
	return b.checkRange(ctx, k, k.MinAvailable, below, force)
}

func (b *backend) checkRange(
	ctx context.Context, k *keys.Key, from, below int, force bool,
) (warnings []string, err error) {
	s, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	uses, err := b.keys.Uses(ctx, k)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Sorted(maps.Keys(uses)) {
		if n < from || n >= below {
			continue
		}
		u := uses[n]
		text := fmt.Sprintf("version %d of key %s was last used at %s by %q", n, k.Name, u.Last.Format(time.RFC3339), u.By)
		if s.useWindow > 0 && b.now().Sub(u.Last) < s.useWindow && !force {
			return nil,
				fault.New(fault.Invalid, "%s, which is within version_use_window (%s): rewrap what it has encrypted and wait, "+
					"or send force=true", text, s.useWindow)
		}
		warnings = append(warnings, text)
	}
	return warnings, nil
}

// OpenKey implements [keys.Opener].
func (b *backend) OpenKey(ctx context.Context, name, by string) (*keys.Named, error) {
	k, err := b.keys.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return keys.NewNamed(k, by)
}
