package token

import "github.com/sealgate/sealgate/internal/metrics"

// meters time the slow operations, under Vault's metric names.
type meters struct {
	create, store, lookup, revoke, revokeTree        *metrics.Timer // token operations
	register, renew, expire                          *metrics.Timer // lease operations
	getPolicy, setPolicy, listPolicies, deletePolicy *metrics.Timer
	created                                          *metrics.Counter
}

func newMeters(r *metrics.Registry) meters {
	if r != nil {
		r.Help("token.lookup", "Reads of tokens from the storage; reads from memory are not counted.")
		r.Help("token.revoke-tree", "The commit that ends a token and all its descendants, as the caller waits for it.")
	}
	return meters{
		create: r.Timer("token.create"), store: r.Timer("token.store"), lookup: r.Timer("token.lookup"),
		revoke: r.Timer("token.revoke"), revokeTree: r.Timer("token.revoke-tree"),
		register: r.Timer("expire.register"), renew: r.Timer("expire.renew"), expire: r.Timer("expire.revoke"),
		getPolicy: r.Timer("policy.get_policy"), setPolicy: r.Timer("policy.set_policy"),
		listPolicies: r.Timer("policy.list_policies"),
		deletePolicy: r.Timer("policy.delete_policy"), created: r.Counter("token.creation"),
	}
}
