package node

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"
	"sync"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

// RecoveryMode is a server that was started to repair its storage by hand: a quorum of shares makes
// a token, and the token reads and writes raw entries behind the barrier. That quorum is the dual
// control of all that the token does until the process ends. The transcript records it. Nothing
// else is served, nothing is mounted, and attempts are not stored.
type RecoveryMode struct {
	node *Node // for its seals and storage; it never runs

	mu         sync.Mutex
	attempt    *recovery.Ceremony
	shareSet   *recovery.ShareSet
	shares     *recovery.Unsealing
	open       *barrier.Barrier   // nil until the barrier is open; unreadable before there is a token
	token      *secret.Bytes      // nil until a quorum has made one
	leadership storage.Leadership // of a store that several nodes share: no other node writes meanwhile
}

// tokenPrefix marks a token of recovery mode.
const tokenPrefix = "hvr."

// RecoveryTokenLen is the length of a token of recovery mode, and of the one-time password for it.
const RecoveryTokenLen = len(tokenPrefix) + 24

// NewRecovery returns a server in recovery mode. Nothing is read before the first attempt.
func NewRecovery(cfg Config) (*RecoveryMode, error) {
	n, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return &RecoveryMode{node: n}, nil
}

var errRecovered = fault.New(fault.Invalid, "attempted to generate recovery operation token when already unsealed")

// Status returns the state of the attempt.
func (r *RecoveryMode) Status(context.Context) (ceremony.GenerateRootStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.token != nil {
		return ceremony.GenerateRootStatus{}, errRecovered
	}
	return r.status(), nil
}

func (r *RecoveryMode) status() ceremony.GenerateRootStatus {
	st := ceremony.GenerateRootStatus{OTPLength: RecoveryTokenLen}
	if r.shareSet != nil {
		st.Required = r.shareSet.Threshold
	}
	if c := r.attempt; c != nil {
		st.Nonce, st.Started, st.Progress = c.Nonce, true, c.Progress()
		st.PGPFingerprint = strings.Join(c.Params.Fingerprints, "")
	}
	return st
}

// Start begins an attempt, like GenerateRootStart, with a one-time password of [RecoveryTokenLen].
func (r *RecoveryMode) Start(ctx context.Context, otp, pgpKey string) (ceremony.GenerateRootStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.token != nil {
		return ceremony.GenerateRootStatus{}, errRecovered
	}
	if r.attempt != nil && !r.attempt.Expired(r.node.cfg.Now()) && !r.abandoned() {
		return ceremony.GenerateRootStatus{}, fault.New(fault.Invalid, "recovery token generation already in progress")
	}
	if err := r.readShareSet(ctx); err != nil {
		return ceremony.GenerateRootStatus{}, err
	}
	params, made, err := ceremony.TokenParams(otp, pgpKey, r.node.cfg.Now(), r.node.cfg.Rand, RecoveryTokenLen)
	if err != nil {
		return ceremony.GenerateRootStatus{}, err
	}
	c, err := recovery.Start(recovery.PurposeRecoveryToken, r.shareSet, params, recovery.Origin{
		Now: r.node.cfg.Now(), Rand: r.node.cfg.Rand,
	})
	if err != nil {
		return ceremony.GenerateRootStatus{}, ceremony.StartFault(recovery.PurposeRecoveryToken, err)
	}
	r.attempt, r.shares = c, recovery.NewUnsealing(r.shareSet, r.node.cfg.Rand)
	st := r.status()
	st.OTP = made
	return st, nil
}

// readShareSet reads which shares count. Under seals that unseal automatically that is behind the
// barrier, which is opened for that alone.
func (r *RecoveryMode) readShareSet(ctx context.Context) error {
	n := r.node
	n.transition.Lock()
	defer n.transition.Unlock()
	if err := n.load(ctx); err != nil {
		return err
	}
	f := n.state.Load()
	if f.record == nil {
		return fault.New(fault.Invalid, "Vault is not initialized")
	}
	r.shareSet = f.shareSet
	if n.seals.Load().NeedsShares() {
		return nil
	}
	if r.open == nil {
		b, err := r.unwrap(ctx, nil)
		if err != nil {
			return err
		}
		r.open = b
	}
	shareSet, err := n.trustedShareSet(ctx, r.open)
	if err != nil {
		return barrier.Fault(err, "the record of who holds the shares could not be read")
	}
	if shareSet == nil {
		return ceremony.ErrNoShares
	}
	shareSet.DestroyKeys()
	r.shareSet = shareSet
	return nil
}

func (r *RecoveryMode) unwrap(ctx context.Context, quorum wrapping.Wrapper) (*barrier.Barrier, error) {
	record := r.node.state.Load().record
	root, err := r.node.seals.Load().Unwrap(ctx, record, quorum)
	if err != nil {
		return nil, sealFault(err, "the root key could not be unwrapped")
	}
	defer root.Destroy()
	b := barrier.New(r.node.cfg.Store, r.node.barrierOptions())
	if err := b.Unseal(ctx, root, record.Generation); err != nil {
		return nil, barrier.Fault(err, "the root key was unwrapped, but the keyring could not be opened")
	}
	if err := r.becomeLeader(ctx, b); err != nil {
		return nil, errors.Join(err, b.Seal(ended))
	}
	return b, nil
}

// campaignTime is how long recovery mode waits to be elected: longer than the lease of a leader
// that has stopped.
const campaignTime = 10 * time.Second

// becomeLeader keeps other nodes from writing to a shared store, and fences what recovery mode
// writes.
func (r *RecoveryMode) becomeLeader(ctx context.Context, b *barrier.Barrier) error {
	elector, ok := r.node.cfg.Store.(storage.Elector)
	if !ok {
		return nil
	}
	if r.leadership == nil {
		within, cancel := context.WithTimeout(ctx, campaignTime)
		defer cancel()
		l, err := elector.Campaign(within, []byte("{}"))
		if errors.Is(err, context.DeadlineExceeded) {
			return fault.Wrap(err, fault.Unavailable, "another node of the cluster leads: "+
				"stop all other servers on this storage before you use recovery mode")
		}
		if err != nil {
			return barrier.Fault(err, "recovery mode could not be elected as the leader of the cluster")
		}
		r.leadership = l
	}
	b.Fence(r.leadership.Epoch())
	return barrier.Fault(b.Reload(ctx), "the keyring could not be read")
}

// abandoned reports whether an attempt has no share for so long that another one may replace it.
func (r *RecoveryMode) abandoned() bool {
	return r.attempt.Progress() == 0 && r.node.cfg.Now().Sub(r.attempt.Started) >= 10*time.Minute
}

// Cancel ends the attempt and forgets its shares. There are no tokens in recovery mode, so it takes
// a share once a share was given: no other client ends the work of a quorum.
func (r *RecoveryMode) Cancel(_ context.Context, share *secret.Bytes) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempt == nil || r.attempt.Progress() == 0 {
		r.forget()
		return nil
	}
	if share == nil {
		return fault.New(fault.Denied, "permission denied: cancelling needs a share as 'key' in the body")
	}
	if _, err := r.shareSet.Identify(share); err != nil {
		return ceremony.ShareFault(err)
	}
	r.forget()
	return nil
}

func (r *RecoveryMode) forget() {
	if r.shares != nil {
		r.shares.Reset()
	}
	r.attempt, r.shares = nil, nil
}

// Give takes one share. With the last share it opens the barrier and returns the token, encoded.
func (r *RecoveryMode) Give(ctx context.Context, nonce string, share *secret.Bytes) (
	ceremony.GenerateRootStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.token != nil:
		return ceremony.GenerateRootStatus{}, errRecovered
	case r.attempt == nil:
		return ceremony.GenerateRootStatus{}, fault.New(fault.Invalid, "no recovery token generation in progress")
	}
	number, err := r.attempt.Give(r.shareSet, nonce, share, r.node.cfg.Now())
	if err != nil {
		return ceremony.GenerateRootStatus{}, ceremony.ShareFault(err)
	}
	ceremony.Attribute(ctx, r.shareSet, number)
	key, err := r.shares.Give(share)
	if err != nil {
		r.forget()
		return ceremony.GenerateRootStatus{}, ceremony.ShareFault(err)
	}
	if key == nil {
		return r.status(), nil
	}
	defer key.Destroy()
	c := r.attempt
	defer r.forget()
	if err := r.openWith(ctx, key); err != nil {
		return ceremony.GenerateRootStatus{}, err
	}
	if err := r.record(ctx, c); err != nil {
		return ceremony.GenerateRootStatus{}, err
	}
	return r.makeToken(c)
}

// record adds the ceremony to the transcript, before there is a token. Where the transcript is
// damaged, recovery mode is there to help all the same, and the log alone has the ceremony.
func (r *RecoveryMode) record(ctx context.Context, c *recovery.Ceremony) error {
	n := r.node
	tx := r.open.Begin()
	if err := r.addRecord(ctx, tx, c); err != nil {
		n.log.Error("recovery mode: the transcript is damaged and cannot record that a quorum of shares made a token",
			"by_shares", c.Numbers(), "error", err)
		return nil
	}
	return barrier.Fault(tx.Commit(ctx), "the ceremony could not be recorded in the transcript; start it again")
}

func (r *RecoveryMode) addRecord(ctx context.Context, tx *barrier.Tx, c *recovery.Ceremony) error {
	n, a := r.node, &RoleState{barrier: r.open}
	raw, err := integrity{n}.transcriptHead(ctx, a)
	if err != nil {
		return err
	}
	var head transcript.Head
	if raw != nil {
		if head, err = transcript.UnmarshalHead(raw); err != nil {
			return err
		}
	}
	record := transcript.Of(c, r.shareSet)
	record.Cluster, record.Outcome, record.Finished = n.state.Load().record.Cluster, transcript.Completed, n.cfg.Now()
	if err := ceremony.AppendRecord(ctx, r.open, tx, head, record); err != nil {
		return err
	}
	return integrity{n}.attest(ctx, a, tx)
}

// openWith opens the barrier with the quorum's key, under a Shamir seal.
func (r *RecoveryMode) openWith(ctx context.Context, key *secret.Bytes) error {
	q := r.node.seals.Load().Quorum()
	if r.open != nil || q == nil {
		return nil
	}
	w, err := q.For(r.shareSet.PublicKey)
	if err != nil {
		return sealFault(err, "invalid key")
	}
	unlocked := w.(seals.Quorum) // For returns the same provider
	if err := unlocked.Unlock(key.Expose()); err != nil {
		return sealFault(err, "invalid key")
	}
	defer unlocked.Lock()
	r.open, err = r.unwrap(ctx, w)
	return err
}

func (r *RecoveryMode) makeToken(c *recovery.Ceremony) (ceremony.GenerateRootStatus, error) {
	text, err := token.NewTokenText(r.node.cfg.Rand)
	if err != nil {
		return ceremony.GenerateRootStatus{}, err
	}
	token := tokenPrefix + strings.TrimPrefix(text, "s.")
	encoded, prints, err := ceremony.EncodeToken(token, c)
	if err != nil {
		return ceremony.GenerateRootStatus{}, err
	}
	r.token = secret.New([]byte(token))
	r.node.log.Warn("recovery mode: a quorum of shares made a token that reads and writes raw storage",
		"by_shares", c.Numbers())
	return ceremony.GenerateRootStatus{
		Nonce: c.Nonce, Started: true, Complete: true, Progress: c.Required, Required: c.Required,
		EncodedToken: encoded, PGPFingerprint: strings.Join(prints, ""),
	}, nil
}

// Raw returns the entries behind the barrier to the holder of the token; other clients are denied.
func (r *RecoveryMode) Raw(token string) (*Raw, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.token == nil || subtle.ConstantTimeCompare([]byte(token), r.token.Expose()) != 1 {
		return nil, fault.New(fault.Denied, "")
	}
	return &Raw{r.open}, nil
}

// Close forgets all keys.
func (r *RecoveryMode) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
	r.token.Destroy()
	r.token = nil
	if r.open == nil {
		return nil
	}
	b := r.open
	r.open = nil
	err := b.Seal(ctx)
	if r.leadership != nil {
		err = errors.Join(err, r.leadership.Resign(ctx))
	}
	return err
}
