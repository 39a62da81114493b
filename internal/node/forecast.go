package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// Forecast is what would happen if every node restarted now.
type Forecast struct {
	WouldUnseal    bool           `json:"would_unseal"`    // at least one node, without shares
	AllNodes       bool           `json:"all_nodes"`       // every node would
	NeedsShares    bool           `json:"needs_shares"`    // unseal shares are needed
	CriticalLosses []string       `json:"critical_losses"` // single seals without which no node would unseal
	ProvenAt       *time.Time     `json:"proven_at"`       // of the node that would: its oldest proof that counts
	Expires        []Expiry       `json:"expires"`         // the earliest first
	Dangers        []Danger       `json:"dangers"`         // such as tries of a PIN that are used up
	Nodes          []NodeForecast `json:"nodes"`
	Text           string         `json:"text"`

	// SurvivesAllSeals says whether shares open the data when every seal is lost; SurvivesText says it
	// in words.
	SurvivesAllSeals bool   `json:"survives_all_seals"`
	SurvivesText     string `json:"survives_text"`
}

// NodeForecast is the forecast of one node.
type NodeForecast struct {
	Node        string     `json:"node"`
	Active      bool       `json:"active"`
	WouldUnseal bool       `json:"would_unseal"`
	Losses      []string   `json:"critical_losses"` // single seals without which it would not
	ProvenAt    *time.Time `json:"proven_at"`
	Cause       string     `json:"cause,omitempty"` // why it would not
}

// Expiry is something that ends.
type Expiry struct {
	Seal string    `json:"seal"`
	What string    `json:"what"`
	At   time.Time `json:"at"`
	Node string    `json:"node"`
	Soon bool      `json:"soon"` // an operator should act: see seals.Limit
}

// Danger is something that may end the use of a seal at any time.
type Danger struct {
	Seal   string `json:"seal"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
	Node   string `json:"node"`
}

// Forecast says for the cluster and each node whether it would unseal if all restarted now. It asks
// no seal: it shows what the last proofs found.
func (s SealAdmin) Forecast(context.Context) (*Forecast, error) {
	n := s.n
	if _, err := n.Role(); err != nil {
		return nil, err
	}
	record := n.state.Load().record
	f := &Forecast{
		AllNodes: true, NeedsShares: n.seals.Load().NeedsShares(), CriticalLosses: []string{}, Expires: []Expiry{},
		Dangers: []Danger{},
	}
	survives := map[string]bool{} // by the lost seal: a node would unseal without it
	for _, r := range s.reports() {
		nf := forecastOf(record, r)
		f.Nodes = append(f.Nodes, nf)
		f.AllNodes = f.AllNodes && nf.WouldUnseal
		if nf.WouldUnseal {
			f.WouldUnseal = true
			if f.ProvenAt == nil || nf.ProvenAt != nil && nf.ProvenAt.After(*f.ProvenAt) {
				f.ProvenAt = nf.ProvenAt
			}
		}
		for i := range record.Parts {
			name := record.Parts[i].Name
			survives[name] = survives[name] || nf.WouldUnseal && !slices.Contains(nf.Losses, name)
		}
		f.expiries(r, n.cfg.Now())
	}
	for i := range record.Parts {
		if name := record.Parts[i].Name; f.WouldUnseal && !survives[name] {
			f.CriticalLosses = append(f.CriticalLosses, name)
		}
	}
	slices.SortStableFunc(f.Expires, func(a, b Expiry) int { return a.At.Compare(b.At) })
	f.Text = f.words(n.state.Load())
	f.SurvivesAllSeals, f.SurvivesText = survivesAllSeals(n)
	return f, nil
}

// forecastOf judges one node by its report.
func forecastOf(record *seals.Record, r reported) NodeForecast {
	f := NodeForecast{Node: r.node, Active: r.active, Losses: []string{}}
	if !r.known {
		f.Cause = "the node reports nothing about its seals"
		return f
	}
	plan := planOf(record)
	if why := r.refuses(plan); why != "" {
		f.Cause = "it " + why
		return f
	}
	proofs := map[string]time.Time{}
	var able, causes []string
	for i := range record.Parts {
		name := record.Parts[i].Name
		at := slices.IndexFunc(r.Seals, func(s sealReport) bool { return s.Name == name })
		switch {
		case at < 0 || !r.Seals[at].Configured:
			causes = append(causes, fmt.Sprintf("seal %q is not in its configuration", name))
		case r.Seals[at].Quorum:
			causes = append(causes, "unseal shares are needed")
		case !r.Seals[at].WouldUnseal:
			causes = append(causes, fmt.Sprintf("seal %q: %s: %s", name, r.Seals[at].Class, r.Seals[at].Cause))
		default:
			able = append(able, name)
			if p := r.Seals[at].LastProof; p != nil {
				proofs[name] = *p
			}
		}
	}
	if f.WouldUnseal = plan.OpensWith(able); !f.WouldUnseal {
		f.Cause = strings.Join(causes, "; ")
		return f
	}
	for _, name := range able {
		if !plan.OpensWith(slices.DeleteFunc(slices.Clone(able), func(m string) bool { return m == name })) {
			f.Losses = append(f.Losses, name)
		}
	}
	f.ProvenAt = provenSince(plan, proofs)
	return f
}

// provenSince returns the time since when a policy is proven: the oldest of the newest proofs that
// satisfy it, nil without them.
func provenSince(plan seals.Plan, proofs map[string]time.Time) *time.Time {
	names := slices.SortedFunc(maps.Keys(proofs), func(a, b string) int { return proofs[b].Compare(proofs[a]) })
	for i, name := range names {
		if plan.OpensWith(names[:i+1]) {
			at := proofs[name]
			return &at
		}
	}
	return nil
}

// expiries adds what ends: the key of a seal once, and what each node has for it. What is renewed
// automatically does not end.
func (f *Forecast) expiries(r reported, now time.Time) {
	for _, s := range r.Seals {
		if s.Deletion != nil && !slices.ContainsFunc(f.Expires, func(e Expiry) bool {
			return e.Seal == s.Name && e.What == keyEnds
		}) {
			f.Expires = append(f.Expires, Expiry{s.Name, keyEnds, *s.Deletion, r.node, true})
		}
		for _, l := range s.Limits {
			if l.At != nil && !l.Renews {
				f.Expires = append(f.Expires, Expiry{s.Name, "its " + l.What + " expires", *l.At, r.node, l.Soon(now)})
			}
			if l.Danger != "" {
				f.Dangers = append(f.Dangers, Danger{s.Name, l.What + ": " + l.Danger, l.Remedy, r.node})
			}
		}
	}
}

const keyEnds = "its key will be destroyed"

// words says the forecast in one sentence.
func (f *Forecast) words(state *nodeState) string {
	would := 0
	for _, n := range f.Nodes {
		if n.WouldUnseal {
			would++
		}
	}
	switch {
	case f.NeedsShares && state.shareSet != nil:
		return fmt.Sprintf("If every node restarted now, each would need %d of %d unseal shares.",
			state.shareSet.Threshold, state.shareSet.Shares)
	case would == 0:
		return "If every node restarted now, none would unseal. Do not restart or seal them until this is solved."
	case would < len(f.Nodes):
		return fmt.Sprintf("If every node restarted now, %d of %d would unseal.", would, len(f.Nodes))
	case len(f.CriticalLosses) > 0:
		return fmt.Sprintf("If every node restarted now, all would unseal; after the loss of %s none would.",
			orList(f.CriticalLosses))
	}
	return "If every node restarted now, all would unseal, also after the loss of any one seal."
}

func orList(names []string) string {
	out := names[0]
	for i, n := range names[1:] {
		if i == len(names)-2 {
			out += " or " + n
		} else {
			out += ", " + n
		}
	}
	return out
}
