package node

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/cosigner"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// RoleState is what requests need while the node is unsealed: the state of one role, active or
// standby. A request that uses one while the node seals gets barrier.ErrSealed from it.
type RoleState struct {
	barrier     *barrier.Barrier
	tokens      *token.Store
	mounts      *mount.Table
	authMethods *mount.Table
	devices     *device.Registry // nil: there are no devices
	cosigner    *cosigner.Signer
	rewrap      *dataRewrap   // nil on a standby
	stop        func()        // ends what runs for it, and waits
	attested    atomic.Uint64 // the newest revision of the attestation that was seen

	// In a cluster: a leader has a leadership, a standby a follower.
	leadership storage.Leadership
	follower   *ha.Follower
	inflight   *ha.Inflight
	settings   atomic.Uint64
	unrecorded bool // a standby's: it serves once the leader has recorded the unseal by break-glass
}

// Store returns the encrypted storage.
func (a *RoleState) Store() *barrier.Barrier { return a.barrier }

// Raw returns the encrypted storage entry by entry, for sys/raw.
func (a *RoleState) Raw() *Raw { return &Raw{a.barrier} }

// Tokens returns the token store, which authorises requests.
func (a *RoleState) Tokens() *token.Store { return a.tokens }

// Mounts returns the table of secrets engines.
func (a *RoleState) Mounts() *mount.Table { return a.mounts }

// AuthMethods returns the table of auth methods, whose paths are below "auth/".
func (a *RoleState) AuthMethods() *mount.Table { return a.authMethods }

// Devices returns the registry of keys in devices, nil where the program has no devices.
func (a *RoleState) Devices() *device.Registry { return a.devices }

// CoSigner has a key in a device sign the transcript.
func (a *RoleState) CoSigner() *cosigner.Signer { return a.cosigner }

// Standby reports whether this is a standby's: it answers reads that it can prove current, and
// writes nothing.
func (a *RoleState) Standby() bool { return a.follower != nil }

// Enter counts a request that uses the role, until Leave. False: the role has ended, and the
// request is for the node's next one.
func (a *RoleState) Enter() bool { return a.inflight == nil || a.inflight.Enter() }

// Leave is called once for every Enter that returned true.
func (a *RoleState) Leave() {
	if a.inflight != nil {
		a.inflight.Leave()
	}
}

// Inflight implements [ha.Role].
func (a *RoleState) Inflight() *ha.Inflight { return a.inflight }

// Close ends what runs for the role and wipes its keys. It writes the exact encryption counts
// unless ctx has ended.
func (a *RoleState) Close(ctx context.Context) error {
	a.stop()
	var err error
	if a.devices != nil {
		err = a.devices.Close()
	}
	return errors.Join(err, a.barrier.Seal(ctx))
}

// Assume is [ha.Follower.Assume] of a standby; nil for a leader, too, which proves itself by its
// lease.
func (a *RoleState) Assume(ctx context.Context) (context.Context, *ha.Assumption) {
	if a.follower == nil {
		return ctx, nil
	}
	return a.follower.Assume(ctx)
}

// Current waits until a standby has applied all that was committed before the call. An error says
// that it cannot prove that, and that the request is for the leader.
func (a *RoleState) Current(ctx context.Context) error {
	if a.follower == nil {
		return nil
	}
	return a.follower.Current(ctx)
}

// ErrNotHeld is returned for an answer that a leader cannot prove to be current any more.
var ErrNotHeld = fault.New(fault.Unavailable,
	"this node is no longer sure that it is the active one, so it does not answer; try again")

// Held returns nil while it is certain that no other leader has written anything. Call it after
// reading what is answered. A standby's reads are proven before: see Current.
func (a *RoleState) Held() error {
	if a.leadership != nil && !a.leadership.Held() {
		return ErrNotHeld
	}
	return nil
}

// SettingsVersion changes whenever another node has changed settings of the API.
func (a *RoleState) SettingsVersion() uint64 { return a.settings.Load() }
