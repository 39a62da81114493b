package recovery

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

const (
	ceremonyVersion = 1
	maxText         = 256       // purpose, nonce, and who started, bytes
	maxRecipient    = 1<<16 - 1 // one public key as given, bytes
	maxRecipients   = 512 << 10 // all of them: a commit of storage holds 1 MiB

	flagVerification = 1 << 0
	flagBackup       = 1 << 1
)

// Marshal gives the ceremony's record, version 1, numbers big-endian:
//
//	version u8 = 1 | length u16, purpose | phase u8 | length u16, nonce | custody id 16 | required u8
//	| started i64 | expires i64 | length u16, started by
//	| shares u8 | threshold u8 | flags u8 (bit 0 verification, bit 1 backup)
//	| count u8, count times: { length u16, recipient } | count u8, count times: { length u16, holder's name }
//	| count u8, count times: { share number u8 | given at i64 }
//
// Times are nanoseconds since 1970, 0 for never. It panics for a ceremony beyond the bounds that [UnmarshalCeremony] keeps
// to: neither [Start] nor a record makes one.
func (c *Ceremony) Marshal() []byte {
	if err := c.check(); err != nil {
		panic("recovery: " + err.Error())
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 512))
	b.AddUint8(ceremonyVersion)
	addText(b, string(c.Purpose))
	b.AddUint8(uint8(c.Phase))
	addText(b, c.Nonce)
	b.AddBytes(c.Custody[:])
	b.AddUint8(uint8(c.Required))
	addTime(b, c.Started)
	addTime(b, c.Expires)
	addText(b, c.StartedBy)
	c.Params.marshal(b)
	b.AddUint8(uint8(len(c.Given)))
	for _, g := range c.Given {
		b.AddUint8(uint8(g.Number))
		addTime(b, g.At)
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
	b.AddUint8(uint8(p.Shares))
	b.AddUint8(uint8(p.Threshold))
	b.AddUint8(flags)
	for _, list := range [][]string{p.Recipients, p.Holders} {
		b.AddUint8(uint8(len(list)))
		for _, text := range list {
			addText(b, text)
		}
	}
}

// UnmarshalCeremony reads the record of [Ceremony.Marshal]; errors wrap [ErrRecord].
func UnmarshalCeremony(record []byte) (*Ceremony, error) {
	s, err := open(record, ceremonyVersion)
	if err != nil {
		return nil, err
	}
	c := new(Ceremony)
	var purpose string
	var phase, required uint8
	if !readText(&s, &purpose, maxText) || !s.ReadUint8(&phase) || !readText(&s, &c.Nonce, maxText) ||
		!s.CopyBytes(c.Custody[:]) || !s.ReadUint8(&required) ||
		!readTime(&s, &c.Started) || !readTime(&s, &c.Expires) || !readText(&s, &c.StartedBy, maxText) ||
		!c.Params.read(&s) || !c.readGiven(&s) {
		return nil, cut("ceremony")
	}
	c.Purpose, c.Phase, c.Required = Purpose(purpose), Phase(phase), int(required)
	if !s.Empty() {
		return nil, fmt.Errorf("%w: bytes after the ceremony's end", ErrRecord)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Params) read(s *cryptobyte.String) bool {
	var shares, threshold, flags uint8
	if !s.ReadUint8(&shares) || !s.ReadUint8(&threshold) || !s.ReadUint8(&flags) || flags&^(flagVerification|flagBackup) != 0 {
		return false
	}
	p.Shares, p.Threshold = int(shares), int(threshold)
	p.Verification, p.Backup = flags&flagVerification != 0, flags&flagBackup != 0
	return readTexts(s, &p.Recipients, maxRecipient) && readTexts(s, &p.Holders, MaxName)
}

func (c *Ceremony) readGiven(s *cryptobyte.String) bool {
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
		c.Given = append(c.Given, g)
	}
	return true
}

// check keeps a ceremony within what its record can say, and what this program knows.
func (c *Ceremony) check() error {
	if c.Purpose != PurposeRekeyBarrier && c.Purpose != PurposeRekeyRecovery {
		return fmt.Errorf("%w: a ceremony of unknown purpose %q; was it written by a newer program?", ErrRecord, c.Purpose)
	}
	if c.Phase != Gathering {
		return fmt.Errorf("%w: a ceremony in phase %d, which this program does not know; was it written by a newer one?", ErrRecord, c.Phase)
	}
	if c.Nonce == "" || len(c.Nonce) > maxText || len(c.StartedBy) > maxText {
		return fmt.Errorf("%w: a text of the ceremony is missing or too long", ErrRecord)
	}
	if c.Required < 0 || c.Required > MaxShares || len(c.Given) > c.Required {
		return fmt.Errorf("%w: a ceremony with %d shares given of %d required", ErrRecord, len(c.Given), c.Required)
	}
	var seen [MaxShares + 1]bool
	for _, g := range c.Given {
		if g.Number < 1 || g.Number > MaxShares || seen[g.Number] {
			return fmt.Errorf("%w: a ceremony with share %d given twice, or no share's number", ErrRecord, g.Number)
		}
		seen[g.Number] = true
	}
	if p := c.Params; p.Shares != 0 || p.Threshold != 0 {
		if err := CheckShape(p.Shares, p.Threshold); err != nil {
			return fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
	if err := c.Params.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
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
