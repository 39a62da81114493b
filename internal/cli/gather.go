package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// quorum describes how to collect shares for one operation.
type quorum struct {
	command  string   // for hints: "operator rekey"
	question string   // of the prompt
	args     []string // KEY, "-", "@file" or nothing
	shares   []string // the shares in args, if they were already read
	all      bool     // prompt until it is complete, not once
	doing    string   // for errors: "posting unseal key"
	result   string   // of the last share, for hints: "the new shares"
	give     func(ctx context.Context, share string) (progress, error)
	status   func() (progress, error) // called if the response to a share was lost
}

// progress is the number of shares given and needed.
type progress struct {
	done          bool
	given, needed int
	holders       []string // of the shares given, if the server shows them
}

// text is "2 of 3 shares given (alice, bob), 1 to go."
func (p progress) text() string {
	by := ""
	if len(p.holders) > 0 {
		by = " (" + strings.Join(p.holders, ", ") + ")"
	}
	return fmt.Sprintf("%d of %d shares given%s, %d to go.", p.given, p.needed, by, max(0, p.needed-p.given))
}

// gather gives shares until there are no more or the operation is complete. After a refused share
// it prints the error and continues with the next share or prompt. done reports that the operation
// is complete.
func (b *base) gather(q quorum) (done bool, code int) {
	for {
		shares := q.shares
		if shares == nil {
			var failed int
			if shares, failed = askShares(b, q.args, q.question, q.command); failed != exitOK {
				return false, failed
			}
		}
		for _, share := range shares {
			p, err := b.giveOne(q, share)
			switch {
			case err == nil && p.done:
				return true, exitOK
			case err == nil:
				b.errorf("%s", p.text())
			default:
				code = b.fail(q.doing, err)
				if !refused(err) || code == exitOK {
					return false, code
				}
			}
		}
		if len(q.args) > 0 || !q.all {
			return false, code
		}
		code = exitOK
	}
}

// giveOne gives one share. If the connection broke, it explains what to do.
func (b *base) giveOne(q quorum, share string) (p progress, err error) {
	again, err := b.sendShare(func(ctx context.Context) (err error) {
		p, err = q.give(ctx, share)
		return err
	})
	if again && alreadyGiven(err) {
		return q.status()
	}
	var lost *lostError
	switch {
	case errors.As(err, &lost):
		b.errorf("\nIt is unknown whether the server counted the share. Give the same share again, with the same nonce:\n\n"+
			"    sealgate %s\n\nIf it was the last one, this fetches %s as long as the server keeps its response.\n", q.command,
			q.result)
	case again && refused(err):
		b.errorf("Note: the share was sent twice, because the first response was lost. If it was the last share, the\n"+
			"operation is complete, and this server does not repeat its response: %s cannot be shown any more.\n", q.result)
	}
	return p, err
}

// refused reports whether the server refused one share; any other error makes further shares
// pointless.
func refused(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && re.StatusCode == http.StatusBadRequest
}
