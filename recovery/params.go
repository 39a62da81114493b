package recovery

import (
	"cmp"
	"fmt"
)

// Params describes what an authorised ceremony makes: new shares, or a token.
type Params struct {
	Shares    int // of the new share set; 0 if no shares are made
	Threshold int
	// Verification keeps the old shares valid until a threshold of the new ones is proven.
	Verification bool
	// Backup stores the encrypted new shares; it needs Recipients.
	Backup bool
	// Recipients are the public keys to which the new shares are encrypted, one for each share, or
	// the one key for a token. The ceremony does not interpret them.
	Recipients []string
	// Fingerprints identify the Recipients to a reader: one for each, or none. If they are set,
	// [Ceremony.Await] drops the keys, because the shares are encrypted by then.
	Fingerprints []string
	// Holders are the names of the new shares' holders, one for each share; see CheckHolders.
	Holders []string
	// Change describes what an authorisation allows, in the caller's words; its holders see it.
	Change string
	// Enroll has the caller combine the shares: the holders become able to decrypt. It needs a Change.
	Enroll bool
	// OTP is the one-time password that encodes a token. It needs no Recipients and takes
	// precedence over them. It is as secret as the token: never log it.
	OTP string
}

// settle checks the parameters against what the authority can authorise.
func settle(p Purpose, authority *ShareSet, params Params, o Origin) (Params, error) {
	switch p {
	case PurposeRekeyBarrier:
		if authority == nil || authority.Target == Recovery {
			return keyOnly(params)
		}
	case PurposeRekeyRecovery:
		if authority != nil && authority.Target != Recovery {
			return params, &worded{"recovery rekeying not supported: a quorum unseals this server, so there are no " +
				"recovery shares", ErrPurpose}
		}
	case PurposeGenerateRoot, PurposeRecoveryToken:
		if authority == nil {
			return params, &worded{"no shares can authorise a token: the store was initialised without recovery shares",
				ErrPurpose}
		}
		return tokenOnly(params, cmp.Or(o.TokenLen, len(params.OTP)))
	case PurposeAuthorizeRaw, PurposeAuthorizeRestore, PurposeAuthorizeSeals, PurposeBreakGlassEnroll,
		PurposeBreakGlassRemove, PurposeBreakGlass:
		if authority == nil {
			return params, &worded{"no shares can authorise this: the store was initialised without recovery shares",
				ErrPurpose}
		}
		return params, params.checkAuthorisation(p)
	default:
		return params, &worded{fmt.Sprintf("unknown purpose %q of a ceremony", p), ErrPurpose}
	}
	if params.OTP != "" {
		return params, &worded{"a one-time password is for tokens, not for shares", ErrParams}
	}
	if params.Change != "" || params.Enroll {
		return params, errChange
	}
	if err := CheckCounts(params.Shares, params.Threshold); err != nil {
		return params, err
	}
	return params, params.check(Collecting)
}

// errChange is for a description where nothing is authorised.
var errChange = &worded{"only an authorisation of one change describes the change", ErrParams}

// checkAuthorisation checks a ceremony that makes nothing.
func (p *Params) checkAuthorisation(purpose Purpose) error {
	if purpose != PurposeAuthorizeSeals && (p.Change != "" || p.Enroll) || p.Enroll && p.Change == "" {
		return errChange
	}
	if len(p.Change) > MaxChange {
		return &worded{fmt.Sprintf("the description of a change has at most %d bytes", MaxChange), ErrParams}
	}

	if p.Shares != 0 || p.Threshold != 0 || p.Verification || p.Backup || p.OTP != "" ||
		len(p.Recipients)+len(p.Fingerprints)+len(p.Holders) > 0 {
		return &worded{"an authorisation has no parameters", ErrParams}
	}
	return nil
}

// keyOnly checks a rekey that makes a new root key and no shares.
func keyOnly(params Params) (Params, error) {
	refuse := func(what string) (Params, error) {
		return params, &KeyOnlyError{what}
	}
	switch {
	case len(params.Recipients) > 0 || len(params.Fingerprints) > 0:
		return refuse("PGP key encryption")
	case params.Backup:
		return refuse("key backup")
	case params.Verification:
		return refuse("requiring verification")
	case params.Change != "" || params.Enroll:
		return params, errChange
	case len(params.Holders) > 0:
		return refuse("naming holders")
	case params.OTP != "":
		return refuse("a one-time password")
	}
	return Params{}, nil
}

// tokenOnly checks a ceremony that makes a token of length bytes, encoded with a one-time password
// or encrypted to one key.
func tokenOnly(params Params, length int) (Params, error) {
	switch {
	case params.Change != "" || params.Enroll:
		return params, errChange
	case params.Shares != 0 || params.Threshold != 0 || len(params.Holders) > 0 || params.Verification || params.Backup:
		return params, &worded{"a token has no shares, holders, verification or backup", ErrParams}
	case params.OTP != "":
		return Params{OTP: params.OTP}, CheckOTP(params.OTP, length)
	case len(params.Recipients) != 1:
		return params, &worded{"a token is encoded with a one-time password, or encrypted to one PGP or age key",
			ErrParams}
	case len(params.Fingerprints) > 1:
		return params, errFingerprints
	}
	return params, params.checkRecipients()
}

// check refuses what Start does not allow and a record cannot express.
func (p *Params) check(phase Phase) error {
	if p.Backup && len(p.Fingerprints) == 0 && len(p.Recipients) == 0 {
		return &worded{"cannot request a backup of the new keys without providing PGP keys for encryption", ErrParams}
	}
	if len(p.Recipients) > 0 && len(p.Recipients) != p.Shares {
		return &worded{"count mismatch between number of provided PGP keys and number of shares", ErrParams}
	}
	if len(p.Fingerprints) > 0 && (len(p.Fingerprints) != p.Shares || phase == Collecting && len(p.Recipients) == 0) {
		return errFingerprints
	}
	if err := p.checkRecipients(); err != nil {
		return err
	}
	return CheckHolders(p.Holders, p.Shares)
}

var errFingerprints = &worded{"count mismatch between number of provided PGP keys and of their fingerprints", ErrParams}

func (p *Params) checkRecipients() error {
	total := 0
	for _, r := range p.Recipients {
		total += len(r)
		if r == "" || len(r) > maxRecipient || total > maxRecipients {
			return &worded{fmt.Sprintf("a public key has 1 to %d bytes, and all keys together at most %d",
				maxRecipient, maxRecipients), ErrParams}
		}
	}
	for _, f := range p.Fingerprints {
		if f == "" || len(f) > MaxFingerprint {
			return &worded{fmt.Sprintf("a fingerprint has 1 to %d bytes", MaxFingerprint), ErrParams}
		}
	}
	return nil
}

// recheck is check for a decoded record.
func (p *Params) recheck(purpose Purpose, phase Phase) error {
	if purpose == PurposeGenerateRoot || purpose == PurposeRecoveryToken {
		if p.OTP != "" && len(p.Recipients)+len(p.Fingerprints) > 0 {
			return &worded{"a token has a one-time password or a key, not both", ErrParams}
		}
		_, err := tokenOnly(*p, len(p.OTP))
		return err
	}
	if purpose.authorizes() {
		return p.checkAuthorisation(purpose)
	}
	if p.OTP != "" {
		return &worded{"a one-time password is for tokens, not for shares", ErrParams}
	}
	if p.Change != "" || p.Enroll {
		return errChange
	}
	if p.Shares != 0 || p.Threshold != 0 {
		if err := CheckCounts(p.Shares, p.Threshold); err != nil {
			return err
		}
	}
	return p.check(phase)
}
