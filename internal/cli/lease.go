package cli

import (
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// leaseID checks the ID of a lease.
func leaseID(b *base, arg string) (string, bool) {
	id := arg
	switch {
	case strings.Trim(id, "/ ") == "":
		b.errorf("Missing ID!")
	case strings.Contains("/"+id+"/", "/../"):
		b.errorf("Error: the ID must not contain ..")
	default:
		return id, true
	}
	return "", false
}

func leaseLookupCommand(b *base) *command {
	b.formatted().fielded()
	return &command{base: b, name: "lease lookup", args: "ID", least: 1, most: 1, synopsis: "Show a lease",
		about: "Shows a lease. ID is its full ID.",
		run: func(args []string) int {
			id, ok := leaseID(b, args[0])
			if !ok {
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				s, err := send(client, put, "sys/leases/lookup", map[string]any{"lease_id": id})
				return b.showAnswer(s, err, "looking up lease id "+id)
			})
		}}
}

func leaseRenewCommand(b *base) *command {
	b.formatted().fielded()
	var increment time.Duration
	b.flags.Var((*seconds)(&increment), "increment", "`TTL` to request; the server may grant another")
	b.own("increment")
	return &command{base: b, name: "lease renew", args: "ID", least: 1, most: 1, synopsis: "Renew a lease",
		about: "Renews a lease. ID is its full ID.",
		run: func(args []string) int {
			id, ok := leaseID(b, args[0])
			if !ok {
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				s, err := send(client, put, "sys/leases/renew",
					map[string]any{"lease_id": id, "increment": int(increment.Seconds())})
				return b.showAnswer(s, err, "renewing "+id)
			})
		}}
}

// leaseRevocation holds the flags of `lease revoke`.
type leaseRevocation struct{ force, prefix, sync bool }

func leaseRevokeCommand(b *base) *command {
	r := &leaseRevocation{}
	b.flags.BoolVar(&r.force, "force", false, "remove the leases even if revoking their secrets fails; needs -prefix")
	b.flags.BoolVar(&r.force, "f", false, "the same as -force")
	b.flags.BoolVar(&r.prefix, "prefix", false, "ID is a prefix of the IDs to revoke")
	b.flags.BoolVar(&r.sync, "sync", false, "wait until the leases are revoked")
	b.own("force", "f", "prefix", "sync")
	return &command{base: b, name: "lease revoke", args: "ID", least: 1, most: 1, synopsis: "Revoke leases",
		about: "Revokes a lease by its full ID or, with -prefix, all leases whose IDs begin with ID.",
		run: func(args []string) int {
			id, ok := leaseID(b, args[0])
			if !ok {
				return exitLocal
			}
			if r.force && !r.prefix {
				b.errorf("Specifying -force requires also specifying -prefix")
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int { return revokeLeases(b, client, r, id) })
		}}
}

func revokeLeases(b *base, client *api.Client, r *leaseRevocation, id string) int {
	path, what := "sys/leases/revoke/", "lease "+id
	success := "All revocation operations queued successfully!"
	var body any = map[string]bool{"sync": r.sync}
	switch {
	case r.force:
		b.errorf("Warning! Force-removing leases can cause the server to become out of sync with secret engines!")
		path, what, body = "sys/leases/revoke-force/", "leases with prefix "+id, nil
		success = "Success! Force revoked any leases with prefix: " + id
	case r.prefix:
		path, what = "sys/leases/revoke-prefix/", "leases with prefix "+id
		if r.sync {
			success = "Success! Revoked any leases with prefix: " + id
		}
	case r.sync:
		success = "Success! Revoked lease: " + id
	}
	doing := "revoking "
	if r.force {
		doing = "force revoking "
	}
	return b.done(client, put, path+id, body, doing+what, success)
}
