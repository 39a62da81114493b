package clients_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/clients"
)

// TestTable checks that the policies are policies, that the table is in order, and that each write
// is a probe with a body or is never sent.
func TestTable(t *testing.T) {
	all := clients.All()
	if !slices.IsSortedFunc(all, func(a, b clients.Client) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the clients are not in the order of their names")
	}
	for _, c := range all {
		for _, at := range []clients.Client{c.At("", ""), c.At("/team/kms/", "k")} {
			if _, err := policy.Parse(at.Policy()); err != nil || strings.ContainsAny(at.Policy(), "<>") {
				t.Errorf("%s: %v\n%s", c.Name, err, at.Policy())
			}
		}
		for _, s := range c.Steps {
			if len(s.Needs) == 0 || s.Method == "PUT" && !s.Changes && s.Body == nil || s.Changes && s.Body != nil {
				t.Errorf("%s, %s: a probe has a body, and a step that changes data is none", c.Name, s.About)
			}
			if s.About == "encrypt" && s.Body["type"] != clients.NoSuchType {
				t.Errorf("%s: the probe would make a key", c.Name)
			}
		}
	}
	if _, ok := clients.Find("none"); ok {
		t.Error("found a client that does not exist")
	}
}
