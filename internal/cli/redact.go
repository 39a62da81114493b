package cli

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

const redacted = "(redacted)"

// secretWords are the last words of names of secrets. A name such as token_label, key_id or
// pin_file ends with another word.
var secretWords = []string{"auth", "authorization", "cookie", "credential", "credentials", "jwt", "key", "keys", "otp",
	"passcode", "passphrase",
	"passwd", "password", "pin", "secret", "seed", "share", "shares", "token"}

// numberWords are the words for secrets that can be numbers; a number of keys is no secret.
var numberWords = []string{"otp", "passcode", "passphrase", "passwd", "password", "pin"}

// secretTexts are patterns of secrets in any text, and their replacements.
var secretTexts = []struct {
	form *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\b(?:hv)?[sbr]\.[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9]+)?`), redacted}, // tokens
	// JSON web tokens
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), redacted},
	{regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), redacted}, // access keys
	// PEM and PGP keys
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:END [A-Z ]*-----|$)`), redacted},
	{regexp.MustCompile(`AGE-SECRET-KEY-[A-Z0-9-]+`), redacted},                                            // keys
	{regexp.MustCompile(`(?i)\b(Bearer|Basic) [A-Za-z0-9+/=._~-]{8,}`), "${1} " + redacted},                // headers
	{regexp.MustCompile(`(?i)(\b(?:\w+[_-])?` + secretPair + `=)"?[^\s&"',;]+"?`), "${1}" + redacted},      // queries
	{regexp.MustCompile(`(?i)("(?:\w+[_-])?` + secretPair + `"\s*:\s*)"[^"]*"`), `${1}"` + redacted + `"`}, // JSON
	{regexp.MustCompile(`(://)[^/\s:@"]*:[^/\s@"]+@`), "${1}" + redacted + "@"},                            // URLs
}

const secretPair = `(?:token|password|passwd|passphrase|passcode|pin|pin-value|secret|secret_id|otp|jwt|api_key|private_key|access_key|secret_key)`

// redactor redacts secrets. It prefers to redact too much.
type redactor struct {
	known []string // known secrets, such as this client's token
}

func newRedactor(known ...string) redactor {
	const least = 4 // a shorter one would match anywhere
	return redactor{slices.DeleteFunc(known, func(s string) bool { return len(s) < least })}
}

// text redacts any text.
func (r redactor) text(s string) string {
	for _, k := range r.known {
		s = strings.ReplaceAll(s, k, redacted)
	}
	for _, t := range secretTexts {
		s = t.form.ReplaceAllString(s, t.by)
	}
	return s
}

// tree redacts decoded JSON in place: every text under the name of a secret, and text that looks
// like one elsewhere.
func (r redactor) tree(v any) any { return r.node(v, false) }

func (r redactor) node(v any, secret bool) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if number, ok := value.(json.Number); ok && secretName(name, numberWords) && number != "" {
				value = redacted
			}
			v[name] = r.node(value, secret || secretName(name, secretWords))
		}
	case []any:
		for i := range v {
			v[i] = r.node(v[i], secret)
		}
	case string:
		if secret && v != "" {
			return redacted
		}
		return r.text(v)
	}
	return v
}

var wordBreak = regexp.MustCompile(`[a-z][A-Z]`)

// secretName reports whether the last word of a name, such as clientSecret or Api-Key, is one of
// words.
func secretName(name string, words []string) bool {
	name = wordBreak.ReplaceAllStringFunc(name, func(s string) string { return s[:1] + "_" + s[1:] })
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("_-. ", r) })
	if len(parts) > 1 && parts[len(parts)-1] == "id" && parts[len(parts)-2] == "secret" {
		return true // an AppRole's secret ID is a secret
	}
	return len(parts) > 0 && slices.Contains(words, parts[len(parts)-1])
}
