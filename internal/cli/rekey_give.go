package cli

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// give gives shares to a rekey: one that runs, or one that this call starts (see the help).
func (r *rekey) give(args []string) int {
	s, err := r.current()
	if err != nil {
		return r.fail("reading rekey status", err)
	}
	s, nonce, started, code := r.join(s, args)
	if code != exitOK {
		return code
	}
	if len(args) == 0 {
		r.errorf("Rekey operation nonce: %s", nonce)
	}
	last := s
	done, code := r.gather(quorum{
		command: r.again(nonce), question: r.holders() + " Key (will be hidden): ", doing: "posting unseal key",
		args: args, all: started,
		give: func(share string) (progress, error) {
			answer, err := r.update(share, nonce)
			if err != nil {
				return progress{}, err
			}
			last = answer
			return progress{answer.Complete, answer.Progress, answer.Required}, nil
		},
	})
	switch {
	case done:
		return r.finished(last, s.T)
	case started:
		r.errorf("\nThe rekey runs on, with the nonce %s. Go on with:\n\n    sealgate %s\n", nonce, r.again(nonce))
		code = cmp.Or(code, exitServer) // the one call that was to do it all did not
	case code == exitOK:
		return r.show(last)
	}
	return code
}

// again is the command that gives a share to this rekey.
func (r *rekey) again(nonce string) string {
	return fmt.Sprintf("operator rekey -target=%s -nonce=%s", r.target, nonce)
}

// join settles which rekey the shares are meant for, and starts one where the flags say so. Where that
// cannot be, it has told why, and the code is not exitOK.
func (r *rekey) join(s *rekeyStatus, args []string) (_ *rekeyStatus, nonce string, started bool, code int) {
	wanted := r.given("key-shares", "n", "key-threshold", "t", "pgp-keys", "backup")
	switch {
	case s.Started && wanted && s.N > 0 && (s.N != r.shares || s.T != r.threshold):
		r.errorf("Error: a rekey to %d shares with threshold %d runs already, with the nonce %s.\n"+
			"Leave -key-shares and -key-threshold out to give a share to it, or end it with -cancel.", s.N, s.T, s.Nonce)
		return nil, "", false, exitLocal
	case s.Started && r.nonce == "" && len(args) > 0:
		r.errorf("Missing nonce value: specify it via the -nonce flag")
		return nil, "", false, exitLocal
	case s.Started:
		return s, cmp.Or(r.nonce, s.Nonce), false, exitOK
	case !wanted:
		r.errorf("Error: no rekey is in progress. Start one with -init, or give -key-shares and -key-threshold to do it all in one call.")
		return nil, "", false, exitLocal
	}
	if len(args) == 0 && r.terminal() == nil { // nothing is started that cannot go on
		same := fmt.Sprintf("operator rekey -target=%s -key-shares=%d -key-threshold=%d", r.target, r.shares, r.threshold)
		_, code := r.askShares(nil, "", same)
		return nil, "", false, code
	}
	if s, code = r.begin(); s == nil {
		return nil, "", false, code
	}
	return s, s.Nonce, true, exitOK
}

// update gives one share. Where the answer does not tell how far the rekey is, the status does.
func (r *rekey) update(share, nonce string) (*rekeyStatus, error) {
	answer := &rekeyStatus{}
	if err := call(r.client, http.MethodPut, r.path+"/update", map[string]string{"key": share, "nonce": nonce}, answer); err != nil {
		return nil, err
	}
	if !answer.Complete && !answer.Started {
		return r.current()
	}
	return answer, nil
}

// finished prints the new shares, as soon as they are there: nothing may fail before.
func (r *rekey) finished(s *rekeyStatus, threshold int) int {
	if r.format() != "table" {
		return r.encode(api.RotateUpdateResponse{
			Nonce: s.Nonce, Complete: true, Keys: s.Keys, KeysB64: s.KeysB64, PGPFingerprints: s.PGPFingerprints,
			Backup: s.Backup, VerificationRequired: s.VerificationRequired, VerificationNonce: s.VerificationNonce,
		})
	}
	r.printf("\n")
	for i, key := range s.KeysB64 {
		if i < len(s.PGPFingerprints) {
			r.printf("Key %d fingerprint: %s; value: %s\n", i+1, s.PGPFingerprints[i], key)
			continue
		}
		r.printf("Key %d: %s\n", i+1, key)
	}
	if len(s.KeysB64) > 0 {
		r.printf("\n")
	}
	r.printf("Operation nonce: %s\n", s.Nonce)
	if s.Backup {
		r.printf("\nThe encrypted shares are kept on the server: see -backup-retrieve and -backup-delete.\n")
	}
	switch {
	case s.VerificationRequired:
		return r.explainVerification(s)
	case len(s.KeysB64) == 0:
		r.printf("\nThe root key was replaced. The recovery shares are the same as before.\n")
	default:
		r.printf("\nVault rekeyed with %d key shares and a key threshold of %d. Give each share to another\n"+
			"person now: they are not shown again, and the old ones are void.\n", len(s.KeysB64), threshold)
	}
	return exitOK
}

func (r *rekey) explainVerification(s *rekeyStatus) int {
	r.printf(`
The new shares do not count yet: the old ones stay valid until enough of the new ones have
been given once, each by

    sealgate operator rekey -verify -target=%s -nonce=%s

`, r.target, s.VerificationNonce)
	return r.showVerification()
}
