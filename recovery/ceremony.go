package recovery

import (
	"cmp"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// DefaultExpiry ends a ceremony that nobody feeds.
const DefaultExpiry = 24 * time.Hour

// Purpose is what a ceremony is held for. It is stored by its name, so new ones can be added and none is renamed.
type Purpose string

// The purposes.
const (
	PurposeRekeyBarrier  Purpose = "rekey-barrier"  // a new root key; and new unseal shares under a Shamir seal
	PurposeRekeyRecovery Purpose = "rekey-recovery" // new recovery shares; nothing else
)

// Params is what the ceremony will make once it is authorised.
type Params struct {
	Shares    int // of the new custody; 0 where no shares come out
	Threshold int
	// Verification keeps the old shares valid until a threshold of the new ones is proven.
	Verification bool
	// Backup keeps the encrypted new shares; it needs Recipients.
	Backup bool
	// Recipients are the public keys to which the new shares are encrypted, one for each share, as given.
	Recipients []string
	// Holders are the names of those who will have the new shares, one for each share.
	Holders []string
}

// Given is one share that was accepted, by its number: the value is not kept.
type Given struct {
	Number int
	At     time.Time
}

// Phase is how far a ceremony is.
type Phase uint8

// The phases. 2 and above are free for what comes after the last share: verification, and the answer that waits for
// its acknowledgement. A program that does not know a phase refuses the record, and does not guess.
const (
	Gathering Phase = 1 // shares are taken, until Required of them are given
)

// Ceremony is one operation that holders of shares authorise. It is pure state: the caller gives it one step at a
// time and stores it after each.
//
//	Start -> Gathering -Give-> ... -Give-> Authorised: the caller does what Purpose says, and removes it, in one commit
//
// A step that fails changes nothing. Where a step's result is stored, apply the step to a [Ceremony.Clone], so that
// memory equals disk when storing fails.
type Ceremony struct {
	Purpose   Purpose
	Phase     Phase
	Nonce     string // UUID; whoever has it may give shares
	Params    Params
	Custody   ID // the custody whose shares authorise; zero where Required is 0
	Required  int
	Given     []Given // in the order of giving
	Started   time.Time
	Expires   time.Time
	StartedBy string // display name or accessor of the token, for the record; not interpreted
}

// Origin is who starts a ceremony, when, and for how long.
type Origin struct {
	By     string
	Now    time.Time
	Expiry time.Duration // DefaultExpiry where it is 0
	Rand   io.Reader     // crypto/rand where it is nil
}

// Start begins a ceremony that the shares of authority will authorise. authority is nil only where there are no shares at
// all (a device unseals, and no recovery shares were ever made): then nothing is required and it is authorised at once.
//
// A rekey of the barrier by recovery shares makes no new shares: Params' numbers are set to 0, and the rest has to be
// empty. The errors are [ErrPurpose], [ErrShape] and [ErrParams].
func Start(p Purpose, authority *Custody, params Params, o Origin) (*Ceremony, error) {
	params, err := settle(p, authority, params)
	if err != nil {
		return nil, err
	}
	if len(o.By) > maxText || o.Expiry < 0 {
		return nil, &worded{fmt.Sprintf("the name of the one who starts has at most %d bytes, and the expiry is positive", maxText), ErrParams}
	}
	nonce, err := newNonce(o.Rand)
	if err != nil {
		return nil, err
	}
	c := &Ceremony{
		Purpose: p, Phase: Gathering, Nonce: nonce, Params: params, StartedBy: o.By,
		Started: stamp(o.Now), Expires: stamp(o.Now.Add(cmp.Or(o.Expiry, DefaultExpiry))),
	}
	if authority != nil {
		c.Custody, c.Required = authority.ID, authority.Threshold
	}
	return c, nil
}

// Give takes one share. The checks, in this order: has it expired ([ErrExpired]); is the nonce right ([ErrNonce]); does authority
// still authorise ([ErrAuthorityChanged]); whose share is it ([ErrShareLength], [ErrShareReplaced], [ErrShareUnknown]); was it given
// before ([ErrShareRepeated]); is it one too many ([ErrAuthorised]). It returns the share's number.
//
// Nobody learns anything about shares without the nonce, and a share that is refused leaves all others as they are.
func (c *Ceremony) Give(authority *Custody, nonce string, share *secret.Bytes, now time.Time) (int, error) {
	if c.Expired(now) {
		return 0, ErrExpired
	}
	if subtle.ConstantTimeCompare([]byte(nonce), []byte(c.Nonce)) != 1 {
		return 0, ErrNonce
	}
	if authority == nil || authority.ID != c.Custody {
		return 0, ErrAuthorityChanged
	}
	number, err := authority.Identify(share)
	if err != nil {
		return 0, err
	}
	if c.has(number) {
		return number, ErrShareRepeated
	}
	if c.Authorised() {
		return number, ErrAuthorised
	}
	c.Given = append(c.Given, Given{Number: number, At: stamp(now)})
	return number, nil
}

func (c *Ceremony) has(number int) bool {
	return slices.ContainsFunc(c.Given, func(g Given) bool { return g.Number == number })
}

// Expired reports whether the ceremony's time is over.
func (c *Ceremony) Expired(now time.Time) bool { return !now.Before(c.Expires) }

// Progress is how many shares were given.
func (c *Ceremony) Progress() int { return len(c.Given) }

// Authorised reports whether all required shares were given.
func (c *Ceremony) Authorised() bool { return len(c.Given) >= c.Required }

// Numbers are the given shares' numbers in the order of giving.
func (c *Ceremony) Numbers() []int {
	out := make([]int, len(c.Given))
	for i, g := range c.Given {
		out[i] = g.Number
	}
	return out
}

// Clone is an independent copy.
func (c *Ceremony) Clone() *Ceremony {
	d := *c
	d.Given = slices.Clone(c.Given)
	d.Params.Recipients = slices.Clone(c.Params.Recipients)
	d.Params.Holders = slices.Clone(c.Params.Holders)
	return &d
}

// settle checks what is asked for against who can authorise it.
func settle(p Purpose, authority *Custody, params Params) (Params, error) {
	switch p {
	case PurposeRekeyBarrier:
		if authority == nil || authority.Target == Recovery {
			return keyOnly(params)
		}
	case PurposeRekeyRecovery:
		if authority != nil && authority.Target != Recovery {
			return params, &worded{"recovery rekeying not supported: people unseal this server, so there are no recovery shares", ErrPurpose}
		}
	default:
		return params, &worded{fmt.Sprintf("no ceremony has the purpose %q", p), ErrPurpose}
	}
	if err := CheckShape(params.Shares, params.Threshold); err != nil {
		return params, err
	}
	return params, params.check()
}

// keyOnly is for a rekey that makes a new root key and no shares.
func keyOnly(params Params) (Params, error) {
	refuse := func(what string) (Params, error) {
		return params, &worded{what + " not supported when rekeying the barrier key with recovery keys", ErrParams}
	}
	switch {
	case len(params.Recipients) > 0:
		return refuse("PGP key encryption")
	case params.Backup:
		return refuse("key backup")
	case params.Verification:
		return refuse("requiring verification")
	case len(params.Holders) > 0:
		return refuse("naming holders")
	}
	return Params{}, nil
}

func (p *Params) check() error {
	if p.Backup && len(p.Recipients) == 0 {
		return &worded{"cannot request a backup of the new keys without providing PGP keys for encryption", ErrParams}
	}
	if len(p.Recipients) > 0 && len(p.Recipients) != p.Shares {
		return &worded{"count mismatch between number of provided PGP keys and number of shares", ErrParams}
	}
	if len(p.Holders) > 0 && len(p.Holders) != p.Shares {
		return &worded{"count mismatch between number of provided holders and number of shares", ErrParams}
	}
	total := 0
	for _, r := range p.Recipients {
		total += len(r)
		if len(r) > maxRecipient || total > maxRecipients {
			return &worded{fmt.Sprintf("a public key has at most %d bytes, and all of them %d", maxRecipient, maxRecipients), ErrParams}
		}
	}
	for _, h := range p.Holders {
		if err := checkName(h); err != nil {
			return err
		}
	}
	return nil
}
