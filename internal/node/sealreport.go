package node

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// nodeReport is what a node reports to the leader about its seals, over mutual TLS. It decides
// nothing that the sealed record protects: a wrong report delays a change, or lets a node fall
// behind that is the attacker's own.
type nodeReport struct {
	At        time.Time     `json:"at"`
	Threshold int           `json:"threshold"`        // as configured
	Policy    string        `json:"policy,omitempty"` // as configured, as seals.ParsePlan reads it
	Record    int           `json:"record,omitempty"` // the newest version of a sealed record that the program reads
	Seals     []sealReport  `json:"seals"`
	Trials    []trialReport `json:"trials,omitempty"`

	BreakGlass *glassReport `json:"break_glass,omitempty"` // to be recorded: see BreakGlass.recordReported
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

	Limits []seals.Limit `json:"limits,omitempty"`

	ReplacesKeys bool `json:"replaces_keys,omitempty"` // this program can: see seals.KeyReplacer
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
	configured := set.Configured()
	out := nodeReport{
		At: n.cfg.Now().UTC(), Threshold: configured.Threshold, Policy: configured.Expression(),
		Record: seals.RecordVersion, Seals: []sealReport{},
	}
	for _, st := range set.StatusOf(n.state.Load().record) {
		m, _ := set.Member(st.Name)
		_, quorum := m.Wrapper.(seals.Quorum)
		out.Seals = append(out.Seals, sealReport{
			Name: st.Name, Type: st.Type, Configured: st.Configured, WouldUnseal: st.WouldUnseal,
			LastProof: st.LastProof, Deletion: st.Deletion, Class: st.Class, Cause: cut(st.Cause), Quorum: quorum,
			ReplacesKeys: set.ReplacesKeys(st.Name), Limits: st.Limits,
		})
	}
	out.Trials, out.BreakGlass = n.trials.results(), n.glass.reported()
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

// heard makes the leader do at once what an announcement asks for.
func (s SealAdmin) heard(report json.RawMessage) {
	var r nodeReport
	if json.Unmarshal(report, &r) == nil && r.BreakGlass != nil {
		s.n.poke()
	}
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

// refuses returns why a node would not unseal with a record of a policy, "" where its configuration
// and its program accept it.
func (r reported) refuses(p seals.Plan) string {
	if p.Grouped() && r.Record < groupsRecord {
		return "runs a program that cannot read a policy with groups; install this version there first"
	}
	configured, err := seals.ParsePlan(r.Policy)
	if r.Policy == "" || err != nil { // an older program: its policy has no groups
		configured = seals.Plan{Threshold: r.Threshold}
		if p.Grouped() {
			return "reports no policy"
		}
	}
	var has []string
	for _, s := range r.Seals {
		if s.Configured {
			has = append(has, s.Name)
		}
	}
	if !p.WeakerThan(configured, has) {
		return ""
	}
	asks := fmt.Sprintf("for %d seals", configured.Threshold)
	if configured.Grouped() || p.Grouped() {
		asks = "for " + configured.Expression()
	}
	return "has a seal_policy that asks " + asks + ", so it would refuse this record at its next start"
}

// groupsRecord is the version of sealed records that have groups.
const groupsRecord = 3
