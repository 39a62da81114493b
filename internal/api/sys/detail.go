package sys

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/seals"
)

// detailPath is what a token must be allowed to read in order to see the details of seals.
const detailPath = "sys/seal-backend-status"

// proofTime is how long a standby may take to prove that a token is still valid: the answer must
// come at once while the storage does not answer.
const proofTime = 500 * time.Millisecond

// hidden is the warning in place of those that a client must not see.
const hidden = "the cause and the remedy are in the server's log, in the findings of `sealgate doctor` on its " +
	"machine, and in this response on a unix socket or, while the server is unsealed, for a token that may read " +
	"sys/seal-backend-status"

// showsDetail reports whether the client may see labels, key ids, paths, causes and remedies of
// seals: it is on the same machine, by a unix socket, or has a token that may. A sealed node can
// check no token.
func showsDetail(ctx context.Context, h *api.Handler, q *api.Request) bool {
	if q.Local() {
		return true
	}
	if q.ReadToken(); q.Token == "" {
		return false
	}
	defer func() { q.Role, q.Token = nil, "" }()
	role, err := h.Node.Role()
	if err != nil {
		return false
	}
	within, cancel := api.WithTimeout(ctx, proofTime)
	defer cancel()
	if role.Standby() && role.Current(within) != nil {
		return false
	}
	q.Role = role
	who, err := q.Bearer(within)
	if err != nil {
		return false
	}
	ok, err := role.Tokens().Allows(within, who, token.Need{Path: detailPath, Capability: policy.Read})
	return ok && err == nil
}

// public returns what every client may see of the seals: state and class.
func public(all []seals.Status) []seals.Status {
	var out []seals.Status
	for _, s := range all {
		out = append(out, seals.Status{
			Name: s.Name, Type: s.Type, WouldUnseal: s.WouldUnseal, LastProof: s.LastProof, LastProbe: s.LastProbe,
			Failing: s.Failing, Class: s.Class, KeyState: s.KeyState, Deletion: s.Deletion, RewrapDue: s.RewrapDue,
			Configured: s.Configured,
		})
	}
	return out
}

// publicWarnings replaces warnings, which name labels and causes, by one that says where they are.
func publicWarnings(all []string) []string {
	if len(all) == 0 {
		return nil
	}
	return []string{hidden}
}
