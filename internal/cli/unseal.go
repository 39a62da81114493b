package cli

import (
	"errors"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

func unsealCommand(b *base) *command {
	b.formatted()
	var reset, migrate bool
	b.flags.BoolVar(&reset, "reset", false, "discard the shares given so far")
	b.flags.BoolVar(&migrate, "migrate", false, "give the share for a migration to another seal")
	b.own("reset", "migrate")
	return &command{base: b, name: "operator unseal", args: "[KEY | - | @file]", most: 1,
		synopsis: "Give a share to unseal the server",
		about: `Gives one share of the unseal key and shows the state of the server. Without an argument it prompts for the
share and does not echo it. "-" reads shares from standard input and "@file" from a file, one per line, until the
server is unsealed. A share given as an argument is visible in the process list.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				if reset {
					return b.unseal(client, map[string]any{"reset": true})
				}
				keys, code := askShares(b, args, "Unseal Key (will be hidden): ", "operator unseal")
				for i, k := range keys {
					status := &sealState{}
					body := map[string]any{"key": k, "reset": false, "migrate": migrate}
					if i == len(keys)-1 {
						return b.unseal(client, body)
					}
					if err := call(client, http.MethodPut, "sys/unseal", body, status); err != nil {
						return b.fail("unsealing", err)
					}
					if !status.Sealed {
						return showStatus(b, client, status)
					}
				}
				return code
			})
		}}
}

func (b *base) unseal(client *api.Client, body map[string]any) int {
	status := &sealState{}
	if err := call(client, http.MethodPut, "sys/unseal", body, status); err != nil {
		return b.fail("unsealing", err)
	}
	return showStatus(b, client, status)
}

// askShares reads shares from the argument or prompts for one. If it gets none, it prints why and
// returns exitLocal.
func askShares(b *base, args []string, question, command string) ([]string, int) {
	var keys []string
	var err error
	if len(args) > 0 {
		keys, err = b.secretsFrom(args[0])
	} else {
		var k string
		k, err = b.prompt(question)
		keys = []string{k}
	}
	if errors.Is(err, errNoTerminal) || errors.Is(err, errNonInteractive) {
		b.errorf(`Error: a share is needed, and %v.

Pipe it in, or name a file:

    sealgate %s - < share.txt
    sealgate %s @share.txt

or give it as the argument, where every user of this machine can see it in the process list.`, err, command, command)
		return nil, exitLocal
	}
	if err != nil {
		b.errorf("Error reading the share: %v", err)
		return nil, exitLocal
	}
	return keys, exitOK
}

func sealCommand(b *base) *command {
	return &command{base: b, name: "operator seal", synopsis: "Seal the server",
		about: `Seals the server: it wipes its keys and serves no data until it is unsealed again. That takes shares, or a
restart with an auto-unseal seal.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int {
				if err := call(client, http.MethodPut, "sys/seal", nil, nil); err != nil {
					return b.fail("sealing", err)
				}
				b.printf("Success! Vault is sealed.\n")
				return exitOK
			})
		}}
}

func stepDownCommand(b *base) *command {
	return &command{base: b, name: "operator step-down", synopsis: "Make the active node a standby",
		about: "Makes the active node of a cluster give up leadership, so that another node becomes active.",
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int {
				if err := call(client, http.MethodPut, "sys/step-down", nil, nil); err != nil {
					return b.fail("stepping down", err)
				}
				b.printf("Success! Stepped down: %s\n", client.Address())
				return exitOK
			})
		}}
}
