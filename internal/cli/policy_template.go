package cli

import (
	"fmt"
	"strings"

	"github.com/sealgate/sealgate/internal/clients"
)

// clientFlags are the mount and key that a client uses.
type clientFlags struct{ mount, key string }

func (f *clientFlags) define(b *base) {
	b.flags.StringVar(&f.mount, "mount", "", "`path` of the secrets engine, transit or secret by default")
	b.flags.StringVar(&f.key, "key", "", "`name` of the transit key, or path of the secret; the client's name by default")
	b.own("mount", "key")
}

// find returns the client that an argument names, and prints an error where there is none.
func (f *clientFlags) find(b *base, name string) (clients.Client, bool) {
	c, ok := clients.Find(name)
	if !ok {
		b.errorf("No client is named %q. The clients are:\n\n%s", name, clientList())
		return c, false
	}
	for flag, v := range map[string]string{"mount": f.mount, "key": f.key} {
		if strings.ContainsAny(v, "\"*+\\\n{}") {
			b.errorf("-%s cannot contain quotes, braces or wildcards", flag)
			return c, false
		}
	}
	return c.At(f.mount, f.key), true
}

// clientList lists the clients, one a line.
func clientList() string {
	var rows []string
	for _, c := range clients.All() {
		rows = append(rows, fmt.Sprintf("    %-18s%s", c.Name, c.About))
	}
	return strings.Join(rows, "\n")
}

func policyTemplateCommand(b *base) *command {
	f := &clientFlags{}
	f.define(b)
	return &command{base: b, name: "policy template", args: "CLIENT", least: 1, most: 1,
		synopsis: "Print the least policy that a known client needs",
		about: `Prints the least policy with which a known client works, ready for "policy write". It makes no request.
"doctor client" checks whether a token has what the client needs.

The clients:

` + clientList(),
		run: func(args []string) int {
			c, ok := f.find(b, args[0])
			if !ok {
				return exitLocal
			}
			b.printf("%s", c.Policy())
			if c.Note != "" {
				b.errorf("Note: %s", c.Note)
			}
			return exitOK
		}}
}
