package api

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/policy"
)

var lockedRoutes = []route{
	{Methods: get, Path: "sys/locked-users", Capability: policy.Read, Handle: (*handler).lockedUsers},
	{Methods: write, Path: "sys/locked-users/*", Capability: policy.Update, Handle: (*handler).unlockUser},
}

var lockedDocs = map[string]doc{
	"sys/locked-users":   {Text: "Lists who has given wrong credentials too often."},
	"sys/locked-users/*": {Text: "Lets somebody try again: <accessor of the method>/unlock/<name>.", Empty: true},
}

type lockedAnswer struct {
	ByMount []lockedMountAnswer `json:"by_mount_accessor"`
	Total   int                 `json:"total"`
}

type lockedMountAnswer struct {
	Accessor string   `json:"mount_accessor"`
	Counts   int      `json:"counts"`
	Aliases  []string `json:"alias_identifiers"`
}

// lockedUsers lists the names whose logins are locked, by auth method.
func (h *handler) lockedUsers(context.Context, *request) (*answer, error) {
	out := lockedAnswer{ByMount: []lockedMountAnswer{}}
	for _, l := range h.Shared.lockouts.List(h.Now()) {
		out.Total += len(l.Aliases)
		out.ByMount = append(out.ByMount, lockedMountAnswer{l.Accessor, len(l.Aliases), l.Aliases})
	}
	return shown(out)
}

// unlockUser forgets somebody's failures. The name may have slashes.
func (h *handler) unlockUser(_ context.Context, q *request) (*answer, error) {
	accessor, rest, _ := strings.Cut(q.rest, "/")
	alias, ok := strings.CutPrefix(rest, "unlock/")
	if !ok || alias == "" {
		return nil, errNoPath
	}
	h.Shared.lockouts.Clear(accessor, alias)
	return done()
}
