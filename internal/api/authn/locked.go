package authn

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

var lockedRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/locked-users", Capability: policy.Read, Handle: lockedUsers},
	{Methods: api.Write, Path: "sys/locked-users/*", Capability: policy.Update, Handle: unlockUser},
}

var lockedDocs = map[string]api.Doc{
	"sys/locked-users":   {Text: "Lists the names that are locked after too many wrong credentials."},
	"sys/locked-users/*": {Text: "Unlocks a name: <accessor of the method>/unlock/<name>.", Empty: true},
}

type LockedAnswer struct {
	ByMount []lockedMountAnswer `json:"by_mount_accessor"`
	Total   int                 `json:"total"`
}

type lockedMountAnswer struct {
	Accessor string   `json:"mount_accessor"`
	Counts   int      `json:"counts"`
	Aliases  []string `json:"alias_identifiers"`
}

// lockedUsers lists the names whose logins are locked, by auth method.
func lockedUsers(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	out := LockedAnswer{ByMount: []lockedMountAnswer{}}
	for _, l := range h.Shared.Lockouts.List(h.Now()) {
		out.Total += len(l.Aliases)
		out.ByMount = append(out.ByMount, lockedMountAnswer{l.Accessor, len(l.Aliases), l.Aliases})
	}
	return api.Show(out)
}

// unlockUser clears the failures of a name, which may contain slashes.
func unlockUser(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	accessor, rest, _ := strings.Cut(q.Rest, "/")
	alias, ok := strings.CutPrefix(rest, "unlock/")
	if !ok || alias == "" {
		return nil, api.ErrNoPath
	}
	h.Shared.Lockouts.Unlock(accessor, alias)
	return api.Done()
}
