package cli

import (
	"context"
	"net/http"
)

// rekeyRequest starts an operation. Other servers ignore the names of holders.
type rekeyRequest struct {
	SecretShares        int      `json:"secret_shares"`
	SecretThreshold     int      `json:"secret_threshold"`
	PGPKeys             []string `json:"pgp_keys"`
	Backup              bool     `json:"backup"`
	RequireVerification bool     `json:"require_verification"`
	Holders             []string `json:"holders,omitempty"`
}

// begin starts an operation. If it fails, it prints why and returns nil.
func (r *rekey) begin() (*rekeyStatus, int) {
	keys, err := publicKeys(r.base, r.pgpKeys)
	if err == nil {
		err = checkHolders(r.holders, r.shares)
	}
	if err != nil {
		r.errorf("Error: %v", err)
		return nil, exitLocal
	}
	req := rekeyRequest{
		SecretShares: r.shares, SecretThreshold: r.threshold, PGPKeys: keys, Backup: r.backup, RequireVerification: r.verify,
		Holders: r.holders,
	}
	s := &rekeyStatus{}
	if err := r.send(context.Background(), http.MethodPut, "init", req, s); err != nil {
		return nil, r.fail("initializing "+r.variant.noun, err)
	}
	// A rekey of the barrier with an auto-unseal seal makes no new shares.
	if len(keys) == 0 && s.N > 0 && !s.Complete && (r.target == "recovery" || !r.auto) {
		r.errorf(`WARNING! The command that gives the last share prints the new shares once, unencrypted. If its output is
lost, the same share fetches them again for some minutes from a Sealgate server; other servers lose them. Use
-pgp-keys to encrypt each share for its holder, and -backup to keep the encrypted shares on the server. To abort:
-cancel.`)
	}
	return s, exitOK
}

func (r *rekey) start() int {
	s, code := r.begin()
	switch {
	case s == nil:
		return code
	case s.Complete: // there were no recovery shares that had to authorise it
		return r.printShares(s, "", "", s.T)
	}
	return r.show(s)
}
