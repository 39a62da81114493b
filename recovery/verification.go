package recovery

import (
	"errors"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// Await turns an authorised ceremony that asked for verification to Verifying: next are the new shares, already handed out, which
// replace nothing before they are proven. Where there are fingerprints, the recipients' keys are dropped. The error is [ErrAwait]
// where the ceremony is not authorised, asked for no verification, or where next is not what its parameters say.
func (c *Ceremony) Await(next *ShareSet, rnd io.Reader) error {
	if c.Phase != Collecting || !c.Authorised() || !c.Params.Verification || !c.makes(next) {
		return ErrAwait
	}
	nonce, err := newNonce(rnd)
	if err != nil {
		return err
	}
	c.Phase, c.VerificationNonce, c.Next, c.Proven = Verifying, nonce, next.clone(), nil
	if len(c.Params.Fingerprints) > 0 {
		c.Params.Recipients = nil
	}
	return nil
}

// makes reports whether next is the custody that the ceremony is to make.
func (c *Ceremony) makes(next *ShareSet) bool {
	want := Recovery
	if c.Purpose == PurposeRekeyBarrier {
		want = Barrier
	}
	return next != nil && next.Target == want && next.Shares == c.Params.Shares && next.Threshold == c.Params.Threshold &&
		next.ID != c.ShareSet && next.check() == nil
}

// Verify takes one share of Next, and marks its holder there as proven. The checks, in this order: has the ceremony expired
// ([ErrExpired]); does it verify ([ErrNotVerifying]); is the nonce right ([ErrNonce]); whose share is it ([ErrShareLength],
// [ErrShareUnknown], and [ErrShareReplaced] for one of the old shares); was it proven before ([ErrShareRepeated]); is it one too many
// ([ErrAuthorised]). It returns the share's number. A share that is refused leaves all others as they are.
func (c *Ceremony) Verify(nonce string, share *secret.Bytes, now time.Time) (number int, err error) {
	switch {
	case c.Expired(now):
		return 0, ErrExpired
	case c.Phase != Verifying:
		return 0, ErrNotVerifying
	case !sameNonce(nonce, c.VerificationNonce):
		return 0, ErrNonce
	}
	number, err = c.Next.Identify(share)
	switch {
	case errors.Is(err, ErrShareReplaced):
		return 0, &worded{"share rejected: it is one of the old shares; to verify, give the new ones", ErrShareReplaced}
	case errors.Is(err, ErrShareUnknown):
		return 0, &worded{"share rejected: it is none of the new shares", ErrShareUnknown}
	case err != nil:
		return 0, err
	case has(c.Proven, number):
		return number, &worded{"given key has already been provided during this verify operation", ErrShareRepeated}
	case c.Verified():
		return number, ErrAuthorised
	}
	c.Proven = append(c.Proven, Given{Number: number, At: stamp(now)})
	c.Next.Prove(number, now)
	return number, nil
}

// Verified reports whether a threshold of the new shares is proven.
func (c *Ceremony) Verified() bool { return c.Phase == Verifying && len(c.Proven) >= c.Next.Threshold }

// RestartVerification forgets which new shares were proven, and makes a new nonce. The shares stay the same.
func (c *Ceremony) RestartVerification(rnd io.Reader) error {
	if c.Phase != Verifying {
		return ErrNotVerifying
	}
	nonce, err := newNonce(rnd)
	if err != nil {
		return err
	}
	c.VerificationNonce, c.Proven = nonce, nil
	for i := range c.Next.Holders {
		c.Next.Holders[i].Proven = time.Time{}
	}
	return nil
}

// VerificationProgress is how many new shares were proven.
func (c *Ceremony) VerificationProgress() int { return len(c.Proven) }

// ProvenBy names those who proved new shares, in the order of proving: "alice", or "share 3".
func (c *Ceremony) ProvenBy() []string { return names(c.Proven, c.Next) }
