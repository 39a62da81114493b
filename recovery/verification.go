package recovery

import (
	"errors"
	"io"
	"time"
)

// Await moves an authorised ceremony with verification to Verifying. next are the new shares,
// already distributed, which replace nothing until they are proven. If there are fingerprints, it
// drops the recipients' keys. It returns [ErrAwait] if the ceremony is not authorised or has no
// verification, or if next does not match its parameters.
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

// makes reports whether next is a share set that the ceremony's parameters describe.
func (c *Ceremony) makes(next *ShareSet) bool {
	want := Recovery
	if c.Purpose == PurposeRekeyBarrier {
		want = Barrier
	}
	return next != nil && next.Target == want && next.Shares == c.Params.Shares &&
		next.Threshold == c.Params.Threshold &&
		next.ID != c.ShareSet && next.check() == nil
}

// Verify submits one share of Next, marks its holder as proven and returns its number. It checks,
// in this order: expiry ([ErrExpired]); the phase ([ErrNotVerifying]); the nonce ([ErrNonce]);
// whose share it is ([ErrShareLength], [ErrShareUnknown], and [ErrShareReplaced] for an old share);
// that it was not proven before ([ErrShareRepeated]); that it is needed ([ErrAuthorised]). A
// refused share leaves the others unchanged.
func (c *Ceremony) Verify(nonce string, share *Secret, now time.Time) (number int, err error) {
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
		return 0, &worded{"share rejected: it is one of the old shares; submit the new ones to verify them",
			ErrShareReplaced}
	case errors.Is(err, ErrShareUnknown):
		return 0, &worded{"share rejected: it is not one of the new shares", ErrShareUnknown}
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

// RestartVerification discards the proofs and makes a new nonce. The shares stay the same.
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
