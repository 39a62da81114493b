package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// obeyed reports whether a terminal obeys a character instead of showing it: control characters,
// and those that change the direction of text. A line break and a tab are shown as such.
func obeyed(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == utf8.RuneError:
		return true
	}
	return unicode.IsControl(r)
}

// visible replaces the characters that a terminal obeys by escapes such as \x1b. What a server
// returns may have been written by a client with few rights.
func visible(text string) string {
	return replaceObeyed(text, func(s *strings.Builder, r rune, raw string) {
		if r > 0xff && r != utf8.RuneError {
			fmt.Fprintf(s, `\u%04x`, r)
			return
		}
		for i := range len(raw) {
			fmt.Fprintf(s, `\x%02x`, raw[i])
		}
	})
}

// visibleJSON does the same for JSON, whose meaning stays: JSON has escaped most of them already.
func visibleJSON(text string) string {
	return replaceObeyed(text, func(s *strings.Builder, r rune, _ string) { fmt.Fprintf(s, `\u%04x`, r) })
}

func replaceObeyed(text string, replace func(s *strings.Builder, r rune, raw string)) string {
	if !strings.ContainsFunc(text, obeyed) {
		return text
	}
	var s strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		switch raw := text[:n]; {
		case r == '\r' && strings.HasPrefix(text[n:], "\n"), r == utf8.RuneError && n > 1, !obeyed(r):
			s.WriteString(raw)
		default:
			replace(&s, r, raw)
		}
		text = text[n:]
	}
	return s.String()
}
