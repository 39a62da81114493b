package cli

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// proof is the response to a valid share.
type proof struct {
	Proven     bool   `json:"proven"`
	Target     string `json:"target"`
	Generation uint64 `json:"generation"`
	Number     int    `json:"number"`
	Name       string `json:"name"`
}

func proveCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator prove", args: "[KEY | - | @file]", most: 1,
		synopsis: "Check that a share is still valid",
		about: `Checks whether a share belongs to the current share set, without starting a ceremony. It needs no token. The
server records when each share was last proven: see "operator custodians".

The command prompts for the share and does not echo it; "-" reads shares from standard input and "@file" from
a file, one per line. A share given as an argument is visible in the process list.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int { return b.prove(client, args) })
		}}
}

// prove checks each share by itself; a refused share does not stop the others.
func (b *base) prove(client *api.Client, args []string) int {
	shares, code := askShares(b, args, "Unseal or Recovery Key (will be hidden): ", "operator prove")
	for _, share := range shares {
		p := &proof{}
		err := call(client, http.MethodPut, "sys/recovery/prove", map[string]string{"key": share}, p)
		if err == nil && !p.Proven {
			err = errors.New("the server did not confirm it")
		}
		if err != nil {
			code = b.fail("proving the share", err)
			if !refused(err) {
				return code
			}
			continue
		}
		if b.format() != "table" {
			code = cmp.Or(b.encode(p), code)
			continue
		}
		whose := ""
		if p.Name != "" {
			whose = ", " + p.Name + "'s"
		}
		b.printf("Success! The share is valid: it is number %d of the %s shares%s (generation %d).\n",
			p.Number, cmp.Or(shareKind[p.Target], p.Target), whose, p.Generation)
	}
	return code
}

// shareKind is the kind of a target's shares.
var shareKind = map[string]string{"barrier": "unseal", "recovery": "recovery"}
