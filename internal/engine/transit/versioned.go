package transit

import (
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
)

// Ciphertexts, signatures and MACs have the form
//
//	vault:v<version>:<base64>
//
// whatever serves them: clients look for the prefix, and split at the colons.
const prefix = "vault:v"

func appendPrefix(dst []byte, version int) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendInt(dst, int64(version), 10)
	return append(dst, ':')
}

// kind names what has the form, in texts.
type kind struct{ noun, noPrefix string }

var (
	aCiphertext = kind{"ciphertext", "invalid ciphertext: no prefix"}
	aSignature  = kind{"signature", "invalid signature: no prefix"}
	anHMAC      = kind{"HMAC", "invalid HMAC to verify: no prefix"}
	aCMAC       = kind{"CMAC", "invalid CMAC to verify: no prefix"}
)

func (k kind) wrong(why string) error { return fault.New(fault.Invalid, "invalid %s: %s", k.noun, why) }

// split finds the version, and what is behind it. Versions that the key no longer accepts are
// refused.
func (k kind) split(text string, key *keys.Key) (version int, rest string, err error) {
	body, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return 0, "", fault.New(fault.Invalid, "%s", k.noPrefix)
	}
	number, rest, ok := strings.Cut(body, ":")
	if !ok {
		return 0, "", k.wrong("wrong number of fields")
	}
	version, err = strconv.Atoi(number)
	if err != nil {
		return 0, "", k.wrong("version number could not be decoded")
	}
	if version == 0 && k == aCiphertext { // of the time before versions
		version = 1
	}
	if version > key.Latest {
		return 0, "", k.wrong("version is too new")
	}
	if err := key.CheckDecrypt(version); err != nil {
		if k == anHMAC || k == aCMAC {
			err = fault.New(fault.Invalid, "cannot verify %s: version is too old (disallowed by policy)", k.noun)
		}
		return 0, "", err
	}
	return version, rest, nil
}
