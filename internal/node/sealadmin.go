package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// SealAdmin shows and changes which seals hold the root key, while the node serves.
type SealAdmin struct{ n *Node }

// SealAdminOf returns the administration of a node's seals.
func SealAdminOf(n *Node) SealAdmin { return SealAdmin{n} }

// SealList is the seals of a cluster, as the sealed record has them.
type SealList struct {
	Policy     string       `json:"policy"`     // "any of hsm, kms"
	Expression string       `json:"expression"` // the policy as sys/seals/policy takes it
	Threshold  int          `json:"threshold"`
	Generation uint64       `json:"generation"`
	Members    []SealMember `json:"members"`
	Candidates []SealMember `json:"candidates"` // configured, and not members
	Losses     []string     `json:"losses"`     // which losses the set survives, in words
	Nodes      []SealNode   `json:"nodes"`
	Warnings   []string     `json:"warnings"`

	SurvivesAllSeals bool   `json:"survives_all_seals"` // as in Forecast
	SurvivesText     string `json:"survives_text"`
}

// SealMember is one seal, as this node sees it.
type SealMember struct {
	seals.Status
	Member    bool      `json:"member"`
	OtherKeys []SealKey `json:"other_keys,omitempty"` // that it had before, or that are to come
}

// SealNode is one node's report about the seals.
type SealNode struct {
	Node   string       `json:"node"`
	Active bool         `json:"active"`
	At     *time.Time   `json:"reported_at,omitempty"`
	Seals  []sealReport `json:"seals"`
	Note   string       `json:"note,omitempty"`
}

// List returns the seals that hold the root key, the configured ones that do not, and what each
// node of the cluster proved of them.
func (s SealAdmin) List(ctx context.Context) (*SealList, error) {
	n := s.n
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	record, set := n.state.Load().record, n.seals.Load()
	l := &SealList{
		Policy: planOf(record).String(), Expression: planOf(record).Expression(),
		Threshold: record.Threshold, Generation: record.Generation,
		Members: []SealMember{}, Candidates: []SealMember{}, Losses: lossesInWords(record),
		Nodes: s.nodes(), Warnings: []string{},
	}
	l.SurvivesAllSeals, l.SurvivesText = survivesAllSeals(n)
	if n.unsealedByShares() {
		l.Warnings = append(l.Warnings, brokenText)
	}
	for _, st := range set.StatusOf(record) {
		member := slices.ContainsFunc(record.Parts, func(p seals.Part) bool { return p.Name == st.Name })
		if member {
			keys, err := s.otherKeys(ctx, a, st.Name)
			if err != nil {
				l.Warnings = append(l.Warnings, fmt.Sprintf("the old keys of seal %q cannot be read: %v", st.Name, err))
			}
			l.Members = append(l.Members, SealMember{Status: st, Member: true, OtherKeys: keys})
		} else {
			l.Candidates = append(l.Candidates, SealMember{Status: st})
		}
	}
	l.Warnings = append(l.Warnings, n.recordWarnings(record)...)
	l.Warnings = append(l.Warnings, s.unguarded(ctx, a, l.Members)...)
	for _, other := range l.Nodes {
		l.Warnings = append(l.Warnings, other.cannot(record)...)
	}
	return l, nil
}

// cannot says which members of a record a node cannot use.
func (o SealNode) cannot(r *seals.Record) (out []string) {
	if o.At == nil {
		return []string{fmt.Sprintf("node %s reports nothing about its seals", o.Node)}
	}
	for i := range r.Parts {
		name := r.Parts[i].Name
		at := slices.IndexFunc(o.Seals, func(r sealReport) bool { return r.Name == name })
		switch {
		case at < 0 || !o.Seals[at].Configured:
			out = append(out, fmt.Sprintf("node %s has no stanza for seal %q, which holds the root key: it cannot use "+
				"it to unseal", o.Node, name))
		case !o.Seals[at].WouldUnseal:
			out = append(out, fmt.Sprintf("node %s cannot use seal %q: %s: %s", o.Node, name, o.Seals[at].Class,
				o.Seals[at].Cause))
		}
	}
	return out
}

func planOf(r *seals.Record) seals.Plan { return r.Plan() }

// lossesInWords simulates the loss of every single seal and of every two.
func lossesInWords(r *seals.Record) (out []string) {
	plan := planOf(r)
	survives := func(lost ...string) bool {
		return plan.Opens(func(m string) bool { return !slices.Contains(lost, m) })
	}
	var fine, fatal []string
	for _, m := range plan.Members {
		if survives(m) {
			fine = append(fine, m)
		} else {
			fatal = append(fatal, m)
		}
	}
	if len(fine) > 0 {
		out = append(out, "survives the loss of "+anyOf(fine))
	}
	if len(fatal) > 0 {
		out = append(out, "does not survive the loss of "+anyOf(fatal))
	}
	return append(out, doubleLosses(fine, survives)...)
}

// doubleLosses says which losses of two seals are survived, where each alone is.
func doubleLosses(members []string, survives func(...string) bool) []string {
	var fine, fatal []string
	for i, a := range members {
		for _, b := range members[i+1:] {
			if survives(a, b) {
				fine = append(fine, fmt.Sprintf("survives the loss of both %s and %s", a, b))
			} else {
				fatal = append(fatal, fmt.Sprintf("does not survive the loss of both %s and %s", a, b))
			}
		}
	}
	if len(fatal) == 0 && len(fine) > 1 {
		return []string{"survives the loss of any two of " + strings.Join(members, ", ")}
	}
	return append(fine, fatal...)
}

func anyOf(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return "any one of " + strings.Join(names, ", ")
}

// Verify proves every seal that this node has now, and returns the list.
func (s SealAdmin) Verify(ctx context.Context) (*SealList, error) {
	n := s.n
	if _, err := n.Role(); err != nil {
		return nil, err
	}
	set := n.seals.Load()
	set.Probe(ctx, n.state.Load().record)
	set.DescribeKeys(ctx)
	return s.List(ctx)
}

// self is the name of this node.
func (n *Node) selfName() string {
	if n.Clustered() {
		return n.replica.Self.Hostname
	}
	name, err := os.Hostname()
	if err != nil {
		return "this node"
	}
	return name
}

// mayChange returns the role of a node that may change its seals.
func (s SealAdmin) mayChange() (*RoleState, error) {
	a, err := s.n.Role()
	if err != nil {
		return nil, err
	}
	if a.Standby() {
		return nil, fault.New(fault.Unavailable, "this node is a standby; the active node changes the seals")
	}
	return a, nil
}
