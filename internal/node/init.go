package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/internal/uuid"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// InitRequest asks for a new store. A zero field was not given.
type InitRequest struct {
	SecretShares, SecretThreshold     int
	RecoveryShares, RecoveryThreshold int
	PGPKeys, RecoveryPGPKeys          []string
	RootTokenPGPKey                   string
	Holders                           []string // names of the share holders, one for each share
}

// InitResult is the result of an initialisation. It is shown once.
type InitResult struct {
	Keys         []*secret.Bytes // unseal shares, under a Shamir seal
	RecoveryKeys []*secret.Bytes // recovery shares, under seals that unseal automatically
	RootToken    string
	SnapshotKey  []byte // public half of the key that signs snapshots
}

// Initialized reports whether the store was ever initialised.
func (n *Node) Initialized(ctx context.Context) (bool, error) {
	if f := n.state.Load(); f.record != nil {
		return true, nil
	}
	record, _, err := readRecord(ctx, n.cfg.Store)
	return record != nil, err
}

var errInitialized = fault.New(fault.Invalid, "Vault is already initialized")

// Init makes the keys, proves that every seal unwraps the root key, and writes everything in one
// commit. Under seals that unseal automatically the node is active when Init returns; under a
// Shamir seal it waits for its shares, as Vault does.
func (n *Node) Init(ctx context.Context, req InitRequest) (*InitResult, error) {
	custodians := n.seals.Load().NeedsShares()
	decrypts := n.seals.Load().HasCustodians(n.seals.Load().Plan())
	if err := req.check(n.seals.Load().Type(), custodians, decrypts); err != nil {
		return nil, err
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	if !n.sealed() { // before anything is read: what is outside the barrier counts only while sealed
		return nil, errInitialized
	}
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	if n.state.Load().record != nil {
		return nil, errInitialized
	}
	if err := req.checkRecipients(n.cfg.Now()); err != nil {
		return nil, err
	}
	g, err := n.generate(ctx, req, custodians)
	if err != nil {
		return nil, err
	}
	defer g.root.Destroy()
	if err := n.commitInit(ctx, g); err != nil {
		return nil, err
	}
	n.seals.Load().Adopt(g.record)
	n.log.Info("initialised", "cluster", g.record.Cluster, "seals", len(g.record.Parts))
	if err := n.loadVacant(ctx); err != nil {
		return nil, err
	}
	if !custodians {
		if err := n.activate(ctx, g.barrier); err != nil {
			n.log.Error("initialised, but not active yet; activating is tried again", "error", err)
		}
	} else if err := g.barrier.Seal(ctx); err != nil {
		n.log.Warn("sealing after initialisation", "error", err)
	}
	n.poke()
	return g.result(), nil
}

// genesis is the content of a new store before it is written.
type genesis struct {
	root       *secret.Bytes
	record     *seals.Record
	shareSet   *recovery.ShareSet // nil: there are no recovery shares
	shares     []*secret.Bytes    // or the messages that they are encrypted in
	custodians bool               // the seals do not unseal without the shares
	barrier    *barrier.Barrier
	tx         *barrier.Tx
	token      string   // as it is returned
	tokenTo    []string // its recipient, or none
	signer     []byte   // public half of the key that signs snapshots
}

func (g *genesis) result() *InitResult {
	r := &InitResult{RootToken: g.token, SnapshotKey: g.signer}
	if g.custodians {
		r.Keys = g.shares
	} else {
		r.RecoveryKeys = g.shares
	}
	return r
}

func (n *Node) generate(ctx context.Context, req InitRequest, custodians bool) (*genesis, error) {
	g := &genesis{custodians: custodians, tokenTo: req.tokenRecipient()}
	target, shares, threshold := recovery.Recovery, req.RecoveryShares, req.RecoveryThreshold
	if custodians {
		shares, threshold = req.SecretShares, req.SecretThreshold
	}
	decrypts := n.seals.Load().HasCustodians(n.seals.Load().Plan())
	if decrypts {
		target = recovery.Barrier
	}
	var err error
	if shares > 0 {
		g.shareSet, g.shares, err = recovery.NewShareSet(target, nil, shares, threshold, n.cfg.Rand, n.cfg.Now())
		if err != nil {
			return nil, fmt.Errorf("node: making the shares: %w", err)
		}
		if err = g.shareSet.NameHolders(req.Holders); err != nil {
			return nil, err
		}
		recipients := slices.Concat(req.PGPKeys, req.RecoveryPGPKeys)
		if g.shares, _, err = ceremony.Enclose(recipients, g.shares, n.cfg.Now()); err != nil {
			return nil, err
		}
	}
	var quorum *seals.Custodians
	if decrypts {
		quorum = unsealShareSet(g.shareSet)
	}
	if g.root, err = secret.Random(n.cfg.Rand, seals.RootKeyLen); err != nil {
		return nil, err
	}
	id, err := uuid.New(n.cfg.Rand)
	if err != nil {
		return nil, err
	}
	if g.record, err = n.seals.Load().Wrap(ctx, id, 1, g.root, quorum, nil); err != nil {
		return nil, sealFault(err, "nothing was written: a seal cannot wrap the root key")
	}
	g.barrier, g.tx, err = barrier.Format(n.cfg.Store, g.root, 1, n.barrierOptions())
	return g, err
}

// commitInit writes everything in one commit.
func (n *Node) commitInit(ctx context.Context, g *genesis) error {
	record, err := g.record.Marshal()
	if err != nil {
		return err
	}
	tokens, err := n.firstToken()
	if err != nil {
		return err
	}
	if g.token, err = n.encloseToken(tokens.RootToken, g.tokenTo); err != nil {
		return err
	}
	mounts, err := mount.Format(n.cfg.Rand, n.cfg.Mounts...)
	if err != nil {
		return err
	}
	authMethods, err := mount.FormatAuth(n.cfg.Rand)
	if err != nil {
		return err
	}
	name := n.cfg.ClusterName
	if name == "" {
		name = "sealgate-" + g.record.Cluster[:8]
	}
	tx := g.tx
	tx.IfAbsent(keySealed)
	tx.IfAbsent(snapshot.StateKey) // a snapshot is filling the storage
	tx.PutRaw(keySealed, record)
	signer, err := ceremony.FormatTranscript(n.cfg.Rand)
	if err != nil {
		return err
	}
	tx.Put(signer.Key, signer.Value)
	entry, public, err := newSnapshotKey(n, nil)
	if err != nil {
		return err
	}
	defer clear(entry)
	g.signer = public
	tx.Put(pathSnapshotKey, entry)
	for _, op := range slices.Concat(tokens.Ops, mounts, authMethods) {
		tx.Put(op.Key, op.Value)
	}
	if g.shareSet != nil {
		record := g.shareSet.Marshal()
		defer clear(record)
		defer g.shareSet.DestroyKeys()
		tx.Put(pathShareSet+g.shareSet.Target.String(), record)
		if g.shareSet.Target == recovery.Recovery {
			tx.PutRaw(keyShareCounts, shareCounts{g.shareSet.Shares, g.shareSet.Threshold}.marshal())
		}
	}
	attested, _ := attestation{}.attestWritten(tx)
	tx.Put(pathCluster, clusterRecord{Name: name, Created: n.cfg.Now(), Attested: &attested}.marshal())
	failpoint.Point("init.commit")
	err = tx.Commit(ctx)
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, barrier.ErrFormatted) {
		return n.notEmpty(ctx)
	}
	return barrier.Fault(err, "initialisation could not be written")
}

// notEmpty says what made the storage non-empty before an initialisation.
func (n *Node) notEmpty(ctx context.Context) error {
	if st, err := snapshot.Pending(ctx, n.cfg.Store); err == nil && st != nil {
		return errRestoreBusy
	}
	return errInitialized
}

// tokenRecipient is the recipient that the root token is encrypted to, or none.
func (r InitRequest) tokenRecipient() []string {
	if r.RootTokenPGPKey == "" {
		return nil
	}
	return []string{r.RootTokenPGPKey}
}

// encloseToken encrypts the root token, where it has a recipient.
func (n *Node) encloseToken(token string, to []string) (string, error) {
	if len(to) == 0 {
		return token, nil
	}
	encoded, _, err := ceremony.EncryptToken(token, to[0], n.cfg.Now())
	return encoded, err
}

// firstToken makes the root token, or uses the configured one of a development server.
func (n *Node) firstToken() (*token.Formatted, error) {
	if n.cfg.RootToken != "" {
		return token.FormatWith(n.cfg.Rand, n.cfg.Now(), n.cfg.RootToken)
	}
	return token.Format(n.cfg.Rand, n.cfg.Now())
}

// checkRecipients refuses a key that cannot be encrypted to, before anything is made.
func (r InitRequest) checkRecipients(now time.Time) error {
	for what, keys := range map[string][]string{
		"seal": r.PGPKeys, "recovery": r.RecoveryPGPKeys, "root token": r.tokenRecipient(),
	} {
		if _, _, err := ceremony.Recipients(keys, now); err != nil {
			return fault.New(fault.Invalid, "invalid %s configuration: %v", what, err)
		}
	}
	return nil
}

// check refuses counts and names that cannot be, in the contract's words. custodians: the seals do
// not unseal without shares; decrypts: shares are one of the seals.
func (r InitRequest) check(sealType string, custodians, decrypts bool) error {
	secretFields := []string{"secret_shares", "secret_threshold", "pgp_keys"}
	recoveryFields := []string{"recovery_shares", "recovery_threshold", "recovery_pgp_keys"}
	foreign := secretFields
	if custodians {
		foreign = recoveryFields
	}
	if given := r.given(foreign); len(given) > 0 {
		return fault.New(fault.Invalid, "parameters %s not applicable to seal type %s", strings.Join(given, ","), sealType)
	}
	what, shares, threshold, recipients := "recovery", r.RecoveryShares, r.RecoveryThreshold, r.RecoveryPGPKeys
	if custodians {
		what, shares, threshold, recipients = "seal", r.SecretShares, r.SecretThreshold, r.PGPKeys
	}
	if none := shares == 0 && threshold == 0 && len(recipients)+len(r.Holders) == 0; none && !decrypts {
		return nil // no recovery keys at all
	}
	err := recovery.CheckCounts(shares, threshold)
	if err == nil && len(recipients) > 0 && len(recipients) != shares {
		err = errors.New("count mismatch between number of provided PGP keys and number of shares")
	}
	if err == nil {
		err = recovery.CheckHolders(r.Holders, shares)
	}
	if err != nil {
		return fault.New(fault.Invalid, "invalid %s configuration: %v", what, err)
	}
	return nil
}

// given lists the fields that the client set to something.
func (r InitRequest) given(fields []string) []string {
	set := map[string]bool{
		"secret_shares": r.SecretShares != 0, "secret_threshold": r.SecretThreshold != 0,
		"pgp_keys":        len(r.PGPKeys) > 0,
		"recovery_shares": r.RecoveryShares != 0, "recovery_threshold": r.RecoveryThreshold != 0,
		"recovery_pgp_keys": len(r.RecoveryPGPKeys) > 0,
	}
	var out []string
	for _, f := range fields {
		if set[f] {
			out = append(out, f)
		}
	}
	return out
}
