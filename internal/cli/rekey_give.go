package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
)

// give gives shares to an operation: the one in progress, one that this call starts (see the help),
// or one that is complete and whose response was lost.
func (r *rekey) give(args []string) int {
	s, err := r.current()
	if err != nil {
		return r.fail("reading "+r.variant.noun+" status", err)
	}
	var shares []string
	if len(args) > 0 { // before an operation is started that could not continue
		var code int
		if shares, code = askShares(r.base, args, "", r.variant.command); code != exitOK {
			return code
		}
	}
	s, nonce, started, code := r.join(s, args)
	switch {
	case code != exitOK:
		return code
	case s.Complete:
		return r.printShares(s, "", "", s.T)
	case len(args) == 0:
		r.errorf("%s operation nonce: %s", title(r.variant.noun), nonce)
	}
	last, lastShare := s, ""
	done, code := r.gather(quorum{
		command: r.again(nonce), question: r.authority() + " Key (will be hidden): ", doing: "posting unseal key",
		args: args, shares: shares, all: started, result: "the new shares",
		give: func(ctx context.Context, share string) (progress, error) {
			answer, err := r.update(ctx, share, nonce)
			if err != nil {
				return progress{}, err
			}
			last, lastShare = answer, share
			return answer.progress(), nil
		},
		status: func() (progress, error) {
			answer, err := r.current()
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.progress(), nil
		},
	})
	switch {
	case done:
		return r.printShares(last, lastShare, nonce, cmp.Or(last.T, s.T))
	case started:
		r.errorf("\nThe %s is still in progress, with the nonce %s. Continue with:\n\n    sealgate %s\n", r.variant.noun,
			nonce, r.again(nonce))
		code = cmp.Or(code, exitServer) // a call that should do everything did not
	case code == exitOK:
		return r.show(last)
	}
	return code
}

func (s *rekeyStatus) progress() progress {
	return progress{s.Complete, s.Given, s.Required, s.HoldersGiven}
}

// again is the command line that gives a share to this operation.
func (r *rekey) again(nonce string) string {
	return fmt.Sprintf("%s -target=%s -nonce=%s", r.variant.command, r.target, nonce)
}

// join determines the operation that the shares are for, and starts one if the flags say so. If
// there is none, it prints why and code is not exitOK.
func (r *rekey) join(s *rekeyStatus, args []string) (_ *rekeyStatus, nonce string, started bool, code int) {
	starting := r.startFlags()
	switch {
	case s.Started && starting && s.N > 0 && (s.N != r.shares || s.T != r.threshold):
		r.errorf("Error: a %s to %d shares with threshold %d is already in progress, with the nonce %s.\n"+
			"Omit -key-shares and -key-threshold to give a share to it, or end it with -cancel.", r.variant.noun, s.N, s.T,
			s.Nonce)
		return nil, "", false, exitLocal
	case s.Started && r.nonce == "" && len(args) > 0:
		r.errorf("Missing nonce value: specify it via the -nonce flag")
		return nil, "", false, exitLocal
	case s.Started:
		return s, cmp.Or(r.nonce, s.Nonce), false, exitOK
	case !starting && r.nonce != "": // it may be complete, with its response still kept
		return s, r.nonce, false, exitOK
	case !starting:
		r.errorf("Error: no %s is in progress. Start one with -init, or use -key-shares and -key-threshold to do it all in "+
			"one call.", r.variant.noun)
		return nil, "", false, exitLocal
	}
	if len(args) == 0 && r.terminal() == nil {
		same := fmt.Sprintf("%s -target=%s -key-shares=%d -key-threshold=%d", r.variant.command, r.target, r.shares,
			r.threshold)
		_, code := askShares(r.base, nil, "", same)
		return nil, "", false, code
	}
	if s, code = r.begin(); s == nil {
		return nil, "", false, code
	}
	return s, s.Nonce, true, exitOK
}

// update gives one share. If the response has no progress, it reads the status.
func (r *rekey) update(ctx context.Context, share, nonce string) (*rekeyStatus, error) {
	answer := &rekeyStatus{}
	if err := r.send(ctx, http.MethodPut, "update", map[string]string{"key": share, "nonce": nonce}, answer); err != nil {
		return nil, err
	}
	if !answer.Complete && !answer.Started {
		return r.current()
	}
	return answer, nil
}
