package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Holder is one share: who has it, and when it was last proven to be good.
type Holder struct {
	Verifier Verifier
	Name     string    // as CheckHolders wants it; "" where shares have no names
	Proven   time.Time // zero: not since it was made
}

// CheckHolders checks the names of those who will hold so many shares: none at all, or one for each share, 1 to [MaxName] bytes
// of printable UTF-8 without spaces at its ends, each name once. The error is an [ErrParams] that names the bad one.
func CheckHolders(names []string, shares int) error {
	if len(names) > 0 && len(names) != shares {
		return &worded{"count mismatch between number of provided holders and number of shares", ErrParams}
	}
	return checkNames(names)
}

func checkNames(names []string) error {
	for i, name := range names {
		if !printable(name) {
			return &worded{fmt.Sprintf("holder's name %d is not printable UTF-8 of 1 to %d bytes", i+1, MaxName), ErrParams}
		}
		if slices.Contains(names[:i], name) {
			return &worded{fmt.Sprintf("two holders are named %q: a name says whose share it is", name), ErrParams}
		}
	}
	return nil
}

// printable also keeps out what changes how a terminal shows the rest of a line.
func printable(name string) bool {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.TrimSpace(name) != name {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// NameHolders names the holders of a new custody: names[i] has share number i+1. No names leave it as it is.
func (c *ShareSet) NameHolders(names []string) error {
	if err := CheckHolders(names, c.Shares); err != nil {
		return err
	}
	for i, name := range names {
		c.Holders[i].Name = name
	}
	return nil
}

// Prove records that the share of a number, as [ShareSet.Identify] told it, was seen to be good.
func (c *ShareSet) Prove(number int, now time.Time) { c.Holders[number-1].Proven = stamp(now) }

// HolderName is the name of who has a share: "alice", or "share 3" where shares have no names or no such share is known.
func (c *ShareSet) HolderName(number int) string {
	if name := c.nameOf(number); name != "" {
		return name
	}
	return fmt.Sprintf("share %d", number)
}

// Describe names a share and who has it: "alice, share 3", or "share 3".
func (c *ShareSet) Describe(number int) string {
	if name := c.nameOf(number); name != "" {
		return fmt.Sprintf("%s, share %d", name, number)
	}
	return fmt.Sprintf("share %d", number)
}

func (c *ShareSet) nameOf(number int) string {
	if c == nil || number < 1 || number > len(c.Holders) {
		return ""
	}
	return c.Holders[number-1].Name
}

func (c *ShareSet) clone() *ShareSet {
	if c == nil {
		return nil
	}
	d := *c
	d.PublicKey, d.Holders = slices.Clone(c.PublicKey), slices.Clone(c.Holders)
	if c.Previous != nil {
		f := *c.Previous
		f.Shares = slices.Clone(f.Shares)
		d.Previous = &f
	}
	return &d
}
