package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Holder is one share's holder and its last proof.
type Holder struct {
	Verifier Verifier
	Name     string    // see CheckHolders; "" if the shares have no names
	Proven   time.Time // when the share was last shown to be correct; zero: never
}

// CheckHolders checks the names of the shares' holders: no name, or a distinct one for each share,
// of 1 to [MaxName] bytes of printable UTF-8 without spaces at the ends. The error is an
// [ErrParams] that names the invalid one.
func CheckHolders(names []string, shares int) error {
	if len(names) > 0 && len(names) != shares {
		return &worded{"count mismatch between number of provided holders and number of shares", ErrParams}
	}
	return checkNames(names)
}

func checkNames(names []string) error {
	for i, name := range names {
		if !printable(name) {
			return &worded{fmt.Sprintf("holder's name %d is not printable UTF-8 of 1 to %d bytes", i+1, MaxName),
				ErrParams}
		}
		if slices.Contains(names[:i], name) {
			return &worded{fmt.Sprintf("two holders are named %q: choose distinct names", name), ErrParams}
		}
	}
	return nil
}

// printable also refuses control characters, which change how a terminal shows the rest of a line.
func printable(name string) bool {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.TrimSpace(name) != name {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// NameHolders sets the holders' names of a new share set: names[i] holds share number i+1. No names
// change nothing.
func (c *ShareSet) NameHolders(names []string) error {
	if err := CheckHolders(names, c.Shares); err != nil {
		return err
	}
	for i, name := range names {
		c.Holders[i].Name = name
	}
	return nil
}

// Prove records that the share with the number, which [ShareSet.Identify] returned, was shown to be
// correct.
func (c *ShareSet) Prove(number int, now time.Time) { c.Holders[number-1].Proven = stamp(now) }

// HolderName returns the name of a share's holder: "alice", or "share 3" if the name or the share
// is unknown.
func (c *ShareSet) HolderName(number int) string {
	if name := c.nameOf(number); name != "" {
		return name
	}
	return fmt.Sprintf("share %d", number)
}

// Describe names a share and its holder: "alice, share 3", or "share 3".
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
