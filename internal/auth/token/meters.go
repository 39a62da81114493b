package token

import "github.com/sealgate/sealgate/internal/metrics"

// meters count what takes time, by Vault's names.
type meters struct {
	create, store, lookup, revoke, revokeTree        *metrics.Timer // of tokens
	register, renew, expire                          *metrics.Timer // of what expires
	getPolicy, setPolicy, listPolicies, deletePolicy *metrics.Timer
	created                                          *metrics.Counter
}

func newMeters(r *metrics.Registry) meters {
	if r != nil {
		r.Help("token.lookup", "Reads of tokens from the storage; those that are in memory take no time worth counting.")
		r.Help("token.revoke-tree", "What the caller waits for: the commit that ends a token and all below it, however many.")
	}
	return meters{
		create: r.Timer("token.create"), store: r.Timer("token.store"), lookup: r.Timer("token.lookup"),
		revoke: r.Timer("token.revoke"), revokeTree: r.Timer("token.revoke-tree"),
		register: r.Timer("expire.register"), renew: r.Timer("expire.renew"), expire: r.Timer("expire.revoke"),
		getPolicy: r.Timer("policy.get_policy"), setPolicy: r.Timer("policy.set_policy"), listPolicies: r.Timer("policy.list_policies"),
		deletePolicy: r.Timer("policy.delete_policy"), created: r.Counter("token.creation"),
	}
}
