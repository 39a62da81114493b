package cosign

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Signers are the keys of known people, by fingerprint, with each key's name.
type Signers map[string]string

// ReadSigners reads one signer a line: a name, then an SSH key as in authorized_keys, or the
// fingerprint of a PGP key in hexadecimal. Empty lines and lines that begin with # do not count.
func ReadSigners(r io.Reader) (Signers, error) {
	all := Signers{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, key, _ := strings.Cut(line, " ")
		key = strings.TrimSpace(key)
		if print, err := hex.DecodeString(strings.ReplaceAll(key, " ", "")); err == nil && len(print) >= 20 {
			all[hex.EncodeToString(print)] = name
			continue
		}
		parsed, err := parseAuthorizedKey(key)
		if err != nil {
			return nil, fmt.Errorf("line %d: after the name %q stands neither an SSH key nor the fingerprint of a PGP key", n,
				name)
		}
		all[sshFingerprint(parsed)] = name
	}
	return all, lines.Err()
}
