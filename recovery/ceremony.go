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
	PurposeGenerateRoot  Purpose = "generate-root"  // a root token, encoded or encrypted
	PurposeRecoveryToken Purpose = "recovery-token" // the token of recovery mode, encoded or encrypted
)

func (p Purpose) known() bool {
	return p == PurposeRekeyBarrier || p == PurposeRekeyRecovery || p == PurposeGenerateRoot || p == PurposeRecoveryToken
}

// Given is one share that was accepted, by its number: the value is not kept.
type Given struct {
	Number int
	At     time.Time
}

// Phase is how far a ceremony is.
type Phase uint8

// The phases. A program that does not know a phase refuses the record, and does not guess.
const (
	Collecting Phase = 1 // shares of the authority are taken, until Required of them are given
	Verifying  Phase = 2 // shares of Next are taken, until its threshold is proven
)

// Ceremony is one operation that holders of shares authorise. It is pure state: the caller gives it one step at a
// time and stores it after each.
//
//	Start -> Gathering -Give-> ... -Give-> Authorised: the caller does what Purpose says, and removes it, in one commit.
//
//	With verification the caller then makes the new custody, and stores it as pending:
//	Authorised -Await-> Verifying -Verify-> ... -Verify-> Verified: the caller puts Next in place, and removes it, in one commit
//	               RestartVerification -> Verifying, nothing proven
//
// A step that fails changes nothing. Where a step's result is stored, apply the step to a [Ceremony.Clone], so that
// memory equals disk when storing fails.
type Ceremony struct {
	Purpose         Purpose
	Phase           Phase
	Nonce           string // UUID; whoever has it may give shares
	Params          Params
	ShareSet        ID // the custody whose shares authorise; zero where Required is 0
	Required        int
	Given           []Given // in the order of giving
	Started         time.Time
	Expires         time.Time
	StartedBy       string // display name of the token, for the record; not interpreted
	StartedAccessor string // the token's accessor, likewise

	// The rest belongs to Verifying, and is empty before.

	VerificationNonce string    // UUID; whoever has it may prove new shares
	Next              *ShareSet // the new shares, which are pending until they are proven
	Proven            []Given   // shares of Next, in the order of proving
}

// Origin is who starts a ceremony, when, and for how long.
type Origin struct {
	By       string // display name of the token
	Accessor string // of the token
	Now      time.Time
	Expiry   time.Duration // DefaultExpiry where it is 0
	Rand     io.Reader     // crypto/rand where it is nil
	// TokenLen is the length of the token that the ceremony is for: Params.OTP has to be exactly as long. 0 where the caller did CheckOTP.
	TokenLen int
}

// Start begins a ceremony that the shares of authority will authorise. authority is nil only where there are no shares at
// all (a device unseals, and no recovery shares were ever made): then a rekey requires none and is authorised at once, so that
// whoever starts it has to be allowed to by other means. A token is never made without shares.
//
// A rekey of the barrier by recovery shares makes no new shares: Params' numbers are set to 0, and the rest has to be
// empty. The errors are [ErrPurpose], [ErrShape], [ErrParams] and [ErrOTPLength].
func Start(p Purpose, authority *ShareSet, params Params, o Origin) (*Ceremony, error) {
	params, err := settle(p, authority, params, o)
	if err != nil {
		return nil, err
	}
	if len(o.By) > maxText || len(o.Accessor) > maxText || o.Expiry < 0 {
		return nil, &worded{fmt.Sprintf("the name of the one who starts has at most %d bytes, and the expiry is positive", maxText), ErrParams}
	}
	nonce, err := newNonce(o.Rand)
	if err != nil {
		return nil, err
	}
	c := &Ceremony{
		Purpose: p, Phase: Collecting, Nonce: nonce, Params: params, StartedBy: o.By, StartedAccessor: o.Accessor,
		Started: stamp(o.Now), Expires: stamp(o.Now.Add(cmp.Or(o.Expiry, DefaultExpiry))),
	}
	if authority != nil {
		c.ShareSet, c.Required = authority.ID, authority.Threshold
	}
	return c, nil
}

// Give takes one share. The checks, in this order: has it expired ([ErrExpired]); is the nonce right ([ErrNonce]); are shares of
// the authority still taken ([ErrVerificationDue]); does authority still authorise ([ErrAuthorityChanged]); whose share is it
// ([ErrShareLength], [ErrShareReplaced], [ErrShareUnknown]); was it given before ([ErrShareRepeated]); is it one too
// many ([ErrAuthorised]). It returns the share's number.
//
// Nobody learns anything about shares without the nonce, and a share that is refused leaves all others as they are.
func (c *Ceremony) Give(authority *ShareSet, nonce string, share *secret.Bytes, now time.Time) (int, error) {
	if c.Expired(now) {
		return 0, ErrExpired
	}
	if !sameNonce(nonce, c.Nonce) {
		return 0, ErrNonce
	}
	if c.Phase != Collecting {
		return 0, ErrVerificationDue
	}
	if authority == nil || authority.ID != c.ShareSet {
		return 0, ErrAuthorityChanged
	}
	number, err := authority.Identify(share)
	if err != nil {
		return 0, err
	}
	if has(c.Given, number) {
		return number, ErrShareRepeated
	}
	if c.Authorised() {
		return number, ErrAuthorised
	}
	c.Given = append(c.Given, Given{Number: number, At: stamp(now)})
	return number, nil
}

func sameNonce(given, right string) bool {
	return right != "" && subtle.ConstantTimeCompare([]byte(given), []byte(right)) == 1
}

func has(list []Given, number int) bool {
	return slices.ContainsFunc(list, func(g Given) bool { return g.Number == number })
}

func numbers(list []Given) []int {
	out := make([]int, len(list))
	for i, g := range list {
		out[i] = g.Number
	}
	return out
}

func names(list []Given, of *ShareSet) []string {
	out := make([]string, len(list))
	for i, g := range list {
		out[i] = of.HolderName(g.Number)
	}
	return out
}

// Expired reports whether the ceremony's time is over. Verification has no time of its own: new shares that are
// not proven by then are void, and the old ones stay.
func (c *Ceremony) Expired(now time.Time) bool { return !now.Before(c.Expires) }

// Progress is how many shares were given to authorise it.
func (c *Ceremony) Progress() int { return len(c.Given) }

// Authorised reports whether all required shares were given.
func (c *Ceremony) Authorised() bool { return len(c.Given) >= c.Required }

// Numbers are the given shares' numbers in the order of giving.
func (c *Ceremony) Numbers() []int { return numbers(c.Given) }

// GivenBy names those who gave, in the order of giving: "alice", or "share 3". authority is the custody that authorises; where it
// is another or nil, numbers have to do.
func (c *Ceremony) GivenBy(authority *ShareSet) []string {
	if authority != nil && authority.ID != c.ShareSet {
		authority = nil
	}
	return names(c.Given, authority)
}

// Clone is an independent copy.
func (c *Ceremony) Clone() *Ceremony {
	d := *c
	d.Given, d.Proven, d.Next = slices.Clone(c.Given), slices.Clone(c.Proven), c.Next.clone()
	d.Params.Recipients = slices.Clone(c.Params.Recipients)
	d.Params.Fingerprints = slices.Clone(c.Params.Fingerprints)
	d.Params.Holders = slices.Clone(c.Params.Holders)
	return &d
}
