package awskms

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"unicode"
)

// maxContext bounds what goes into an encryption context as it is; AWS takes a little more.
const maxContext = 4096

// digestName is the one pair of the context of additional data that are not lines of name=value.
const digestName = "aad-sha256"

// encryptionContext is additional data as the KMS takes it: the pairs of lines "name=value", so that they can be read in CloudTrail
// and asked for in a key policy; a digest of anything else; nil of nothing. It need not tell all additional data
// apart, since the secret is bound to every byte of them.
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

// pairsOf reads lines of name=value, each name once; nil for anything else.
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

// plain reports text that JSON, CloudTrail and a policy show as it is.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) })
}
