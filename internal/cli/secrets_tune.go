package cli

import (
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

func secretsTuneCommand(b *base) *command {
	m := &mountFlags{}
	m.define(b)
	return &command{base: b, name: "secrets tune", args: "PATH", least: 1, most: 1, synopsis: "Change the settings of a secrets engine",
		about: "Changes the settings of the secrets engine at a path. What no flag names stays.",
		run: func(args []string) int {
			where := sanitize(args[0])
			if where == "" {
				b.errorf("Error: the path of a secrets engine is needed")
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodPost, "sys/mounts/"+where+"/tune", m.tuning(b), "tuning secrets engine "+folder(where),
					"Success! Tuned the secrets engine at: "+folder(where))
			})
		}}
}

func secretsMoveCommand(b *base) *command {
	return &command{base: b, name: "secrets move", args: "SOURCE DESTINATION", least: 2, most: 2,
		synopsis: "Move a secrets engine to another path",
		about:    "Moves a secrets engine, with all that it holds, to another path. Policies and clients must name the new one.",
		run: func(args []string) int {
			return b.move("secrets engine", folder(sanitize(args[0])), folder(sanitize(args[1])))
		}}
}
