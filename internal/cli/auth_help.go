package cli

import (
	"maps"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

func authHelpCommand(b *base) *command {
	return &command{base: b, name: "auth help", args: "TYPE|PATH", least: 1, most: 1,
		synopsis: "Show how to log in with an auth method",
		about: `Shows the login parameters of an auth method, by its type or the path where it is enabled. Types:` +
			strings.Join(slices.Sorted(maps.Keys(loginMethods)), ", ") + ".",
		run: func(args []string) int {
			kind := strings.TrimSpace(args[0])
			if m, ok := loginMethods[kind]; ok {
				b.printf("%s\n", m.help)
				return exitOK
			}
			return b.withClient(func(client *api.Client) int {
				methods, err := client.Sys().ListAuth()
				if err != nil {
					return b.fail("listing auth methods", err)
				}
				found, ok := methods[folder(sanitize(kind))]
				if !ok {
					b.errorf("No auth method available on the server at %q", folder(sanitize(kind)))
					return exitLocal
				}
				m, ok := loginMethods[found.Type]
				if !ok {
					b.errorf("This client has no help for the auth method %q: use sealgate path-help", found.Type)
					return exitServer
				}
				b.printf("%s\n", m.help)
				return exitOK
			})
		}}
}
