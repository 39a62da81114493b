package ha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Leader is the node that leads, as far as this node knows.
type Leader struct {
	Member
	Epoch uint64
	Since time.Time
	Self  bool // it is this node

	identity *cluster.Identity // this node's own under this leadership
	client   *cluster.Client   // nil where it is this node, or has no listener for other nodes
}

// Reachable reports whether the leader has a listener for the other nodes.
func (l *Leader) Reachable() bool { return l.client != nil }

// Do sends a request to the leader; see [cluster.Client].
func (l *Leader) Do(r *http.Request) (*http.Response, error) { return l.client.Do(r) }

// LeaderPath is the entry behind the barrier that holds who leads. The leader writes it, fenced by
// its epoch, before it answers a request.
const LeaderPath = "core/leader"

// leaderRecord is the entry at core/leader: JSON, with the version in "v". The certificate
// authority is that of this leadership. Only a node that can open the barrier can read it, so only
// an unsealed node of this cluster gets a certificate.
type leaderRecord struct {
	Version int `json:"v"`
	Member
	Epoch uint64    `json:"epoch"`
	Since time.Time `json:"since"`
	Cert  []byte    `json:"ca_cert"`
	Key   []byte    `json:"ca_key"`
}

const (
	leaderVersion = 1
	maxLeader     = 64 << 10 // bytes of the entry
)

func unmarshalLeader(b []byte) (leaderRecord, error) {
	var r leaderRecord
	if len(b) > maxLeader {
		return r, fmt.Errorf("ha: entry %s has %d bytes; at most %d are allowed", LeaderPath, len(b), maxLeader)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("ha: entry %s is malformed", LeaderPath) // the cause could contain bytes of the key
	}
	if r.Version != leaderVersion {
		return r, fmt.Errorf("ha: entry %s has format version %d; this program reads version %d",
			LeaderPath, r.Version, leaderVersion)
	}
	return r, nil
}

// recordLeader writes that this node leads. Once this commit of the new epoch is there, no commit
// of the leader before can follow.
func (r *Replica) recordLeader(ctx context.Context, b *barrier.Barrier, epoch uint64) (*Leader, error) {
	authority, err := cluster.NewAuthority(r.Now)
	if err != nil {
		return nil, err
	}
	l := &Leader{Member: r.Self, Epoch: epoch, Since: r.Now().UTC(), Self: true}
	l.HandOverKey = ""
	l.identity = authority.Identity(l.ID)
	record := leaderRecord{Version: leaderVersion, Member: l.Member, Epoch: l.Epoch, Since: l.Since}
	if record.Cert, record.Key, err = authority.Marshal(); err != nil {
		return nil, err
	}
	defer clear(record.Key)
	raw, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	if err := b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(LeaderPath, raw)}}); err != nil {
		return nil, barrier.Fault(err, "the new leader could not be recorded")
	}
	return l, nil
}

// readLeader reads who leads, on a standby.
func (r *Replica) readLeader(ctx context.Context, b *barrier.Barrier) error {
	raw, err := b.Get(ctx, LeaderPath)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer clear(raw)
	record, err := unmarshalLeader(raw)
	if err != nil {
		return err
	}
	defer clear(record.Key)
	if record.ID == r.Self.ID { // this node led before
		r.setLeader(nil)
		return nil
	}
	if now := r.leader.Load(); now != nil && now.Epoch == record.Epoch && now.ID == record.ID {
		return nil
	}
	authority, err := cluster.ParseAuthority(record.Cert, record.Key, r.Now)
	if err != nil {
		return err
	}
	l := &Leader{
		Member: record.Member, Epoch: record.Epoch, Since: record.Since, identity: authority.Identity(r.Self.ID),
	}
	if record.ClusterAddr != "" {
		address, err := hostOf(record.ClusterAddr)
		if err != nil {
			return err
		}
		l.client = cluster.NewClient(l.identity, l.ID, address)
	}
	r.setLeader(l)
	r.Log.Info("another node is active", "node", l.ID, "hostname", l.Hostname, "api_addr", l.APIAddr)
	return nil
}

// hostOf returns host and port to dial for a URL.
func hostOf(addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("ha: the cluster address %q of the active node is not a URL; "+
			"correct cluster_addr in its configuration", addr)
	}
	if u.Port() == "" {
		return u.Host + ":8201", nil
	}
	return u.Host, nil
}

// setLeader publishes who leads; nil: unknown.
func (r *Replica) setLeader(l *Leader) {
	old := r.leader.Swap(l)
	if old != nil && old != l && old.client != nil {
		old.client.Close()
	}
	r.changed.notify()
}

// Leader returns the node that leads as far as this node knows, nil where it knows none.
func (r *Replica) Leader() *Leader {
	if r == nil {
		return nil
	}
	return r.leader.Load()
}

// ClusterIdentity is what this node shows to the others while it leads; nil while it does not.
func (r *Replica) ClusterIdentity() *cluster.Identity {
	if l := r.Leader(); l != nil && l.Self {
		return l.identity
	}
	return nil
}

// CurrentLeader returns the leader that the storage confirms; nil where there is none, or it is not
// ready.
func (r *Replica) CurrentLeader(ctx context.Context) (*Leader, error) {
	l := r.Leader()
	if l == nil {
		return nil, nil
	}
	if l.Self {
		return l, nil
	}
	epoch, err := r.storedEpoch(ctx)
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && epoch != l.Epoch:
		return nil, nil
	case err != nil:
		class := storage.ClassOf(err)
		if class == "" {
			class = storage.Unresponsive
		}
		return nil, fault.Wrap(err, fault.Unavailable, "the storage does not report who leads: %s; %s", class, class.Remedy())
	}
	return l, nil
}

// Led reports whether the storage names a leader. It does not where the storage does not answer.
func (r *Replica) Led(ctx context.Context) bool {
	if r == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timing.Prove)
	defer cancel()
	_, _, err := r.elector.Leader(ctx)
	return err == nil
}

// leaderCacheTime bounds how often unauthenticated clients make this node ask the storage who
// leads.
const leaderCacheTime = 250 * time.Millisecond

type leaderCache struct {
	mu    sync.Mutex
	until time.Time
	epoch uint64
	err   error
}

func (r *Replica) storedEpoch(ctx context.Context) (uint64, error) {
	c := &r.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.until) {
		return c.epoch, c.err
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timing.Prove)
	defer cancel()
	_, c.epoch, c.err = r.elector.Leader(ctx)
	c.until = time.Now().Add(leaderCacheTime)
	return c.epoch, c.err
}
