package cli

import (
	"github.com/openbao/openbao/api/v2"
)

func unwrapCommand(b *base) *command {
	b.formatted().fielded()
	return &command{base: b, name: "unwrap", args: "[TOKEN | - | @file]", most: 1, synopsis: "Unwrap a wrapping token",
		about: `Shows the wrapped response of a wrapping token; a wrapping token can be used only once. Without an argument
it unwraps the token that commands use.`,
		run: func(args []string) int {
			token, code := tokenArgument(b, args, false)
			if code != exitOK {
				return code
			}
			return b.withClient(func(client *api.Client) int {
				s, err := client.Logical().Unwrap(token)
				if err != nil {
					return b.fail("unwrapping", err)
				}
				if s == nil {
					if b.format() == "table" {
						b.printf("Successfully unwrapped. There was no data in the wrapped secret.\n")
					}
					return exitOK
				}
				if keys, ok := keysOf(s); ok && b.conn.field == "" && len(s.Data) == 1 {
					return showList(b, s, keys, false)
				}
				return b.showSecret(s)
			})
		}}
}

func pathHelpCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "path-help", args: "PATH", least: 1, most: 1, synopsis: "Show the help of an API path",
		about: "Shows the server's help for an API path. With -format=json or yaml it is an OpenAPI document.",
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				help, err := client.Help(sanitize(args[0]))
				switch {
				case err != nil && sealed(err):
					b.errorf("Error: Vault is sealed.\n\nOnly an unsealed server knows its mounts and can show their help.")
					return exitServer
				case err != nil:
					return b.fail("retrieving help", err)
				case b.format() != "table":
					return b.encode(help.OpenAPI)
				}
				b.printf("%s\n", help.Help)
				return exitOK
			})
		}}
}
