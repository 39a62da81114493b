package cli

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// publicKeys reads the public keys that shares are encrypted to; nil for none.
func (b *base) publicKeys(names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		k, err := b.publicKey(name)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// publicKey returns an age recipient, or the base64 form of a binary PGP key. name is the recipient
// itself, or a file that holds the recipient or a PGP key (armored, base64 or binary). The server
// checks that it can encrypt.
func (b *base) publicKey(name string) (string, error) {
	if strings.HasPrefix(name, agePrefix) {
		return name, nil
	}
	if user, ok := strings.CutPrefix(name, "keybase:"); ok {
		return "", fmt.Errorf("keybase:%s: keys are not fetched from Keybase; export the public key to a file and use that",
			user)
	}
	data, err := b.readAll(strings.TrimPrefix(name, "@"))
	if err != nil {
		return "", fmt.Errorf("reading the public key: %w", err)
	}
	if len(data) == 0 {
		return "", fmt.Errorf("the key file %s is empty", name)
	}
	if recipient, err := ageRecipient(name, data); recipient != "" || err != nil {
		return recipient, err
	}
	if block, err := armor.Decode(bytes.NewReader(data)); err == nil {
		if strings.Contains(block.Type, "PRIVATE") {
			return "", fmt.Errorf("%s holds a PRIVATE key: export the public key only, and never send this file anywhere", name)
		}
		if data, err = io.ReadAll(block.Body); err != nil {
			return "", fmt.Errorf("the armor of the PGP key in %s is damaged", name)
		}
	} else if text := strings.Join(strings.Fields(string(data)), ""); isBase64(text) {
		return text, nil
	} else if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
		return "", fmt.Errorf("the armor of the PGP key in %s is damaged", name)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

func isBase64(text string) bool {
	_, err := base64.StdEncoding.DecodeString(text)
	return err == nil
}

// Prefixes of age's public and secret keys.
const (
	agePrefix = "age1"
	ageSecret = "AGE-SECRET-KEY-"
)

// ageRecipient finds the recipient in an age recipients file: one line besides comments. Any other
// file has none.
func ageRecipient(name string, data []byte) (string, error) {
	if bytes.Contains(data, []byte(ageSecret)) {
		return "", fmt.Errorf("%s holds an age SECRET key: use its public key (age1...), and never send this file anywhere",
			name)
	}
	found := ""
	for line := range bytes.Lines(data) {
		text := string(bytes.TrimSpace(line))
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case !strings.HasPrefix(text, agePrefix):
			return "", nil
		case found != "":
			return "", fmt.Errorf("%s holds more than one age recipient: each share has one holder, so use one file for each",
				name)
		default:
			found = text
		}
	}
	return found, nil
}
