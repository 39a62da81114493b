package cli

import (
	"fmt"
	"strings"
)

// show prints the status of an operation.
func (r *rekey) show(s *rekeyStatus) int {
	if r.format() != "table" {
		if r.variant.inData { // OpenBao's command always has this field
			return r.encode(struct {
				*rekeyStatus
				VerificationNonce string `json:"verification_nonce"`
			}{s, s.VerificationNonce})
		}
		return r.encode(s)
	}
	var p pairs
	p.add("Nonce", s.Nonce)
	p.add("Started", s.Started)
	if s.Started {
		p.add("Progress", fmt.Sprintf("%d/%d", s.Given, s.Required))
		p.add("New Shares", s.N)
		p.add("New Threshold", s.T)
		p.add("Verification Required", s.VerificationRequired)
		if s.VerificationNonce != "" {
			p.add("Verification Nonce", s.VerificationNonce)
		}
		if len(s.HoldersGiven) > 0 {
			p.add("Given By", strings.Join(s.HoldersGiven, ", "))
		}
		if len(s.PGPFingerprints) > 0 {
			p.add("PGP Fingerprints", s.PGPFingerprints)
			p.add("Backup", s.Backup)
		}
	}
	r.printf("%s", p)
	return exitOK
}

// title is a word with a capital first letter.
func title(word string) string {
	return strings.ToUpper(word[:min(1, len(word))]) + word[min(1, len(word)):]
}
