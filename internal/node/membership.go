package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Member is a node of a cluster, as it tells the others.
type Member struct {
	ID          string `json:"id"` // letters, digits and dashes; of this process: it has another one after a restart
	Hostname    string `json:"hostname"`
	Version     string `json:"version"`
	APIAddr     string `json:"api_addr"`     // URL that clients reach it by
	ClusterAddr string `json:"cluster_addr"` // URL that the other nodes reach it by
}

// Leader is the node in office, as far as this one knows.
type Leader struct {
	Member
	Epoch uint64
	Since time.Time
	Self  bool // it is this node

	identity *cluster.Identity // this node's own, in the leader's term
	client   *cluster.Client   // nil where it is this node, or has no listener for others
}

// Reachable reports whether the leader has a listener for the other nodes.
func (l *Leader) Reachable() bool { return l.client != nil }

// Do sends a request to the leader; see [cluster.Client].
func (l *Leader) Do(r *http.Request) (*http.Response, error) { return l.client.Do(r) }

// pathLeader holds who leads. The leader writes it, fenced by its epoch, before it answers anybody.
const pathLeader = "core/leader"

// leaderRecord is the entry at core/leader: JSON, with the version in "v". The authority is that of the term: who can read the entry can open
// the barrier, and so is an unsealed node of this cluster.
type leaderRecord struct {
	Version int `json:"v"`
	Member
	Epoch uint64    `json:"epoch"`
	Since time.Time `json:"since"`
	Cert  []byte    `json:"ca_cert"`
	Key   []byte    `json:"ca_key"`
}

const leaderVersion = 1

// maxLeader bounds the entry.
const maxLeader = 64 << 10

func unmarshalLeader(b []byte) (leaderRecord, error) {
	var r leaderRecord
	if len(b) > maxLeader {
		return r, fmt.Errorf("node: entry %s has %d bytes", pathLeader, len(b))
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("node: entry %s is not readable", pathLeader) // without the cause: it could show of the key
	}
	if r.Version != leaderVersion {
		return r, fmt.Errorf("node: entry %s has format version %d; this program reads version %d", pathLeader, r.Version, leaderVersion)
	}
	return r, nil
}

// inaugurate writes that this node leads. It is the first commit of a term: once it is there no other node's can be.
func (n *Node) recordLeader(ctx context.Context, a *RoleState) (*Leader, error) {
	authority, err := cluster.NewAuthority(n.cfg.Now)
	if err != nil {
		return nil, err
	}
	l := &Leader{Member: *n.cfg.Cluster, Epoch: a.leadership.Epoch(), Since: n.cfg.Now().UTC(), Self: true}
	l.identity = authority.Identity(l.ID)
	r := leaderRecord{Version: leaderVersion, Member: l.Member, Epoch: l.Epoch, Since: l.Since}
	if r.Cert, r.Key, err = authority.Marshal(); err != nil {
		return nil, err
	}
	defer clear(r.Key)
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	if err := a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(pathLeader, raw)}}); err != nil {
		return nil, barrier.Fault(err, "the term of office could not be written down")
	}
	return l, nil
}

// learnLeader reads who leads, on a standby.
func (n *Node) learnLeader(ctx context.Context, a *RoleState) error {
	raw, err := a.barrier.Get(ctx, pathLeader)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer clear(raw)
	r, err := unmarshalLeader(raw)
	if err != nil {
		return err
	}
	defer clear(r.Key)
	if r.ID == n.cfg.Cluster.ID { // it was this node
		n.setLeader(nil)
		return nil
	}
	if now := n.leader.Load(); now != nil && now.Epoch == r.Epoch && now.ID == r.ID {
		return nil
	}
	authority, err := cluster.ParseAuthority(r.Cert, r.Key, n.cfg.Now)
	if err != nil {
		return err
	}
	l := &Leader{Member: r.Member, Epoch: r.Epoch, Since: r.Since, identity: authority.Identity(n.cfg.Cluster.ID)}
	if r.ClusterAddr != "" {
		address, err := hostOf(r.ClusterAddr)
		if err != nil {
			return err
		}
		l.client = cluster.NewClient(l.identity, l.ID, address)
	}
	n.setLeader(l)
	n.log.Info("another node is active", "node", l.ID, "hostname", l.Hostname, "api_addr", l.APIAddr)
	return nil
}

// hostOf is what is dialled for a URL.
func hostOf(addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("node: the cluster address %q of the active node is no URL", addr)
	}
	if u.Port() == "" {
		return u.Host + ":8201", nil
	}
	return u.Host, nil
}

// setLeader makes known who leads; nil: nobody that is known.
func (n *Node) setLeader(l *Leader) {
	old := n.leader.Swap(l)
	if old != nil && old != l && old.client != nil {
		old.client.Close()
	}
	n.changed.tell()
}

// Leader is the node that leads, as far as this one knows; nil: none is known.
func (n *Node) Leader() *Leader { return n.leader.Load() }

// Changed returns a channel that is closed when this node's role changes, or who leads. It is asked for before looking at these.
func (n *Node) Changed() <-chan struct{} { return n.changed.wait() }

// Clustered reports whether this is a node of a cluster.
func (n *Node) Clustered() bool { return n.cfg.Cluster != nil }

// CurrentLeader is the leader whose office the storage confirms; nil where there is none, or it is not ready yet.
func (n *Node) CurrentLeader(ctx context.Context) (*Leader, error) {
	l := n.leader.Load()
	if l == nil {
		return nil, nil
	}
	if l.Self {
		return l, nil
	}
	_, epoch, err := n.storedLeader(ctx)
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && epoch != l.Epoch:
		return nil, nil
	case err != nil:
		return nil, fault.Wrap(err, fault.Unavailable, "storage does not tell who leads: %v", err)
	}
	return l, nil
}

// leaderAnswer is kept for so long: anybody may ask who leads.
const leaderAnswer = 250 * time.Millisecond

type storedLeaderCache struct {
	mu    sync.Mutex
	until time.Time
	id    []byte
	epoch uint64
	err   error
}

func (n *Node) storedLeader(ctx context.Context) ([]byte, uint64, error) {
	c := &n.leaderCache
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.until) {
		return c.id, c.epoch, c.err
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.Prove)
	defer cancel()
	c.id, c.epoch, c.err = n.cfg.Store.(storage.Elector).Leader(ctx) //nolint:forcetypeassert // New has looked
	c.until = time.Now().Add(leaderAnswer)
	return c.id, c.epoch, c.err
}

// MemberStatus is a node in sys/ha-status.
type MemberStatus struct {
	Member
	Active   bool
	LastEcho time.Time // of a standby: when the leader last heard of it
}

// roll is the standbys that a leader hears of. It is in memory: a new leader hears of them within a second.
type roll struct {
	mu    sync.Mutex
	heard map[string]MemberStatus
}

// Bounds of the roll.
const (
	maxMembers    = 256
	memberGone    = 30 * time.Second
	maxMemberID   = 64
	maxMemberText = 512
)

// Echo takes note that a standby is there. Only the leader is told.
func (n *Node) Echo(m Member) error {
	if m.ID == "" || len(m.ID) > maxMemberID || slices.ContainsFunc([]string{m.Hostname, m.Version, m.APIAddr, m.ClusterAddr},
		func(s string) bool { return len(s) > maxMemberText }) {
		return fault.New(fault.Invalid, "a node announced itself with values that are too long")
	}
	now := n.cfg.Now()
	r := &n.roll
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[string]MemberStatus{}
	}
	for id, s := range r.heard {
		if now.Sub(s.LastEcho) > memberGone {
			delete(r.heard, id)
		}
	}
	if _, known := r.heard[m.ID]; known || len(r.heard) < maxMembers {
		r.heard[m.ID] = MemberStatus{Member: m, LastEcho: now}
	}
	return nil
}

// Members lists the leader, which is this node, and the standbys that it heard of in the last 30 s, by host name.
func (n *Node) Members() []MemberStatus {
	if !n.Clustered() {
		return nil
	}
	all := []MemberStatus{{Member: *n.cfg.Cluster, Active: true}}
	now := n.cfg.Now()
	n.roll.mu.Lock()
	for _, s := range n.roll.heard {
		if s.ID != n.cfg.Cluster.ID && now.Sub(s.LastEcho) <= memberGone {
			all = append(all, s)
		}
	}
	n.roll.mu.Unlock()
	slices.SortFunc(all[1:], func(a, b MemberStatus) int { return strings.Compare(a.Hostname+a.APIAddr, b.Hostname+b.APIAddr) })
	return all
}

// PathEcho is where, on the leader's listener for nodes, standbys announce themselves.
const PathEcho = "/cluster/echo"

// announce tells the leader, as long as there is one, that this standby is there.
func (n *Node) announce(ctx context.Context) {
	body, err := json.Marshal(*n.cfg.Cluster)
	if err != nil {
		panic(err) // texts always encode
	}
	for ctx.Err() == nil {
		changed := n.changed.wait()
		if l := n.leader.Load(); l != nil && l.Reachable() {
			n.announceOnce(ctx, l, body)
		}
		timer := time.NewTimer(jitter(n.cfg.Timing.Echo))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (n *Node) announceOnce(ctx context.Context, l *Leader, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, PathEcho, strings.NewReader(string(body)))
	if err != nil {
		panic(err) // the arguments are constant
	}
	cluster.Origin{Remote: "@"}.Mark(r.Header)
	a, err := l.Do(r)
	if err != nil {
		n.log.Debug("the active node does not take note of this one", "error", err)
		return
	}
	_ = a.Body.Close() // there is nothing in it
}

// ClusterIdentity is what this node shows to the others while it leads; nil while it does not.
func (n *Node) ClusterIdentity() *cluster.Identity {
	if l := n.leader.Load(); l != nil && l.Self {
		return l.identity
	}
	return nil
}
