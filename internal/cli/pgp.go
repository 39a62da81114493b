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
func publicKeys(b *base, names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		k, err := publicKey(b, name)
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
func publicKey(b *base, name string) (string, error) {
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
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark, as Windows' editors write it
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return "", fmt.Errorf("the key file %s is empty", name)
	case bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "", fmt.Errorf("%s is in UTF-16: save it as ASCII or UTF-8", name)
	}
	if recipient, err := ageRecipient(name, data); recipient != "" || err != nil {
		return recipient, err
	}
	block, err := armor.Decode(bytes.NewReader(data))
	switch {
	case bytes.Contains(data, []byte("PRIVATE KEY")) || err == nil && strings.Contains(block.Type, "PRIVATE"):
		return "", privateKey(name)
	case err == nil:
		if data, err = io.ReadAll(block.Body); err != nil {
			return "", fmt.Errorf("the armor of the PGP key in %s is damaged", name)
		}
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")):
		return "", fmt.Errorf("the armor of the PGP key in %s is damaged", name)
	default:
		if binary, ok := fromBase64(data); ok {
			data = binary
		}
	}
	if secretPacket(data) {
		return "", privateKey(name)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

func privateKey(name string) error {
	return fmt.Errorf("%s holds a PRIVATE key: export the public key only, and never send this file anywhere", name)
}

// secretPacket reports whether binary OpenPGP data begins with a secret key or subkey (RFC 9580,
// sections 4.2 and 5).
func secretPacket(data []byte) bool {
	if len(data) == 0 || data[0]&0x80 == 0 {
		return false
	}
	tag := data[0] & 0x3f
	if data[0]&0x40 == 0 { // the old format has the length type in the last two bits
		tag >>= 2
	}
	return tag == 5 || tag == 7
}

// fromBase64 decodes standard and URL-safe base64 with or without padding, and the body of an armor
// with its checksum line.
func fromBase64(data []byte) ([]byte, bool) {
	lines := strings.Fields(string(data))
	if n := len(lines); n > 1 && len(lines[n-1]) == 5 && lines[n-1][0] == '=' {
		lines = lines[:n-1]
	}
	text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(strings.Join(lines, "")), "=")
	binary, err := base64.RawStdEncoding.DecodeString(text)
	return binary, err == nil && len(binary) > 0
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
