package recovery

import (
	"cmp"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"time"
)

// DefaultExpiry is the lifetime of a ceremony.
const DefaultExpiry = 24 * time.Hour

// Purpose is what a ceremony authorises. Records store its name, so purposes are added and never
// renamed.
type Purpose string

// The purposes.
const (
	PurposeRekeyBarrier  Purpose = "rekey-barrier"  // a new root key, and new unseal shares with a Shamir seal
	PurposeRekeyRecovery Purpose = "rekey-recovery" // new recovery shares
	PurposeGenerateRoot  Purpose = "generate-root"  // a root token, encoded or encrypted
	PurposeRecoveryToken Purpose = "recovery-token" // a token for recovery mode, encoded or encrypted

	PurposeAuthorizeRaw     Purpose = "authorize-raw"     // one raw access to the storage
	PurposeAuthorizeRestore Purpose = "authorize-restore" // one restore of a snapshot by force
	PurposeAuthorizeSeals   Purpose = "authorize-seals"   // one change of the seals that lessens protection

	PurposeBreakGlassEnroll Purpose = "break-glass-enroll" // from then on the quorum can decrypt the root key
	PurposeBreakGlassRemove Purpose = "break-glass-remove" // the end of that
	PurposeBreakGlass       Purpose = "break-glass"        // unsealing without the seals
)

func (p Purpose) known() bool {
	return p == PurposeRekeyBarrier || p == PurposeRekeyRecovery || p == PurposeGenerateRoot ||
		p == PurposeRecoveryToken || p.authorizes()
}

// authorizes reports whether the ceremony has no parameters and makes no shares and no token.
func (p Purpose) authorizes() bool {
	switch p {
	case PurposeAuthorizeRaw, PurposeAuthorizeRestore, PurposeAuthorizeSeals, PurposeBreakGlassEnroll,
		PurposeBreakGlassRemove, PurposeBreakGlass:
		return true
	}
	return false
}

// Given is one accepted share's number. The value is not kept.
type Given struct {
	Number int
	At     time.Time
}

// Phase is a ceremony's progress.
type Phase uint8

// The phases. A program refuses a record with a phase that it does not know.
const (
	Collecting Phase = 1 // collects Required shares of the authority
	Verifying  Phase = 2 // collects shares of Next up to its threshold
)

// Ceremony is one operation that holders of shares authorise. It is pure state: the caller applies
// one step at a time and stores it after each.
//
//	Start ─▶ Collecting ─Give─▶ ... ─Give─▶ Authorised
//	                                            │ the caller does what Purpose says and removes the
//	                                            │ ceremony, in one commit
//	                                            ▼
//	                                           end
//
//	With verification, the caller makes the new share set and stores it as pending:
//
//	Authorised ─Await─▶ Verifying ─Verify─▶ ... ─Verify─▶ Verified
//	                     ▲     │                              │ the caller replaces the share set and
//	                     └─────┘ RestartVerification:         │ removes the ceremony, in one commit
//	                             no share is proven           ▼
//	                                                         end
//
// A step that fails changes nothing. Apply a step to a [Ceremony.Clone], so that memory equals
// storage if the commit fails.
type Ceremony struct {
	Purpose         Purpose
	Phase           Phase
	Nonce           string // UUID; its holders may submit shares
	Params          Params
	ShareSet        ID // whose shares authorise; zero if Required is 0
	Required        int
	Given           []Given // in the order of submission
	Started         time.Time
	Expires         time.Time
	StartedBy       string // display name of the token, for the record only
	StartedAccessor string // accessor of the token, for the record only

	// The rest belongs to Verifying and is empty before it.

	VerificationNonce string    // UUID; its holders may prove new shares
	Next              *ShareSet // the new shares, pending until they are proven
	Proven            []Given   // shares of Next, in the order of proving
}

// Origin says who starts a ceremony, when, and for how long.
type Origin struct {
	By       string // display name of the token
	Accessor string // of the token
	Now      time.Time
	Expiry   time.Duration // 0: DefaultExpiry
	Rand     io.Reader     // nil: crypto/rand
	// TokenLen is the length of the token to make: Params.OTP has the same length. 0: the caller
	// has called CheckOTP.
	TokenLen int
}

// Start begins a ceremony that the shares of authority will authorise. authority is nil only if no
// shares exist (a device unseals, and no recovery shares were made). Then a rekey requires no share
// and is authorised at once, so the caller must check the right to start it by other means. A token
// always needs shares.
//
// A rekey of the barrier by recovery shares makes no new shares: it sets Params' counts to 0, and
// the rest of Params must be empty. The errors are [ErrPurpose], [ErrShape], [ErrParams] and
// [ErrOTPLength].
func Start(p Purpose, authority *ShareSet, params Params, o Origin) (*Ceremony, error) {
	params, err := settle(p, authority, params, o)
	if err != nil {
		return nil, err
	}
	if len(o.By) > maxText || len(o.Accessor) > maxText || o.Expiry < 0 {
		return nil, &worded{fmt.Sprintf("the display name and the accessor have at most %d bytes, and the expiry is "+
			"positive", maxText), ErrParams}
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

// Give submits one share and returns its number. It checks, in this order: expiry ([ErrExpired]);
// the nonce ([ErrNonce]); the phase ([ErrVerificationDue]); that authority still authorises
// ([ErrAuthorityChanged]); whose share it is ([ErrShareLength], [ErrShareReplaced],
// [ErrShareUnknown]); that it was not submitted before ([ErrShareRepeated]); that it is needed
// ([ErrAuthorised]).
//
// Without the nonce a caller learns nothing about shares. A refused share leaves the others
// unchanged.
func (c *Ceremony) Give(authority *ShareSet, nonce string, share *Secret, now time.Time) (int, error) {
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

// Expired reports whether the ceremony's time is over. Verification has no time of its own: new
// shares that are not proven by then are void, and the old ones stay.
func (c *Ceremony) Expired(now time.Time) bool { return !now.Before(c.Expires) }

// Progress returns how many shares were submitted.
func (c *Ceremony) Progress() int { return len(c.Given) }

// Authorised reports whether all required shares were submitted.
func (c *Ceremony) Authorised() bool { return len(c.Given) >= c.Required }

// Numbers returns the submitted shares' numbers in order.
func (c *Ceremony) Numbers() []int { return numbers(c.Given) }

// GivenBy returns the names of the submitted shares' holders in order: "alice", or "share 3".
// authority is the share set that authorises; if it is nil or another, only numbers are known.
func (c *Ceremony) GivenBy(authority *ShareSet) []string {
	if authority != nil && authority.ID != c.ShareSet {
		authority = nil
	}
	return names(c.Given, authority)
}

// Clone returns an independent copy.
func (c *Ceremony) Clone() *Ceremony {
	d := *c
	d.Given, d.Proven, d.Next = slices.Clone(c.Given), slices.Clone(c.Proven), c.Next.clone()
	d.Params.Recipients = slices.Clone(c.Params.Recipients)
	d.Params.Fingerprints = slices.Clone(c.Params.Fingerprints)
	d.Params.Holders = slices.Clone(c.Params.Holders)
	return &d
}
