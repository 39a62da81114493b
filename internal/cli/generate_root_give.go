package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
)

// give gives shares to the root generation in progress.
func (g *rootToken) give(args []string) int {
	s, err := g.current()
	if err != nil {
		return g.fail("getting root generation status", err)
	}
	switch {
	case !s.Started && g.nonce == "":
		g.errorf("No root generation is in progress. Start one with:\n\n    sealgate %s -init\n\n"+
			"It shows the nonce that each holder of a share needs.", g.again(""))
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
			if err := g.send(ctx, http.MethodPut, "update", map[string]string{"key": share, "nonce": nonce},
				answer); err != nil {
				return progress{}, err
			}
			last, lastShare = answer, share
			return answer.progress(), nil
		},
		status: func() (progress, error) {
			answer, err := g.current()
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.progress(), nil
		},
	})
	last.OTPLength = cmp.Or(last.OTPLength, s.OTPLength) // responses to shares lack it
	switch {
	case code != exitOK:
		return code
	case !done:
		return g.show(last)
	}
	return g.printToken(last, lastShare, nonce)
}

// printToken prints the encoded token and then acknowledges it to the server.
func (g *rootToken) printToken(s *rootStatus, share, nonce string) int {
	text, err := g.statusText(s)
	if err == nil {
		err = g.deliver(visible(text))
	}
	if err != nil {
		g.errorf("Error printing the encoded token: %v\n\nThe server still keeps it for a few minutes. Fetch it with "+
			"the same "+
			"share:\n\n    sealgate %s\n", err, g.again(nonce))
		return exitLocal
	}
	err = g.sendOnce(context.Background(), http.MethodPut, "acknowledge", map[string]string{"key": share, "nonce": nonce},
		nil)
	if err != nil && !unserved(err) {
		g.errorf("Note: acknowledging the encoded token failed. The server keeps its encrypted copy until it "+
			"expires.\n%s", errorText(err))
	}
	if g.format() == "table" && s.PGPFingerprint == "" {
		g.errorf("\nThe client that started has the one-time password and decodes the token offline with:\n\n"+
			"    sealgate operator generate-root -decode=%s\n", s.token())
	}
	return exitOK
}

// again is the command line that continues this root generation.
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
