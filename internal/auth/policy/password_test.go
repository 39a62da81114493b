package policy

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

const strong = `
length = 20
rule "charset" {
  charset   = "abcdefgh"
  min-chars = 2
}
rule "charset" {
  charset   = "01234"
  min-chars = 3
}
`

func TestPasswordsFollowTheirPolicy(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strong, `{"length":20,"rule":[{"charset":{"charset":"abcdefgh","min-chars":2}},{"charset":{"charset":"01234","min-chars":3}}]}`,
	} {
		p, err := ParsePassword(text)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for range 500 {
			got, err := p.Generate(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			digits := strings.Count(strings.Map(func(r rune) rune {
				if strings.ContainsRune("01234", r) {
					return '0'
				}
				return 'a'
			}, got), "0")
			if len(got) != 20 || digits < 3 || digits > 18 || strings.Trim(got, "abcdefgh01234") != "" || seen[got] {
				t.Fatalf("%q", got)
			}
			seen[got] = true
		}
	}
}

func TestBadPasswordPolicies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``: "the length must be",
		`length = 3 rule "charset" { charset = "ab" }`:   "the length must be",
		`length = 101 rule "charset" { charset = "ab" }`: "the length must be",
		`length = 10`: "no rule",
		`length = 10 rule "charset" { min-chars = 1 }`: "no charset",
		`length = 10 rule "words" { charset = "ab" }`:  "unknown rule",
		`length = 5 rule "charset" { charset = "ab" min-chars = 3 }
		 rule "charset" { charset = "c" min-chars = 3 }`: "at least",
		`length = 5 rule "charset" { charset = "ab" min-chars = -1 }`: "whole number",
		`length = 5 rule "charset" { charset = "a\nb" }`:              "unprintable characters",
		`length = 5 rule "charset" { charset = "ab" max = 1 }`:        "invalid key",
		`length = 5 color = 1`:                                        "invalid key",
		`rule = 5`:                                                    "a rule",
		`length = "x"`:                                                "whole number",
	} {
		if _, err := ParsePassword(text); !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParsePassword(f *testing.F) {
	f.Add(strong)
	f.Add(`{"length":20,"rule":{"charset":[{"charset":"a"},{"charset":"b","min-chars":2}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePassword(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("%v is not an ErrSyntax", err)
			}
			return
		}
		got, err := p.Generate(rand.Reader)
		if err != nil || len([]rune(got)) != p.length {
			t.Errorf("%q, %v from %q", got, err, text)
		}
	})
}
