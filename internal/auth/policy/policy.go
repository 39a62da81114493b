// Package policy is the language in which it is written who may do what on which path, and the matcher that answers by it.
//
// It guarantees that the language and its precedence are Vault's: an exact path before every pattern, then the pattern whose
// first wildcard is further right, and so on (see [ACL]); that the one best pattern counts alone; that "deny" wins over
// everything that other policies say of the same pattern; that an answer takes no lock and allocates nothing; and that
// no text makes it panic or takes more memory than its own size explains.
//
// What it does not know it refuses, naming it, rather than letting a policy mean less than its author thinks: mfa_methods and
// control_group, and templates in list_scan_response_keys_filter_path that say more than [Grant.PathOf] can. A path with a template
// ("{{identity.entity.id}}") is checked and matches nothing, as in Vault for a token without an entity.
package policy

import (
	"errors"
	"slices"
	"strings"
	"time"
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

// Names lists the names in alphabetical order, as Vault's capabilities endpoints do.
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

// shorthands are what the old key "policy" of a path stands for.
var shorthands = map[string]Capability{
	"deny":  Deny,
	"read":  Read | List,
	"write": Create | Read | Update | Delete | List,
	"sudo":  Create | Read | Update | Delete | List | Sudo,
}

// ErrSyntax is wrapped by every error of [Parse].
var ErrSyntax = errors.New("not a policy")

// Policy is one parsed document. It never changes.
type Policy struct {
	Name  string // as the document names itself; usually ""
	rules []rule
}

// Len is the number of the paths that it has rules for.
func (p *Policy) Len() int { return len(p.rules) }

// rule is one path block.
type rule struct {
	pattern string // without a slash in front
	grant   *Grant
	expires time.Time // zero: never
}
