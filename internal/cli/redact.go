package cli

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

const redacted = "(redacted)"

// secretWords are the last words of names behind which secrets stand. A name such as token_label, key_id or pin_file ends otherwise.
var secretWords = []string{"auth", "authorization", "cookie", "credential", "credentials", "jwt", "key", "keys", "otp", "passcode", "passphrase",
	"passwd", "password", "pin", "secret", "seed", "share", "shares", "token"}

// numberWords are those of them that can be numbers; the number of keys is no secret.
var numberWords = []string{"otp", "passcode", "passphrase", "passwd", "password", "pin"}

// secretTexts are what secrets look like wherever they stand, and what is put in their place.
var secretTexts = []struct {
	form *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\b(?:hv)?[sbr]\.[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9]+)?`), redacted},                // tokens
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), redacted},              // JSON web tokens
	{regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), redacted},                                        // access keys
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:END [A-Z ]*-----|$)`), redacted},           // PEM and PGP keys
	{regexp.MustCompile(`AGE-SECRET-KEY-[A-Z0-9-]+`), redacted},                                            // keys
	{regexp.MustCompile(`(?i)\b(Bearer|Basic) [A-Za-z0-9+/=._~-]{8,}`), "${1} " + redacted},                // headers
	{regexp.MustCompile(`(?i)(\b(?:\w+[_-])?` + secretPair + `=)"?[^\s&"',;]+"?`), "${1}" + redacted},      // queries, lines of a log, PKCS#11 URIs
	{regexp.MustCompile(`(?i)("(?:\w+[_-])?` + secretPair + `"\s*:\s*)"[^"]*"`), `${1}"` + redacted + `"`}, // JSON within text
	{regexp.MustCompile(`(://)[^/\s:@"]*:[^/\s@"]+@`), "${1}" + redacted + "@"},                            // passwords in URLs
}

const secretPair = `(?:token|password|passwd|passphrase|passcode|pin|pin-value|secret|secret_id|otp|jwt|api_key|private_key|access_key|secret_key)`

// redactor takes out what must not leave a site. It errs on the side of taking out too much.
type redactor struct {
	known []string // secrets that are known as such: this client's token
}

func newRedactor(known ...string) redactor {
	const least = 4 // a shorter one would hit anything
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

// tree redacts what JSON was decoded to, in place: all text behind the name of a secret, and what looks like one elsewhere.
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

// secretName looks at the last word of secret_id, clientSecret, Api-Key.
func secretName(name string, words []string) bool {
	name = wordBreak.ReplaceAllStringFunc(name, func(s string) string { return s[:1] + "_" + s[1:] })
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("_-. ", r) })
	if len(parts) > 1 && parts[len(parts)-1] == "id" && parts[len(parts)-2] == "secret" {
		return true // an AppRole's secret ID is one
	}
	return len(parts) > 0 && slices.Contains(words, parts[len(parts)-1])
}
