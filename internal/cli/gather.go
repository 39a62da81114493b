package cli

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// quorum is a collection of shares, one after the other.
type quorum struct {
	command  string   // for hints: "operator rekey"
	question string   // of the hidden prompt
	args     []string // KEY, "-", "@file" or nothing
	all      bool     // ask until it is complete, not once
	give     func(share string) (progress, error)
	doing    string // for errors: "posting unseal key"
}

// progress is where a collection stands.
type progress struct {
	done          bool
	given, needed int
}

// words is "1 of 3 shares given, 2 to go".
func (p progress) words() string {
	return fmt.Sprintf("%d of %d shares given, %d to go.", p.given, p.needed, max(0, p.needed-p.given))
}

// gather gives shares until there are no more, or enough of them. A share that the server refuses spoils nothing: it
// is told, the next one is given, and a person is asked again. done reports that the server had enough.
func (b *base) gather(q quorum) (done bool, code int) {
	for {
		shares, failed := b.askShares(q.args, q.question, q.command)
		if failed != exitOK {
			return false, failed
		}
		for _, share := range shares {
			p, err := q.give(share)
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

// refused tells the server's judgement of one share from anything that makes further ones pointless.
func refused(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && re.StatusCode == http.StatusBadRequest
}
