package recovery

import (
	"cmp"
	"fmt"
)

// Params is what the ceremony will make once it is authorised: new shares, or a token.
type Params struct {
	Shares    int // of the new custody; 0 where no shares come out
	Threshold int
	// Verification keeps the old shares valid until a threshold of the new ones is proven.
	Verification bool
	// Backup keeps the encrypted new shares; it needs Recipients.
	Backup bool
	// Recipients are the public keys to which the new shares are encrypted, one for each share, or the one to which the token is. The
	// ceremony does not interpret them.
	Recipients []string
	// Fingerprints tell people which keys Recipients are: one for each, or none. Where they are there, [Ceremony.Await] drops
	// the keys themselves, since the shares are encrypted by then.
	Fingerprints []string
	// Holders are the names of those who will have the new shares, one for each share; see CheckHolders.
	Holders []string
	// OTP is the one-time password that a token is encoded with; it needs no Recipients, and wins over one. It is worth as much
	// as the token: never log it.
	OTP string
}

// settle checks what is asked for against who can authorise it.
func settle(p Purpose, authority *ShareSet, params Params, o Origin) (Params, error) {
	switch p {
	case PurposeRekeyBarrier:
		if authority == nil || authority.Target == Recovery {
			return keyOnly(params)
		}
	case PurposeRekeyRecovery:
		if authority != nil && authority.Target != Recovery {
			return params, &worded{"recovery rekeying not supported: people unseal this server, so there are no recovery shares", ErrPurpose}
		}
	case PurposeGenerateRoot, PurposeRecoveryToken:
		if authority == nil {
			return params, &worded{"there are no shares that could authorise a token: the store was initialised without recovery shares", ErrPurpose}
		}
		return tokenOnly(params, cmp.Or(o.TokenLen, len(params.OTP)))
	default:
		return params, &worded{fmt.Sprintf("no ceremony has the purpose %q", p), ErrPurpose}
	}
	if params.OTP != "" {
		return params, &worded{"a one-time password is for tokens, not for shares", ErrParams}
	}
	if err := CheckCounts(params.Shares, params.Threshold); err != nil {
		return params, err
	}
	return params, params.check(Collecting)
}

// keyOnly is for a rekey that makes a new root key and no shares.
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
	case len(params.Holders) > 0:
		return refuse("naming holders")
	case params.OTP != "":
		return refuse("a one-time password")
	}
	return Params{}, nil
}

// tokenOnly is for a ceremony that makes a token of length bytes, encoded with a one-time password or encrypted to one key.
func tokenOnly(params Params, length int) (Params, error) {
	switch {
	case params.Shares != 0 || params.Threshold != 0 || len(params.Holders) > 0 || params.Verification || params.Backup:
		return params, &worded{"a token has no shares, holders, verification or backup", ErrParams}
	case params.OTP != "":
		return Params{OTP: params.OTP}, CheckOTP(params.OTP, length)
	case len(params.Recipients) != 1:
		return params, &worded{"a token is encoded with a one-time password, or encrypted to one PGP or age key", ErrParams}
	case len(params.Fingerprints) > 1:
		return params, errFingerprints
	}
	return params, params.checkRecipients()
}

// check keeps to what Start allows and a record can say.
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
			return &worded{fmt.Sprintf("a public key has 1 to %d bytes, and all of them at most %d", maxRecipient, maxRecipients), ErrParams}
		}
	}
	for _, f := range p.Fingerprints {
		if f == "" || len(f) > MaxFingerprint {
			return &worded{fmt.Sprintf("a fingerprint has 1 to %d bytes", MaxFingerprint), ErrParams}
		}
	}
	return nil
}

// recheck is check for what comes from a record, where the purpose says what there has to be.
func (p *Params) recheck(purpose Purpose, phase Phase) error {
	if purpose == PurposeGenerateRoot || purpose == PurposeRecoveryToken {
		if p.OTP != "" && len(p.Recipients)+len(p.Fingerprints) > 0 {
			return &worded{"a token has a one-time password or a key, not both", ErrParams}
		}
		_, err := tokenOnly(*p, len(p.OTP))
		return err
	}
	if p.OTP != "" {
		return &worded{"a one-time password is for tokens, not for shares", ErrParams}
	}
	if p.Shares != 0 || p.Threshold != 0 {
		if err := CheckCounts(p.Shares, p.Threshold); err != nil {
			return err
		}
	}
	return p.check(phase)
}
