package recovery

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

const (
	ceremonyVersion       = 1
	ceremonyVersionChange = 2         // with Params.Change
	maxText               = 256       // of purpose, nonce, display name and accessor, in bytes
	maxRecipient          = 1<<16 - 1 // one public key as submitted, in bytes
	maxRecipients         = 640 << 10 // all public keys; a storage commit holds 1 MiB

	// MaxFingerprint is the longest entry of Params.Fingerprints, in bytes.
	MaxFingerprint = 128

	// MaxChange is the longest Params.Change, in bytes.
	MaxChange = 4 << 10

	flagVerification = 1 << 0
	flagBackup       = 1 << 1
	flagEnroll       = 1 << 2
)

// Marshal returns the ceremony's record, numbers big-endian:
//
//	version u8 = 1 or 2 | length u16, purpose | phase u8 | length u16, nonce | share set id 16
//	| required u8 | started i64 | expires i64 | length u16, started by | length u16, accessor
//	| shares u8 | threshold u8 | flags u8 (bit 0 verification, bit 1 backup, in
//	  version 2 bit 2 enroll)
//	| length u16, one-time password
//	| count u8, count times: { length u16, recipient }
//	| count u8, count times: { length u16, fingerprint }
//	| count u8, count times: { length u16, holder's name }
//	| in version 2: length u16, change
//	| given u8, given times: { share number u8 | at i64 }
//	| and in phase 2: length u16, verification nonce | length u24, record of the next share set
//	  | proven u8, proven times: { share number u8 | at i64 }
//
// Version 2 has a change that is not empty; every other ceremony has version 1. Times are
// nanoseconds since 1970, 0 for none. It panics for a ceremony beyond the bounds of
// [UnmarshalCeremony], which neither [Start] nor a record can make.
func (c *Ceremony) Marshal() []byte {
	if err := c.check(); err != nil {
		panic("recovery: " + err.Error())
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 512))
	b.AddUint8(c.version())
	addText(b, string(c.Purpose))
	b.AddUint8(uint8(c.Phase))
	addText(b, c.Nonce)
	b.AddBytes(c.ShareSet[:])
	b.AddUint8(uint8(c.Required))
	addTime(b, c.Started)
	addTime(b, c.Expires)
	addText(b, c.StartedBy)
	addText(b, c.StartedAccessor)
	c.Params.marshal(b)
	addGiven(b, c.Given)
	if c.Phase == Verifying {
		addText(b, c.VerificationNonce)
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Next.Marshal()) })
		addGiven(b, c.Proven)
	}
	return b.BytesOrPanic()
}

func (p *Params) marshal(b *cryptobyte.Builder) {
	var flags uint8
	if p.Verification {
		flags |= flagVerification
	}
	if p.Backup {
		flags |= flagBackup
	}
	if p.Enroll {
		flags |= flagEnroll
	}
	b.AddUint8(uint8(p.Shares))
	b.AddUint8(uint8(p.Threshold))
	b.AddUint8(flags)
	addText(b, p.OTP)
	for _, list := range [][]string{p.Recipients, p.Fingerprints, p.Holders} {
		b.AddUint8(uint8(len(list)))
		for _, text := range list {
			addText(b, text)
		}
	}
	if p.Change != "" {
		addText(b, p.Change)
	}
}

// version is the lowest one that can express the ceremony.
func (c *Ceremony) version() uint8 {
	if c.Params.Change != "" {
		return ceremonyVersionChange
	}
	return ceremonyVersion
}

func addGiven(b *cryptobyte.Builder, list []Given) {
	b.AddUint8(uint8(len(list)))
	for _, g := range list {
		b.AddUint8(uint8(g.Number))
		addTime(b, g.At)
	}
}

// UnmarshalCeremony decodes a record of [Ceremony.Marshal]. Errors wrap [ErrRecord].
func UnmarshalCeremony(record []byte) (*Ceremony, error) {
	version := uint8(ceremonyVersion)
	if len(record) > 0 && record[0] == ceremonyVersionChange {
		version = ceremonyVersionChange
	}
	s, err := open(record, version)
	if err != nil {
		return nil, err
	}
	c := new(Ceremony)
	var purpose string
	var phase, required uint8
	if !readText(&s, &purpose, maxText) || !s.ReadUint8(&phase) || !readText(&s, &c.Nonce, maxText) ||
		!s.CopyBytes(c.ShareSet[:]) || !s.ReadUint8(&required) ||
		!readTime(&s, &c.Started) || !readTime(&s, &c.Expires) ||
		!readText(&s, &c.StartedBy, maxText) || !readText(&s, &c.StartedAccessor, maxText) ||
		!c.Params.read(&s, version) || !readGiven(&s, &c.Given) {
		return nil, truncated("ceremony")
	}
	c.Purpose, c.Phase, c.Required = Purpose(purpose), Phase(phase), int(required)
	if c.Phase == Verifying {
		if err := c.readVerification(&s); err != nil {
			return nil, err
		}
	}
	if !s.Empty() && (c.Phase == Collecting || c.Phase == Verifying) {
		return nil, fmt.Errorf("%w: bytes after the end of the ceremony", ErrRecord)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Params) read(s *cryptobyte.String, version uint8) bool {
	var shares, threshold, flags uint8
	known := uint8(flagVerification | flagBackup)
	if version == ceremonyVersionChange {
		known |= flagEnroll
	}
	if !s.ReadUint8(&shares) || !s.ReadUint8(&threshold) || !s.ReadUint8(&flags) || flags&^known != 0 {
		return false
	}
	p.Enroll = flags&flagEnroll != 0
	p.Shares, p.Threshold = int(shares), int(threshold)
	p.Verification, p.Backup = flags&flagVerification != 0, flags&flagBackup != 0
	return readText(s, &p.OTP, MaxOTP) && readTexts(s, &p.Recipients, maxRecipient) &&
		readTexts(s, &p.Fingerprints, MaxFingerprint) && readTexts(s, &p.Holders, MaxName) &&
		(version == ceremonyVersion || readText(s, &p.Change, MaxChange) && p.Change != "")
}

func readGiven(s *cryptobyte.String, out *[]Given) bool {
	var count, number uint8
	if !s.ReadUint8(&count) {
		return false
	}
	for range count {
		var g Given
		if !s.ReadUint8(&number) || !readTime(s, &g.At) {
			return false
		}
		g.Number = int(number)
		*out = append(*out, g)
	}
	return true
}

func (c *Ceremony) readVerification(s *cryptobyte.String) (err error) {
	var next cryptobyte.String
	if !readText(s, &c.VerificationNonce, maxText) || !s.ReadUint24LengthPrefixed(&next) {
		return truncated("ceremony")
	}
	if c.Next, err = UnmarshalShareSet(next); err != nil {
		return fmt.Errorf("the pending share set of a ceremony: %w", err)
	}
	if !readGiven(s, &c.Proven) {
		return truncated("ceremony")
	}
	return nil
}

// check refuses what the record cannot express or this program does not know.
func (c *Ceremony) check() error {
	if !c.Purpose.known() {
		return fmt.Errorf("%w: the ceremony has the unknown purpose %q; a newer version may have written it",
			ErrRecord, c.Purpose)
	}
	if c.Phase != Collecting && c.Phase != Verifying {
		return fmt.Errorf("%w: the ceremony has the unknown phase %d; a newer version may have written it", ErrRecord,
			c.Phase)
	}
	if c.Nonce == "" || len(c.Nonce) > maxText || len(c.StartedBy) > maxText || len(c.StartedAccessor) > maxText {
		return fmt.Errorf("%w: a text of the ceremony is missing or too long", ErrRecord)
	}
	if c.Required < 0 || c.Required > MaxShares || len(c.Given) > c.Required {
		return fmt.Errorf("%w: the ceremony has %d shares submitted of %d required", ErrRecord, len(c.Given),
			c.Required)
	}
	if err := checkGiven(c.Given, MaxShares); err != nil {
		return err
	}
	if err := c.Params.recheck(c.Purpose, c.Phase); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if c.Phase == Verifying {
		return c.checkVerification()
	}
	return nil
}

func (c *Ceremony) checkVerification() error {
	if !c.Authorised() || !c.Params.Verification || !c.makes(c.Next) {
		return fmt.Errorf("%w: the ceremony cannot be in the verification phase", ErrRecord)
	}
	if c.VerificationNonce == "" || len(c.VerificationNonce) > maxText {
		return fmt.Errorf("%w: the verification nonce is missing or too long", ErrRecord)
	}
	if len(c.Proven) > c.Next.Threshold {
		return fmt.Errorf("%w: the ceremony has %d new shares proven of %d required", ErrRecord, len(c.Proven),
			c.Next.Threshold)
	}
	return checkGiven(c.Proven, c.Next.Shares)
}

func checkGiven(list []Given, shares int) error {
	var seen [MaxShares + 1]bool
	for _, g := range list {
		if g.Number < 1 || g.Number > shares || seen[g.Number] {
			return fmt.Errorf("%w: the ceremony has share number %d twice or out of range", ErrRecord, g.Number)
		}
		seen[g.Number] = true
	}
	return nil
}

func addText(b *cryptobyte.Builder, text string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
}

func readText(s *cryptobyte.String, out *string, limit int) bool {
	var text cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&text) || len(text) > limit {
		return false
	}
	*out = string(text)
	return true
}

func readTexts(s *cryptobyte.String, out *[]string, limit int) bool {
	var count uint8
	if !s.ReadUint8(&count) {
		return false
	}
	for range count {
		var text string
		if !readText(s, &text, limit) {
			return false
		}
		*out = append(*out, text)
	}
	return true
}
