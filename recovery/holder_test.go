package recovery

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHoldersNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		names  []string
		shares int
		good   bool
	}{
		"none":              {nil, 3, true},
		"one each":          {[]string{"alice", "Zoë", "山田 太郎"}, 3, true},
		"as long as can be": {[]string{strings.Repeat("n", MaxName)}, 1, true},
		"too few":           {[]string{"alice"}, 3, false},
		"too many":          {[]string{"alice", "bob"}, 1, false},
		"too long":          {[]string{strings.Repeat("n", MaxName+1)}, 1, false},
		"empty":             {[]string{"alice", ""}, 2, false},
		"a space alone":     {[]string{" "}, 1, false},
		"a space at an end": {[]string{"alice "}, 1, false},
		"twice":             {[]string{"alice", "bob", "alice"}, 3, false},
		"a line break":      {[]string{"alice\nbob"}, 1, false},
		"an escape":         {[]string{"alice\x1b[2J"}, 1, false},
		"right to left":     {[]string{"alice\u202ebob"}, 1, false},
		"no UTF-8":          {[]string{"al\xffce"}, 1, false},
	} {
		err := CheckHolders(c.names, c.shares)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShareSetHolders(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Recovery, nil, 3, 2)
	if c.HolderName(2) != "share 2" || c.Describe(2) != "share 2" {
		t.Errorf("without names: %q, %q", c.HolderName(2), c.Describe(2))
	}
	if err := c.NameHolders([]string{"alice", "bob"}); !errors.Is(err, ErrParams) || c.Holders[0].Name != "" {
		t.Errorf("too few names: %v", err)
	}
	if err := c.NameHolders([]string{"alice", "bob", "carol"}); err != nil {
		t.Fatal(err)
	}
	if c.HolderName(2) != "bob" || c.Describe(2) != "bob, share 2" || c.HolderName(9) != "share 9" ||
		(*ShareSet)(nil).Describe(1) != "share 1" {
		t.Errorf("with names: %q, %q", c.HolderName(2), c.Describe(2))
	}
	number, err := c.Identify(shares[1])
	if err != nil {
		t.Fatal(err)
	}
	c.Prove(number, clock.Add(time.Hour))
	again, err := UnmarshalShareSet(c.Marshal())
	if err != nil || !again.Holders[1].Proven.Equal(clock.Add(time.Hour)) || !again.Holders[0].Proven.IsZero() {
		t.Errorf("bob was proven at %v, %v", again.Holders[1].Proven, err)
	}
	ceremony := start(t, c)
	for _, i := range []int{2, 0} {
		if _, err := ceremony.Give(c, ceremony.Nonce, shares[i], clock); err != nil {
			t.Fatal(err)
		}
	}
	other, _ := newShareSet(t, Recovery, c, 3, 2)
	if got := ceremony.GivenBy(c); !slices.Equal(got, []string{"carol", "alice"}) {
		t.Errorf("given by %q", got)
	}
	if got := ceremony.GivenBy(other); !slices.Equal(got, []string{"share 3", "share 1"}) {
		t.Errorf("by another share set's names: %q", got)
	}
}
