package node

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// Config configures a node.
type Config struct {
	Store       storage.Store
	StorageType string // as reported to clients: "bbolt", "inmem", ...
	Seals       *seals.Set
	MigrateFrom *seals.Set               // a store that these seals hold is migrated to Seals; nil: none
	ClusterName string                   // "" = made at initialisation
	Engines     map[string]mount.Factory // secrets engines, by type
	AuthMethods map[string]mount.Factory // auth methods, by type

	Devices *device.Hub // where keys in devices are; nil: there are none
	// DeviceEngines are secrets engines that use them, in place of those of Engines.
	DeviceEngines map[string]func(*device.Registry) mount.Factory

	Mounts    []mount.Entry // mounts that initialisation makes beside the standard ones
	RootToken string        // of a development server; "" = random

	// ReadSeals makes the node use the seals of the configuration as it is now, by ReplaceSeals; nil:
	// the configuration cannot be read again.
	ReadSeals func(context.Context) error

	Trail   *audit.Trail      // nil: nothing is audited
	Metrics *metrics.Registry // nil: nothing is counted

	// Cluster makes the node a member of a cluster; the store must satisfy [ha.CheckStore]. Nil: the
	// node runs without a cluster, whatever the store can do.
	Cluster *ha.Member

	// BreakGlass lets a quorum that is enrolled unseal this node when its seals fail.
	BreakGlass bool

	ClusterID string // refuses a storage of another cluster; "": any
	Anchor    Anchor // nil: a storage that was rolled back as a whole is not recognised
	// LastCommit returns a number that grows with the storage's commits; nil: it has none. The default
	// is storage.Sequencer's.
	LastCommit     func(context.Context) (uint64, error)
	AcceptRollback string // "<cluster id>:<generation>" of a storage that is accepted despite the anchor

	Snapshots []SnapshotSchedule // that the active node takes

	Log  *slog.Logger     // nil: silent
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand

	Timing Timing
}

// Timing is how long and how often. Zero values are the defaults; every wait is jittered by a
// quarter.
type Timing struct {
	// Probe is the time between proofs that the seals would unseal: 10 s. Seals whose calls cost money
	// have a slower schedule, see seals.MeteredPace.
	Probe        time.Duration
	ProbeFailing time.Duration // the same while one of them would not: 2 s
	Describe     time.Duration // between reads of the state of their keys: 10 min
	RetryMin     time.Duration // first wait after a failed attempt to unseal: 500 ms, doubled up to
	RetryMax     time.Duration // 4 s
	Maintain     time.Duration // between checks for a due rotation, lapsed ceremonies and kept answers: 1 min
	Ceremony     time.Duration // how long a ceremony may take: 24 h
	Answer       time.Duration // how long the answer to a last share is kept: 10 min; negative = not at all

	// In a cluster.

	// Stagger is up to how long a node waits before it asks the seals at its start: 500 ms; a
	// twenty-fifth of it where no node leads.
	Stagger      time.Duration
	Pause        time.Duration // how long a node that stepped down lets others be elected first: 10 s
	Drain        time.Duration // how long requests in flight may use a role that has ended: 5 s
	BecomeLeader time.Duration // how long reading all state for a new role may take: 20 s
	Prove        time.Duration // within which the storage must prove that a standby is current: 1 s
	Echo         time.Duration // between a standby's announcements to the leader: 1 s
	Forward      time.Duration // how long a request waits for a leader: 10 s
	Trial        time.Duration // how long a request waits for the nodes' proofs of a new seal: 8 s
	HandOver     time.Duration // how long standbys can fetch a new root key under a Shamir seal: 10 min
}

func (t *Timing) defaults() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&t.Probe, 10 * time.Second}, {&t.ProbeFailing, 2 * time.Second}, {&t.Describe, 10 * time.Minute},
		{&t.RetryMin, 500 * time.Millisecond}, {&t.RetryMax, 4 * time.Second}, {&t.Maintain, time.Minute},
		{&t.Answer, 10 * time.Minute}, {&t.Ceremony, recovery.DefaultExpiry},
		{&t.Stagger, 500 * time.Millisecond}, {&t.Pause, 10 * time.Second}, {&t.Drain, 5 * time.Second},
		{&t.BecomeLeader, 20 * time.Second}, {&t.Prove, time.Second}, {&t.Echo, time.Second},
		{&t.Forward, 10 * time.Second}, {&t.HandOver, 10 * time.Minute},
		{&t.Trial, 8 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
}

// complete checks the configuration and fills in the defaults.
func (c *Config) complete() error {
	if c.Store == nil || c.Seals == nil {
		return errors.New("node: the configuration needs a store and a set of seals")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if s, ok := c.Store.(storage.Sequencer); ok && c.LastCommit == nil {
		c.LastCommit = s.Revision
	}
	c.Timing.defaults()
	return nil
}
