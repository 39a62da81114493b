package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
)

// give gives shares to the root generation that runs.
func (g *rootToken) give(args []string) int {
	s, err := g.current()
	if err != nil {
		return g.fail("getting root generation status", err)
	}
	switch {
	case !s.Started && g.nonce == "":
		g.errorf("No root generation is in progress. Start one with:\n\n    sealgate %s -init\n\n"+
			"It shows a nonce, which each holder of a share needs.", g.again(""))
		return exitLocal
	case len(args) > 0 && g.nonce == "":
		g.errorf("Missing nonce value: specify it via the -nonce flag")
		return exitLocal
	}
	nonce := cmp.Or(g.nonce, s.Nonce)
	if len(args) == 0 {
		g.errorf("Operation nonce: %s", nonce)
	}
	last, lastShare := s, ""
	done, code := g.gather(quorum{
		command: g.again(nonce), question: "Unseal or Recovery Key (will be hidden): ", doing: "posting unseal key",
		args: args, result: "the encoded token",
		give: func(ctx context.Context, share string) (progress, error) {
			answer := &rootStatus{}
			if err := g.ask(ctx, http.MethodPut, "update", map[string]string{"key": share, "nonce": nonce}, answer); err != nil {
				return progress{}, err
			}
			last, lastShare = answer, share
			return answer.standing(), nil
		},
		status: func() (progress, error) {
			answer, err := g.current()
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.standing(), nil
		},
	})
	last.OTPLength = cmp.Or(last.OTPLength, s.OTPLength) // answers to shares leave it out
	switch {
	case code != exitOK:
		return code
	case !done:
		return g.show(last)
	}
	return g.handOver(last, lastShare, nonce)
}

// handOver prints the encoded token, and tells the server when it is out.
func (g *rootToken) handOver(s *rootStatus, share, nonce string) int {
	text, err := g.shown(s)
	if err == nil {
		err = g.deliver(text)
	}
	if err != nil {
		g.errorf("Error printing the encoded token: %v\n\nThe server has not been told that it arrived. As long as it keeps it, "+
			"this fetches it, with the same share:\n\n    sealgate %s\n", err, g.again(nonce))
		return exitLocal
	}
	err = g.askHere(context.Background(), http.MethodPut, "acknowledge", map[string]string{"key": share, "nonce": nonce}, nil)
	if err != nil && !unserved(err) {
		g.errorf("Note: the server could not be told that the encoded token arrived. "+
			"It keeps its copy, sealed, until its time is over.\n%s", errorText(err))
	}
	if g.format() == "table" && s.PGPFingerprint == "" {
		g.errorf("\nWhoever started has the one-time password, and gets the token, without any server, by:\n\n"+
			"    sealgate operator generate-root -decode=%s\n", s.token())
	}
	return exitOK
}

// again is the command that goes on with this root generation.
func (g *rootToken) again(nonce string) string {
	text := "operator generate-root"
	if g.recoveryToken {
		text += " -recovery-token"
	}
	if nonce != "" {
		text += fmt.Sprintf(" -nonce=%s", nonce)
	}
	return text
}
