package mounts

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/mount"
)

// unmountedAnswer lists the removals in progress; an empty list means that none is left.
type unmountedAnswer struct {
	Unmounted []removalAnswer `json:"unmounted"`
}

type removalAnswer struct {
	Error     string `json:"error,omitempty"` // why the last attempt failed; it is tried again
	Path      string `json:"path"`
	Removed   int64  `json:"removed"` // entries, since this node became active
	Unmounted string `json:"unmounted,omitempty"`
	UUID      string `json:"uuid"`
}

func listUnmounted(_ context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	a := unmountedAnswer{Unmounted: []removalAnswer{}}
	add := func(prefix string, all []mount.Removal) {
		for _, r := range all {
			one := removalAnswer{Error: r.Error, Path: prefix + r.Path, Removed: r.Removed, UUID: r.UUID}
			if !r.Unmounted.IsZero() {
				one.Unmounted = r.Unmounted.UTC().Format(time.RFC3339)
			}
			a.Unmounted = append(a.Unmounted, one)
		}
	}
	add("", q.Role.Mounts().Removals())
	add(api.AuthPath, q.Role.AuthMethods().Removals())
	return api.Show(a)
}
