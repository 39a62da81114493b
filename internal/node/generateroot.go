package node

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/recipient"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// GenerateRootStatus is where an attempt to make a root token stands.
type GenerateRootStatus struct {
	Nonce              string
	Started            bool
	Progress, Required int
	Complete           bool
	EncodedToken       string // only in the answer to the last share
	PGPFingerprint     string
	OTP                string // only in the answer to the start that made it
	OTPLength          int
	HoldersGiven       []string
	WithoutToken       bool // somebody without a token started it
}

// tokenlessExpiry ends an attempt that somebody without a token started. All tokens may be lost, so that must be
// possible; but it must not keep others out for long.
const tokenlessExpiry = time.Hour

// GenerateRootStatus tells where the attempt stands.
func (n *Node) GenerateRootStatus(ctx context.Context) (GenerateRootStatus, error) {
	a, err := n.Role()
	if err != nil {
		return GenerateRootStatus{}, err
	}
	c, err := n.readCeremony(ctx, a.barrier, recovery.PurposeGenerateRoot)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	return n.describeRoot(c), nil
}

func (n *Node) describeRoot(c *recovery.Ceremony) GenerateRootStatus {
	shareSet := n.state.Load().shareSet
	st := GenerateRootStatus{OTPLength: token.TokenLen}
	if shareSet != nil {
		st.Required = shareSet.Threshold
	}
	if c == nil {
		return st
	}
	st.Nonce, st.Started, st.Progress, st.Required = c.Nonce, true, c.Progress(), c.Required
	st.HoldersGiven, st.WithoutToken = c.GivenBy(shareSet), c.StartedAccessor == ""
	st.PGPFingerprint = strings.Join(c.Params.Fingerprints, "")
	return st
}

// GenerateRootStart begins an attempt whose token will be encoded with a one-time password, or encrypted to a PGP key or age recipient;
// without either, a password is made and returned, once.
func (n *Node) GenerateRootStart(ctx context.Context, otp, pgpKey string, by Starter) (GenerateRootStatus, error) {
	params, made, err := n.tokenParams(otp, pgpKey, token.TokenLen)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Role()
	if err != nil {
		return GenerateRootStatus{}, err
	}
	if n.state.Load().shareSet == nil {
		return GenerateRootStatus{}, errNoShares
	}
	c, err := n.begin(ctx, a.barrier, recovery.PurposeGenerateRoot, params, by)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	st := n.describeRoot(c)
	st.OTP = made
	return st, nil
}

// tokenParams says how a token is to be encoded; made is the password that nobody gave.
func (n *Node) tokenParams(otp, pgpKey string, length int) (params recovery.Params, made string, err error) {
	switch {
	case otp != "":
		if err := recovery.CheckOTP(otp, length); err != nil {
			return params, "", fault.New(fault.Invalid, "OTP string has incorrect length: it must have %d characters", length)
		}
		return recovery.Params{OTP: otp}, "", nil
	case pgpKey != "":
		params.Recipients, params.Fingerprints, err = n.recipientsOf([]string{pgpKey})
		return params, "", err
	}
	made, err = recovery.NewOTP(length, n.cfg.Rand)
	return recovery.Params{OTP: made}, made, err
}

// GenerateRootCancel ends the attempt, if there is one.
func (n *Node) GenerateRootCancel(ctx context.Context, nonce string, by Starter) error {
	return n.cancel(ctx, recovery.PurposeGenerateRoot, nonce, by)
}

// GenerateRootGive takes one share. With the last one the token is made, and returned in its encoding.
func (n *Node) GenerateRootGive(ctx context.Context, nonce string, share *secret.Bytes) (GenerateRootStatus, error) {
	kept, err := n.look(ctx, recovery.PurposeGenerateRoot, nonce, share)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	if kept != nil {
		return rootAnswer(kept.result(), kept.authority.Threshold), nil
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a, c, err := n.take(ctx, recovery.PurposeGenerateRoot, nonce, share)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	if !c.Authorised() {
		return n.describeRoot(c), n.keep(ctx, a.barrier, c)
	}
	res, err := n.mintRoot(ctx, a, c)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	return rootAnswer(res, c.Required), nil
}

func rootAnswer(res *RekeyResult, required int) GenerateRootStatus {
	st := GenerateRootStatus{
		Nonce: res.Nonce, Started: true, Complete: true, Progress: required, Required: required,
		EncodedToken: string(res.Keys[0].Expose()),
	}
	st.PGPFingerprint = strings.Join(res.PGPFingerprints, "")
	return st
}

// mintRoot makes the token and ends the attempt, in one commit.
func (n *Node) mintRoot(ctx context.Context, a *RoleState, c *recovery.Ceremony) (*RekeyResult, error) {
	token, ops, err := a.tokens.MintRoot(n.cfg.Rand, n.cfg.Now())
	if err != nil {
		return nil, err
	}
	encoded, prints, err := encodeToken(token, c)
	if err != nil {
		return nil, err
	}
	res := &RekeyResult{Nonce: c.Nonce, Keys: []*secret.Bytes{secret.New([]byte(encoded))}, PGPFingerprints: prints}
	tx := a.barrier.Begin()
	for _, op := range ops {
		tx.Put(op.Key, op.Value)
	}
	tx.Delete(ceremonyPath(c.Purpose))
	if err := n.finishRoot(ctx, a.barrier, tx, c, res); err != nil {
		return nil, err
	}
	n.answerStarts()
	n.log.Warn("a root token was made by a quorum of shares", "by_shares", c.Numbers(), "started_by", Starter{c.StartedAccessor, c.StartedBy}.String())
	return res, nil
}

func (n *Node) finishRoot(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, c *recovery.Ceremony, res *RekeyResult) error {
	if err := n.keepAnswer(tx, c, res); err != nil {
		return err
	}
	if err := n.transcribe(ctx, b, tx, c, ending{outcome: transcript.Completed}); err != nil {
		return err
	}
	if err := n.noteProven(ctx, b, tx, c.Given[len(c.Given)-1].Number); err != nil {
		return err
	}
	failpoint.Point("generate-root.commit")
	return storeFault(tx.Commit(ctx), "the token could not be written; give the share again")
}

// encodeToken makes a token unreadable to all but the one who has the password or the key.
func encodeToken(token string, c *recovery.Ceremony) (encoded string, prints []string, err error) {
	if c.Params.OTP != "" {
		encoded, err = recovery.EncodeToken(token, c.Params.OTP)
		return encoded, nil, err
	}
	return encryptToken(token, c.Params.Recipients[0], c.Started)
}

// encryptToken encrypts a token to one recipient, whose key was good at a time, in base64 as clients expect it.
func encryptToken(token, to string, at time.Time) (encoded string, prints []string, err error) {
	r, err := recipient.Parse(to, at)
	if err != nil {
		return "", nil, fmt.Errorf("node: the token's recipient: %w", err)
	}
	message, err := r.Encrypt([]byte(token))
	if err != nil {
		return "", nil, fmt.Errorf("node: encrypting the token: %w", err)
	}
	return base64.StdEncoding.EncodeToString(message), []string{r.Fingerprint()}, nil
}

// GenerateRootAcknowledge wipes the kept answer of the attempt: see RekeyAcknowledge.
func (n *Node) GenerateRootAcknowledge(ctx context.Context, nonce string, share *secret.Bytes) error {
	return n.acknowledge(ctx, recovery.PurposeGenerateRoot, nonce, share)
}
