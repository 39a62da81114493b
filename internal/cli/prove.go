package cli

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// proof is the server's answer to a share that is good.
type proof struct {
	Proven     bool   `json:"proven"`
	Target     string `json:"target"`
	Generation uint64 `json:"generation"`
	Number     int    `json:"number"`
	Name       string `json:"name"`
}

func proveCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator prove", args: "[KEY | - | @file]", most: 1, synopsis: "Prove that a share is still good",
		about: `Tells the holder of a share whether it is one of the present ones, without starting anything. It needs no token.
The server records when each share was last proven: see "operator custodians".

The share is asked for, hidden; "-" reads it from standard input and "@file" from a file, one a line.
A share as an argument shows in the process list.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int { return b.prove(client, args) })
		}}
}

// prove gives each share on its own; one that is refused does not keep the others.
func (b *base) prove(client *api.Client, args []string) int {
	shares, code := b.askShares(args, "Unseal or Recovery Key (will be hidden): ", "operator prove")
	for _, share := range shares {
		p := &proof{}
		err := call(client, http.MethodPut, "sys/recovery/prove", map[string]string{"key": share}, p)
		if err == nil && !p.Proven {
			err = fmt.Errorf("the server did not confirm it")
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
		b.printf("Success! The share is good: it is number %d of the %s shares%s (generation %d).\n",
			p.Number, cmp.Or(shareKind[p.Target], p.Target), whose, p.Generation)
	}
	return code
}

// shareKind is what the shares of a target are called.
var shareKind = map[string]string{"barrier": "unseal", "recovery": "recovery"}
