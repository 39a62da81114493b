package cli

import (
	"context"
	"net/http"
)

// rekeyRequest starts an operation; the names of holders are this project's, other servers ignore them.
type rekeyRequest struct {
	SecretShares        int      `json:"secret_shares"`
	SecretThreshold     int      `json:"secret_threshold"`
	PGPKeys             []string `json:"pgp_keys"`
	Backup              bool     `json:"backup"`
	RequireVerification bool     `json:"require_verification"`
	Holders             []string `json:"holders,omitempty"`
}

// begin starts an operation; where it cannot, it has told why, and the status is nil.
func (r *rekey) begin() (*rekeyStatus, int) {
	keys, err := r.publicKeys(r.pgpKeys)
	if err == nil {
		err = checkHolders(r.holders, r.shares)
	}
	if err != nil {
		r.errorf("Error: %v", err)
		return nil, exitLocal
	}
	req := rekeyRequest{
		SecretShares: r.shares, SecretThreshold: r.threshold, PGPKeys: keys, Backup: r.backup, RequireVerification: r.verify, Holders: r.holders,
	}
	s := &rekeyStatus{}
	if err := r.ask(context.Background(), http.MethodPut, "init", req, s); err != nil {
		return nil, r.fail("initializing "+r.face.noun, err)
	}
	// The barrier under a seal that unseals itself has no new shares to lose.
	if len(keys) == 0 && s.N > 0 && !s.Complete && (r.target == "recovery" || !r.auto) {
		r.errorf(`WARNING! The new shares will be shown once, and in clear, to whoever gives the last share. Should that terminal die,
the same share given again fetches them for some minutes, from a server of Sealgate; others lose them. -pgp-keys
encrypts each for its holder, and -backup keeps the encrypted ones on the server. To go back: -cancel.
`)
	}
	return s, exitOK
}

func (r *rekey) start() int {
	s, code := r.begin()
	switch {
	case s == nil:
		return code
	case s.Complete: // where there were no recovery shares, nobody had to agree
		return r.handOver(s, "", "", s.T)
	}
	return r.show(s)
}
