package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// quorum is a collection of shares, one after the other.
type quorum struct {
	command  string   // for hints: "operator rekey"
	question string   // of the hidden prompt
	args     []string // KEY, "-", "@file" or nothing
	shares   []string // what args gave, where it was read before
	all      bool     // ask until it is complete, not once
	doing    string   // for errors: "posting unseal key"
	result   string   // what the last share brings, for the case that it is lost: "the new shares"
	give     func(ctx context.Context, share string) (progress, error)
	status   func() (progress, error) // asked where a share arrived but its reply did not
}

// progress is where a collection stands.
type progress struct {
	done          bool
	given, needed int
	holders       []string // who has given, where the server tells
}

// words is "2 of 3 shares given, 1 to go: alice, bob have given."
func (p progress) words() string {
	text := fmt.Sprintf("%d of %d shares given, %d to go", p.given, p.needed, max(0, p.needed-p.given))
	switch len(p.holders) {
	case 0:
		return text + "."
	case 1:
		return text + ": " + p.holders[0] + " has given."
	}
	return text + ": " + strings.Join(p.holders, ", ") + " have given."
}

// gather gives shares until there are no more, or enough of them. A share that the server refuses spoils nothing: it
// is told, the next one is given, and a person is asked again. done reports that the server had enough.
func (b *base) gather(q quorum) (done bool, code int) {
	for {
		shares := q.shares
		if shares == nil {
			var failed int
			if shares, failed = b.askShares(q.args, q.question, q.command); failed != exitOK {
				return false, failed
			}
		}
		for _, share := range shares {
			p, err := b.giveOne(q, share)
			switch {
			case err == nil && p.done:
				return true, exitOK
			case err == nil:
				b.errorf("%s", p.words())
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

// giveOne gives one share, and explains what is open where the connection broke.
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
		b.errorf("\nWhether the share was counted is open. Give the same share again, with the same nonce:\n\n    sealgate %s\n\n"+
			"Where it was the last one, that fetches %s, as long as the server keeps the answer.\n", q.command, q.result)
	case again && refused(err):
		b.errorf("Note: the share was sent twice, since the reply was lost. Where it was the last one that was needed,\n"+
			"this server has finished and does not repeat its answer: %s cannot be had any more.\n", q.result)
	}
	return p, err
}

// refused tells the server's judgement of one share from anything that makes further ones pointless.
func refused(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && re.StatusCode == http.StatusBadRequest
}
