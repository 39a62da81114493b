package ha

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/fault"
)

// Member is a node of a cluster, as it announces itself.
type Member struct {
	ID          string `json:"id"` // letters, digits and dashes; of this process: a restart makes a new one
	Hostname    string `json:"hostname"`
	Version     string `json:"version"`
	APIAddr     string `json:"api_addr"`     // URL for clients
	ClusterAddr string `json:"cluster_addr"` // URL for the other nodes
	// HandOverKey is the key that a new root key is encrypted to under a Shamir seal, in base64.
	HandOverKey string `json:"handover_key,omitempty"`
	// Report is what [Config].Report returns, in announcements alone.
	Report json.RawMessage `json:"report,omitempty"`
}

// MemberStatus is a node in sys/ha-status.
type MemberStatus struct {
	Member
	Active   bool
	LastEcho time.Time // of a standby: its last announcement
}

// members are the standbys that announced themselves to this leader. They are not stored: a new
// leader hears of them within a second.
type members struct {
	mu    sync.Mutex
	heard map[string]MemberStatus
}

// Bounds of members.
const (
	maxMembers    = 256
	memberGone    = 30 * time.Second
	maxMemberID   = 64
	maxMemberText = 512
	maxMemberKey  = 4096
	maxReport     = 32 << 10
	announceTime  = 2 * time.Second
)

// Echo records the announcement of a standby. Only the leader receives them.
func (r *Replica) Echo(m Member) error {
	if m.ID == "" || len(m.ID) > maxMemberID || len(m.HandOverKey) > maxMemberKey ||
		len(m.Report) > maxReport || slices.ContainsFunc(
		[]string{m.Hostname, m.Version, m.APIAddr, m.ClusterAddr},
		func(s string) bool { return len(s) > maxMemberText }) {
		return fault.New(fault.Invalid, "the announcement of a node has no id, or values that are too long")
	}
	r.heard(m)
	if r.Heard != nil && len(m.Report) > 0 {
		r.Heard(m.Report)
	}
	return nil
}

// heard keeps the announcement of a standby.
func (r *Replica) heard(m Member) {
	now := r.Now()
	all := &r.members
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.heard == nil {
		all.heard = map[string]MemberStatus{}
	}
	for id, s := range all.heard {
		if now.Sub(s.LastEcho) > memberGone {
			delete(all.heard, id)
		}
	}
	if _, known := all.heard[m.ID]; known || len(all.heard) < maxMembers {
		all.heard[m.ID] = MemberStatus{Member: m, LastEcho: now}
	}
}

// Members lists this node, which leads, and the standbys heard of in the last 30 s, by host name.
func (r *Replica) Members() []MemberStatus {
	if r == nil {
		return nil
	}
	all := []MemberStatus{{Member: r.Self, Active: true}}
	now := r.Now()
	r.members.mu.Lock()
	for _, s := range r.members.heard {
		if s.ID != r.Self.ID && now.Sub(s.LastEcho) <= memberGone {
			all = append(all, s)
		}
	}
	r.members.mu.Unlock()
	slices.SortFunc(all[1:], func(a, b MemberStatus) int {
		return strings.Compare(a.Hostname+a.APIAddr, b.Hostname+b.APIAddr)
	})
	return all
}

// PathEcho is where standbys announce themselves, on the leader's listener for nodes.
const PathEcho = "/cluster/echo"

// announce announces this standby to the leader until ctx ends.
func (r *Replica) announce(ctx context.Context) {
	for ctx.Err() == nil {
		changed := r.changed.wait()
		if l := r.leader.Load(); l != nil && l.Reachable() {
			r.announceOnce(ctx, l, r.announcement())
		}
		timer := time.NewTimer(clock.Jitter(r.Timing.Echo))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// announcement is this node, with its report of the moment.
func (r *Replica) announcement() []byte {
	self := r.Self
	if r.Report != nil {
		self.Report = r.Report()
	}
	body, err := json.Marshal(self)
	if err != nil {
		panic(err) // strings always encode, and the report is JSON
	}
	return body
}

func (r *Replica) announceOnce(ctx context.Context, l *Leader, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, PathEcho, strings.NewReader(string(body)))
	if err != nil {
		panic(err) // the arguments are constant
	}
	cluster.Origin{Remote: "@"}.Mark(req.Header)
	a, err := l.Do(req)
	if err != nil {
		r.Log.Debug("the active node did not accept this node's announcement", "error", err)
		return
	}
	_ = a.Body.Close() // it is empty
}
