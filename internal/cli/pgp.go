package cli

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// publicKeys reads the files of PGP keys; nil for none.
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

// publicKey returns the base64 of a binary public key. The file may hold it armored, in base64 or binary; whether
// it is a key that can encrypt is the server's to judge.
func (b *base) publicKey(name string) (string, error) {
	if user, ok := strings.CutPrefix(name, "keybase:"); ok {
		return "", fmt.Errorf("keybase:%s: keys are not fetched from Keybase; export the public key into a file and name that", user)
	}
	data, err := b.readAll(strings.TrimPrefix(name, "@"))
	if err != nil {
		return "", fmt.Errorf("the PGP key cannot be read: %w", err)
	}
	if len(data) == 0 {
		return "", fmt.Errorf("the PGP key file %s is empty", name)
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
