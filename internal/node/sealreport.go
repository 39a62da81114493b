package node

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// nodeReport is what a node tells the leader of its seals, over mutual TLS. It decides nothing that
// the sealed record protects: a wrong report delays a change, or lets a node fall behind that is
// the attacker's own.
type nodeReport struct {
	At        time.Time     `json:"at"`
	Threshold int           `json:"threshold"` // as configured
	Seals     []sealReport  `json:"seals"`
	Trials    []trialReport `json:"trials,omitempty"`
}

// sealReport is one seal on one node.
type sealReport struct {
	Name        string      `json:"name"`
	Type        string      `json:"type"`
	Configured  bool        `json:"configured"`
	WouldUnseal bool        `json:"would_unseal"`
	LastProof   *time.Time  `json:"last_proof,omitempty"`
	Deletion    *time.Time  `json:"key_deletion,omitempty"`
	Class       seals.Class `json:"failure_class,omitempty"`
	Cause       string      `json:"failure,omitempty"`
	Quorum      bool        `json:"quorum,omitempty"` // shares open it
}

// trialReport is the proof of one trial: see trial.go.
type trialReport struct {
	ID    string `json:"id"`
	Seal  string `json:"seal"`
	Done  bool   `json:"done"`
	Cause string `json:"failure,omitempty"`
}

// longestCause bounds a text in a report.
const longestCause = 400

func cut(text string) string {
	if len(text) > longestCause {
		return text[:longestCause] + "..."
	}
	return text
}

// report returns what this node knows of its seals.
func (s SealAdmin) report() nodeReport {
	n := s.n
	set := n.seals.Load()
	out := nodeReport{At: n.cfg.Now().UTC(), Threshold: set.Configured().Threshold, Seals: []sealReport{}}
	for _, st := range set.StatusOf(n.state.Load().record) {
		m, _ := set.Member(st.Name)
		_, quorum := m.Wrapper.(seals.Quorum)
		out.Seals = append(out.Seals, sealReport{
			Name: st.Name, Type: st.Type, Configured: st.Configured, WouldUnseal: st.WouldUnseal,
			LastProof: st.LastProof, Deletion: st.Deletion, Class: st.Class, Cause: cut(st.Cause), Quorum: quorum,
		})
	}
	out.Trials = n.trials.results()
	return out
}

// announced is the report that a standby adds to its announcements.
func (s SealAdmin) announced() json.RawMessage {
	raw, err := json.Marshal(s.report())
	if err != nil {
		return nil
	}
	return raw
}

// nodes returns the reports of this node and of the standbys that announced themselves.
func (s SealAdmin) nodes() []SealNode {
	var out []SealNode
	for _, r := range s.reports() {
		o := SealNode{Node: r.node, Active: r.active, Seals: []sealReport{}}
		if r.known {
			at := r.At
			o.At, o.Seals = &at, r.Seals
		} else {
			o.Note = "this node reports nothing: it runs an older program, or has just started"
		}
		out = append(out, o)
	}
	return out
}

// reported is the report of one node.
type reported struct {
	nodeReport
	node   string
	active bool
	known  bool
}

func (s SealAdmin) reports() []reported {
	n := s.n
	out := []reported{{s.report(), n.selfName(), n.writer() != nil, true}}
	if n.writer() == nil || !n.Clustered() {
		return out
	}
	for _, m := range n.replica.Members() {
		if m.Active {
			continue
		}
		r := reported{node: cmp.Or(m.Hostname, m.ID)}
		r.known = len(m.Report) > 0 && json.Unmarshal(m.Report, &r.nodeReport) == nil
		out = append(out, r)
	}
	return out
}
