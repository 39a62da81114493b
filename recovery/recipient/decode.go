package recipient

import (
	"encoding/base64"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// key is a decoded text: an age recipient or a PGP key.
type key struct {
	age string
	pgp []byte // binary packets
}

const (
	agePrefix    = "age1"
	ageSecret    = "AGE-SECRET-KEY-"
	keybase      = "keybase:"
	armorBegin   = "-----BEGIN PGP "
	publicBlock  = "PGP PUBLIC KEY BLOCK"
	privateBlock = "PGP PRIVATE KEY BLOCK"
)

// decode recognises the form of a text. No text fits two forms: they differ in a prefix, in
// characters that base64 lacks, or in the high bit of the first byte.
func decode(text string) (key, error) {
	if len(text) > MaxText {
		return key{}, ErrSize
	}
	if text != "" && text[0]&0x80 != 0 {
		return key{pgp: []byte(text)}, nil
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return key{}, ErrSize
	case strings.HasPrefix(text, keybase):
		return key{}, ErrKeybase
	case strings.Contains(strings.ToUpper(text), ageSecret):
		return key{}, ErrPrivate
	case strings.HasPrefix(text, agePrefix):
		if len(strings.Fields(text)) > 1 {
			return key{}, ErrSeveral
		}
		return key{age: text}, nil
	case strings.Contains(text, armorBegin):
		return dearmor(text)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	switch {
	case err != nil || len(raw) == 0:
		return key{}, ErrDecode
	case strings.Contains(string(raw), armorBegin):
		return dearmor(string(raw))
	}
	return key{pgp: raw}, nil
}

func dearmor(text string) (key, error) {
	if strings.Contains(text, armorBegin+"PRIVATE") {
		return key{}, ErrPrivate
	}
	if strings.Count(text, armorBegin) > 1 {
		return key{}, ErrSeveral
	}
	block, err := armor.Decode(strings.NewReader(text))
	if err != nil {
		return key{}, ErrDecode
	}
	switch block.Type {
	case publicBlock:
	case privateBlock:
		return key{}, ErrPrivate
	default:
		return key{}, ErrParse
	}
	raw, err := io.ReadAll(block.Body)
	if err != nil {
		return key{}, ErrDecode
	}
	return key{pgp: raw}, nil
}
