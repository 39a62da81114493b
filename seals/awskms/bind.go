package awskms

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"unicode"
)

// maxContext bounds an encryption context of pairs, below the limit of AWS.
const maxContext = 4096

// digestName is the name in the encryption context of additional data that is not lines of
// name=value.
const digestName = "aad-sha256"

// encryptionContext converts additional data for the KMS: lines of name=value become pairs,
// readable in CloudTrail and usable in a key policy; anything else becomes a digest; no data
// becomes nil. The result need not be unique for the data, because the secret is bound to every
// byte of it.
func encryptionContext(aad []byte) map[string]string {
	if len(aad) == 0 {
		return nil
	}
	if pairs := pairsOf(string(aad)); pairs != nil {
		return pairs
	}
	sum := sha256.Sum256(aad)
	return map[string]string{digestName: base64.StdEncoding.EncodeToString(sum[:])}
}

// pairsOf parses lines of name=value with unique names. It returns nil for anything else.
func pairsOf(text string) map[string]string {
	body, ended := strings.CutSuffix(text, "\n")
	if !ended || len(text) > maxContext {
		return nil
	}
	pairs := map[string]string{}
	for line := range strings.SplitSeq(body, "\n") {
		name, value, found := strings.Cut(line, "=")
		_, twice := pairs[name]
		taken := name == digestName || strings.HasPrefix(strings.ToLower(name), "aws:")
		if !found || twice || taken || !plain(name) || !plain(value) {
			return nil
		}
		pairs[name] = value
	}
	return pairs
}

// plain reports whether JSON, CloudTrail and a policy show the text unchanged.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) })
}
