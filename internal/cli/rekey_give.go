package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
)

// give gives shares to an operation: one that runs, one that this call starts (see the help), or one that has finished and whose
// answer was lost.
func (r *rekey) give(args []string) int {
	s, err := r.current()
	if err != nil {
		return r.fail("reading "+r.face.noun+" status", err)
	}
	var shares []string
	if len(args) > 0 { // read now: nothing is started that cannot go on
		var code int
		if shares, code = r.askShares(args, "", r.face.command); code != exitOK {
			return code
		}
	}
	s, nonce, started, code := r.join(s, args)
	switch {
	case code != exitOK:
		return code
	case s.Complete:
		return r.handOver(s, "", "", s.T)
	case len(args) == 0:
		r.errorf("%s operation nonce: %s", title(r.face.noun), nonce)
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
			return answer.standing(), nil
		},
		status: func() (progress, error) {
			answer, err := r.current()
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.standing(), nil
		},
	})
	switch {
	case done:
		return r.handOver(last, lastShare, nonce, cmp.Or(last.T, s.T))
	case started:
		r.errorf("\nThe %s runs on, with the nonce %s. Go on with:\n\n    sealgate %s\n", r.face.noun, nonce, r.again(nonce))
		code = cmp.Or(code, exitServer) // the one call that was to do it all did not
	case code == exitOK:
		return r.show(last)
	}
	return code
}

func (s *rekeyStatus) standing() progress {
	return progress{s.Complete, s.Progress, s.Required, s.HoldersGiven}
}

// again is the command that gives a share to this operation.
func (r *rekey) again(nonce string) string {
	return fmt.Sprintf("%s -target=%s -nonce=%s", r.face.command, r.target, nonce)
}

// join settles which operation the shares are meant for, and starts one where the flags say so. Where that
// cannot be, it has told why, and the code is not exitOK.
func (r *rekey) join(s *rekeyStatus, args []string) (_ *rekeyStatus, nonce string, started bool, code int) {
	wanted := r.wanted()
	switch {
	case s.Started && wanted && s.N > 0 && (s.N != r.shares || s.T != r.threshold):
		r.errorf("Error: a %s to %d shares with threshold %d runs already, with the nonce %s.\n"+
			"Leave -key-shares and -key-threshold out to give a share to it, or end it with -cancel.", r.face.noun, s.N, s.T, s.Nonce)
		return nil, "", false, exitLocal
	case s.Started && r.nonce == "" && len(args) > 0:
		r.errorf("Missing nonce value: specify it via the -nonce flag")
		return nil, "", false, exitLocal
	case s.Started:
		return s, cmp.Or(r.nonce, s.Nonce), false, exitOK
	case !wanted && r.nonce != "": // it may have finished, and its answer be kept
		return s, r.nonce, false, exitOK
	case !wanted:
		r.errorf("Error: no %s is in progress. Start one with -init, or give -key-shares and -key-threshold to do it all in one call.", r.face.noun)
		return nil, "", false, exitLocal
	}
	if len(args) == 0 && r.terminal() == nil { // nor without somebody to ask
		same := fmt.Sprintf("%s -target=%s -key-shares=%d -key-threshold=%d", r.face.command, r.target, r.shares, r.threshold)
		_, code := r.askShares(nil, "", same)
		return nil, "", false, code
	}
	if s, code = r.begin(); s == nil {
		return nil, "", false, code
	}
	return s, s.Nonce, true, exitOK
}

// update gives one share. Where the answer does not tell how far the operation is, the status does.
func (r *rekey) update(ctx context.Context, share, nonce string) (*rekeyStatus, error) {
	answer := &rekeyStatus{}
	if err := r.ask(ctx, http.MethodPut, "update", map[string]string{"key": share, "nonce": nonce}, answer); err != nil {
		return nil, err
	}
	if !answer.Complete && !answer.Started {
		return r.current()
	}
	return answer, nil
}
