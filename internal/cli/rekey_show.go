package cli

import "fmt"

// show prints where a rekey stands.
func (r *rekey) show(s *rekeyStatus) int {
	if r.format() != "table" {
		return r.encode(s)
	}
	var p pairs
	p.add("Nonce", s.Nonce)
	p.add("Started", s.Started)
	if s.Started {
		p.add("Progress", fmt.Sprintf("%d/%d", s.Progress, s.Required))
		p.add("New Shares", s.N)
		p.add("New Threshold", s.T)
		p.add("Verification Required", s.VerificationRequired)
		if s.VerificationNonce != "" {
			p.add("Verification Nonce", s.VerificationNonce)
		}
		if len(s.PGPFingerprints) > 0 {
			p.add("PGP Fingerprints", s.PGPFingerprints)
			p.add("Backup", s.Backup)
		}
	}
	r.printf("%s", p)
	return exitOK
}
