package cli

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// publicKeys reads the recipients that shares are encrypted to; nil for none.
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

// publicKey returns an age recipient as it is, or the base64 of a binary PGP key. name is the recipient itself, or a file that
// holds it, or that holds a PGP key armored, in base64 or binary. Whether it is a key that can encrypt is the server's to judge.
func (b *base) publicKey(name string) (string, error) {
	if strings.HasPrefix(name, agePrefix) {
		return name, nil
	}
	if user, ok := strings.CutPrefix(name, "keybase:"); ok {
		return "", fmt.Errorf("keybase:%s: keys are not fetched from Keybase; export the public key into a file and name that", user)
	}
	data, err := b.readAll(strings.TrimPrefix(name, "@"))
	if err != nil {
		return "", fmt.Errorf("the public key cannot be read: %w", err)
	}
	if len(data) == 0 {
		return "", fmt.Errorf("the key file %s is empty", name)
	}
	if recipient, err := ageRecipient(name, data); recipient != "" || err != nil {
		return recipient, err
	}
	if block, err := armor.Decode(bytes.NewReader(data)); err == nil {
		if strings.Contains(block.Type, "PRIVATE") {
			return "", fmt.Errorf("%s holds a PRIVATE key: export the public key alone, and never send this file anywhere", name)
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

// What age's public and secret keys begin with.
const (
	agePrefix = "age1"
	ageSecret = "AGE-SECRET-KEY-"
)

// ageRecipient finds the recipient in a file of age: one line, beside comments. A file of anything else has none.
func ageRecipient(name string, data []byte) (string, error) {
	if bytes.Contains(data, []byte(ageSecret)) {
		return "", fmt.Errorf("%s holds a SECRET key of age: name its public key alone (age1...), and never send this file anywhere", name)
	}
	found := ""
	for line := range bytes.Lines(data) {
		text := string(bytes.TrimSpace(line))
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case !strings.HasPrefix(text, agePrefix):
			return "", nil
		case found != "":
			return "", fmt.Errorf("%s holds more than one age recipient: a share is for one person, so name each of its own", name)
		default:
			found = text
		}
	}
	return found, nil
}
