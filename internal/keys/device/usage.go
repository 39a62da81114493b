package device

import (
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
)

// Usage is one thing that a key may be used for.
type Usage string

// The usages of Vault that mean something here.
const (
	Encrypt Usage = "encrypt"
	Decrypt Usage = "decrypt"
	Sign    Usage = "sign"
	Verify  Usage = "verify"
	MAC     Usage = "mac"
)

var allUsages = []Usage{Encrypt, Decrypt, Sign, Verify, MAC}

// others are usages of Vault that nothing here asks for. They are stored and shown.
var others = []Usage{"wrap", "unwrap", "generate_random"}

// DefaultUsages are those of a managed key whose configuration names none.
func DefaultUsages() []Usage { return []Usage{Sign, Verify} }

// ParseUsages reads names of usages.
func ParseUsages(names []string) ([]Usage, error) {
	var out []Usage
	for _, name := range names {
		u := Usage(strings.ToLower(strings.TrimSpace(name)))
		if !slices.Contains(allUsages, u) && !slices.Contains(others, u) {
			return nil, fault.New(fault.Invalid, "unknown usage %q: give some of encrypt, decrypt, sign, verify, mac", name)
		}
		if !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out, nil
}
