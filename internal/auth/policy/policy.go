// Package policy parses policies, which say who may do what on which path, and matches requests
// against them.
//
// It guarantees that the language and its precedence are Vault's: an exact path before every
// pattern, then the pattern whose first wildcard is further right, and so on (see [ACL]); that only
// the best pattern applies; that "deny" overrides everything that other policies say about the same
// pattern; that a decision takes no lock and allocates nothing; and that no text makes it panic or
// use more memory than the text's size explains.
//
// It refuses what it does not support by name, so that a policy never means less than its author
// thinks: mfa_methods, control_group, and templates in list_scan_response_keys_filter_path beyond
// [Grant.PathOf]. A path with a template ("{{identity.entity.id}}") is validated and matches
// nothing, as in Vault for a token without an entity.
package policy

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Capability is a set of operations that a policy allows on a path.
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

// Names returns the names in alphabetical order, as Vault's capabilities endpoints do.
func (c Capability) Names() []string {
	var names []string
	for i, name := range capabilityNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// String joins the names: "create,read".
func (c Capability) String() string { return strings.Join(c.Names(), ",") }

// capabilityOf is the inverse of Names for one name.
func capabilityOf(name string) (Capability, bool) {
	i := slices.Index(capabilityNames, name)
	return 1 << max(i, 0), i >= 0
}

// shorthands are the values of the deprecated key "policy" of a path.
var shorthands = map[string]Capability{
	"deny":  Deny,
	"read":  Read | List,
	"write": Create | Read | Update | Delete | List,
	"sudo":  Create | Read | Update | Delete | List | Sudo,
}

// ErrSyntax is wrapped by every error of [Parse].
var ErrSyntax = errors.New("not a policy")

// Policy is one parsed policy. It is immutable.
type Policy struct {
	Name  string // the name in the document; usually ""
	rules []rule
}

// Len returns the number of path rules.
func (p *Policy) Len() int { return len(p.rules) }

// rule is one path block.
type rule struct {
	pattern string // without a leading slash
	grant   *Grant
	expires time.Time // zero: never
}
