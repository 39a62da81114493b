package auth

import (
	"context"
	"slices"
	"strings"
)

// Capability is a set of the things a policy can allow on a path.
type Capability uint16

// The capabilities, by Vault's names.
const (
	Create Capability = 1 << iota
	Read
	Update
	Delete
	List
	Patch
	Scan
	Sudo
	Deny
)

var capabilityNames = []string{"create", "read", "update", "delete", "list", "patch", "scan", "sudo", "deny"}

// String lists the names in alphabetical order, as Vault's capabilities endpoints do: "create,read".
func (c Capability) String() string {
	var names []string
	for i, name := range capabilityNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// Need is what a request asks for.
type Need struct {
	Path       string     // without "/v1/"; of a list or scan with the slash at its end
	Capability Capability // exactly one
	Sudo       bool       // Capability is not enough: the path is one of Vault's root paths
}

// Authorize is the one point at which a request with a token is allowed or refused. It tells who asks.
//
// An error is a [fault.Denied] with Vault's two texts: "permission denied" where the token is missing or
// unknown, and the same in two lines where it is known and its policies do not allow what is needed.
func (s *Store) Authorize(ctx context.Context, token string, need Need) (Identity, error) {
	who, err := s.Identify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if !allows(who, need) {
		return who, errForbidden
	}
	return who, nil
}

// allows judges by policy. Root is the only policy there is; it allows everything.
func allows(who Identity, _ Need) bool { return who.Root }
