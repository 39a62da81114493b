package ceremony

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// GenerateRootStatus is the state of an attempt to make a root token.
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
	WithoutToken       bool // a client without a token started it
}

// GenerateRootStatus returns the state of the attempt.
func (m *Manager) GenerateRootStatus(ctx context.Context) (GenerateRootStatus, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return GenerateRootStatus{}, err
	}
	c, err := m.read(ctx, u.Barrier, recovery.PurposeGenerateRoot)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	return m.rootStatus(c), nil
}

func (m *Manager) rootStatus(c *recovery.Ceremony) GenerateRootStatus {
	shareSet := m.shareSet()
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

// GenerateRootStart begins an attempt. The token will be encoded with a one-time password, or
// encrypted to a PGP key or age recipient; without either, a password is made and returned, once.
func (m *Manager) GenerateRootStart(ctx context.Context, otp, pgpKey string, by Starter) (GenerateRootStatus, error) {
	params, made, err := TokenParams(otp, pgpKey, m.Now(), m.Rand, token.TokenLen, token.LongTokenLen)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil {
		return GenerateRootStatus{}, err
	}
	if m.shareSet() == nil {
		return GenerateRootStatus{}, ErrNoShares
	}
	c, err := m.begin(ctx, u.Barrier, recovery.PurposeGenerateRoot, params, by)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	st := m.rootStatus(c)
	st.OTP = made
	return st, nil
}

// TokenParams returns how a token is to be encoded. made is the one-time password where the client
// gave neither a password nor a key. A password has one of the lengths; one that is made has the
// first.
func TokenParams(otp, pgpKey string, now time.Time, rnd io.Reader, lengths ...int) (params recovery.Params, made string,
	err error) {
	switch {
	case otp != "":
		var texts []string
		for _, length := range lengths {
			if recovery.CheckOTP(otp, length) == nil {
				return recovery.Params{OTP: otp}, "", nil
			}
			texts = append(texts, strconv.Itoa(length))
		}
		return params, "", fault.New(fault.Invalid,
			"OTP string has incorrect length: it must have %s characters", strings.Join(texts, " or "))
	case pgpKey != "":
		params.Recipients, params.Fingerprints, err = Recipients([]string{pgpKey}, now)
		return params, "", err
	}
	made, err = recovery.NewOTP(lengths[0], rnd)
	return recovery.Params{OTP: made}, made, err
}

// GenerateRootCancel ends the attempt, if there is one. A client without a token needs a share.
func (m *Manager) GenerateRootCancel(ctx context.Context, nonce string, share *secret.Bytes, by Starter) error {
	return m.cancel(ctx, recovery.PurposeGenerateRoot, nonce, share, by)
}

// GenerateRootGive takes one share. With the last share the token is made and returned encoded.
func (m *Manager) GenerateRootGive(ctx context.Context, nonce string, share *secret.Bytes) (GenerateRootStatus, error) {
	kept, err := m.check(ctx, recovery.PurposeGenerateRoot, nonce, share)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	if kept != nil {
		return rootAnswer(kept, kept.Threshold), nil
	}
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, c, err := m.accept(ctx, recovery.PurposeGenerateRoot, nonce, share)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	if !c.Authorised() {
		return m.rootStatus(c), m.store(ctx, u.Barrier, c)
	}
	res, err := m.mintRoot(ctx, u, c, share)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	return rootAnswer(res, c.Required), nil
}

func rootAnswer(res *RekeyResult, required int) GenerateRootStatus {
	return GenerateRootStatus{
		Nonce: res.Nonce, Started: true, Complete: true, Progress: required, Required: required,
		EncodedToken: string(res.Keys[0].Expose()), PGPFingerprint: strings.Join(res.PGPFingerprints, ""),
	}
}

// mintRoot makes the token and ends the attempt, in one commit.
func (m *Manager) mintRoot(ctx context.Context, u Unsealed, c *recovery.Ceremony,
	last *secret.Bytes) (*RekeyResult, error) {
	text, ops, err := u.Tokens.MintRoot(m.Rand, m.Now(), len(c.Params.OTP))
	if err != nil {
		return nil, err
	}
	encoded, prints, err := EncodeToken(text, c)
	if err != nil {
		return nil, err
	}
	res := &RekeyResult{
		Nonce: c.Nonce, Threshold: c.Required, PGPFingerprints: prints,
		Keys: []*secret.Bytes{secret.New([]byte(encoded))},
	}
	tx := u.Barrier.Begin()
	for _, op := range ops {
		tx.Put(op.Key, op.Value)
	}
	tx.Delete(ceremonyPath(c.Purpose))
	if err := m.finishRoot(ctx, u.Barrier, tx, c, res, last); err != nil {
		return nil, err
	}
	m.StartKeeping()
	m.Log.Warn("a quorum of shares made a root token", "by_shares", c.Numbers(),
		"started_by", Starter{Accessor: c.StartedAccessor, DisplayName: c.StartedBy}.String())
	return res, nil
}

func (m *Manager) finishRoot(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, c *recovery.Ceremony,
	res *RekeyResult, last *secret.Bytes) error {
	if err := m.keepAnswer(tx, c, res, last); err != nil {
		return err
	}
	if err := m.record(ctx, b, tx, c, ending{outcome: transcript.Completed}); err != nil {
		return err
	}
	if err := m.markProven(ctx, b, tx, c.Given[len(c.Given)-1].Number); err != nil {
		return err
	}
	failpoint.Point("generate-root.commit")
	return barrier.Fault(m.commit(ctx, tx), "the token could not be written; give the share again")
}

// GenerateRootAcknowledge wipes the kept answer of the attempt: see [Manager.RekeyAcknowledge].
func (m *Manager) GenerateRootAcknowledge(ctx context.Context, nonce string, share *secret.Bytes) error {
	return m.acknowledge(ctx, recovery.PurposeGenerateRoot, nonce, share)
}
