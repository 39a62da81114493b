package policy

import (
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"slices"
	"unicode"
)

// Password is a parsed password policy, in Vault's language:
//
//	length = 20
//	rule "charset" {
//	  charset   = "abcdefghijklmnopqrstuvwxyz"
//	  min-chars = 1
//	}
type Password struct {
	length int
	rules  []charset
	all    []rune // of all rules, deduplicated
}

// charset is a set of characters, and the minimum number of them in a password.
type charset struct {
	letters []rune
	least   int
}

// Bounds of passwords, as in Vault.
const (
	minPassword = 4
	maxPassword = 100
	maxCharset  = 4096
)

// ParsePassword parses a password policy. Its errors wrap [ErrSyntax].
func ParsePassword(text string) (*Password, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("%w: it has %d bytes; at most %d are accepted", ErrSyntax, len(text), MaxText)
	}
	top, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	p := &Password{}
	for _, f := range top {
		switch f.name {
		case "length":
			p.length, err = f.count()
		case "rule":
			err = p.addRules(f)
		default:
			err = f.bad("invalid key %q: use length and rule \"charset\" { charset = \"...\" min-chars = 1 }", f.name)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, p.check()
}

// addRules reads rule "charset" { ... }, or several of them in JSON.
func (p *Password) addRules(f field) error {
	for _, kind := range f.value.object() {
		if kind.name != "charset" {
			return kind.bad("unknown rule %q; use \"charset\"", kind.name)
		}
		blocks := []value{kind.value}
		if kind.value.kind == isList {
			blocks = kind.value.list
		}
		for _, block := range blocks {
			if block.kind != isObject {
				return kind.bad("a rule must be followed by a block { ... }")
			}
			if err := p.addCharset(block.fields); err != nil {
				return err
			}
		}
	}
	if f.value.kind != isObject {
		return f.bad(`a rule must be written as rule "charset" { ... }`)
	}
	return nil
}

func (p *Password) addCharset(fields []field) error {
	var c charset
	for _, f := range fields {
		var err error
		switch f.name {
		case "charset":
			var text string
			text, err = f.value.text(f)
			c.letters = distinctRunes(text)
			if err == nil && len(text) > maxCharset {
				err = f.bad("a charset has at most %d bytes", maxCharset)
			}
		case "min-chars":
			c.least, err = f.count()
		default:
			err = f.bad("invalid key %q: a rule has charset and min-chars", f.name)
		}
		if err != nil {
			return err
		}
	}
	if len(c.letters) == 0 {
		return fmt.Errorf("%w: a rule has no charset", ErrSyntax)
	}
	if !slices.ContainsFunc(c.letters, func(r rune) bool { return !unicode.IsPrint(r) }) {
		p.rules = append(p.rules, c)
		return nil
	}
	return fmt.Errorf("%w: a charset contains unprintable characters", ErrSyntax)
}

// distinctRunes returns the distinct characters of a text.
func distinctRunes(text string) []rune {
	all := []rune(text)
	slices.Sort(all)
	return slices.Compact(all)
}

func (p *Password) check() error {
	least := 0
	for _, c := range p.rules {
		least += min(c.least, maxPassword+1) // cannot overflow: there are fewer rules than bytes
		p.all = append(p.all, c.letters...)
	}
	p.all = distinctRunes(string(p.all))
	switch {
	case p.length < minPassword || p.length > maxPassword:
		return fmt.Errorf("%w: the length must be from %d to %d", ErrSyntax, minPassword, maxPassword)
	case len(p.rules) == 0:
		return fmt.Errorf("%w: it has no rule, so no characters", ErrSyntax)
	case least > p.length:
		return fmt.Errorf("%w: the rules need at least %d characters, but the length is %d", ErrSyntax, least, p.length)
	}
	return nil
}

// Generate generates a password: each rule's minimum from its charset, the rest from all charsets,
// shuffled.
func (p *Password) Generate(rnd io.Reader) (string, error) {
	out := make([]rune, 0, p.length)
	for _, c := range p.rules {
		for range c.least {
			r, err := pick(rnd, c.letters)
			if err != nil {
				return "", err
			}
			out = append(out, r)
		}
	}
	for len(out) < p.length {
		r, err := pick(rnd, p.all)
		if err != nil {
			return "", err
		}
		out = append(out, r)
	}
	for i := len(out) - 1; i > 0; i-- {
		j, err := below(rnd, i+1)
		if err != nil {
			return "", err
		}
		out[i], out[j] = out[j], out[i]
	}
	return string(out), nil
}

func pick(rnd io.Reader, from []rune) (rune, error) {
	i, err := below(rnd, len(from))
	if err != nil {
		return 0, err
	}
	return from[i], nil
}

// below returns a uniformly distributed number from 0 to n-1.
func below(rnd io.Reader, n int) (int, error) {
	i, err := rand.Int(rnd, big.NewInt(int64(n)))
	if err != nil {
		return 0, fmt.Errorf("a random number for a password: %w", err)
	}
	return int(i.Int64()), nil
}
