package cli

import (
	"github.com/openbao/openbao/api/v2"
)

func unwrapCommand(b *base) *command {
	b.formatted().fielded()
	return &command{base: b, name: "unwrap", args: "[TOKEN | - | @file]", most: 1, synopsis: "Open a wrapping token",
		about: `Shows what a wrapping token holds, once: it is void afterwards. Without an argument the token that commands use
is taken for the wrapping token.`,
		run: func(args []string) int {
			token, code := b.tokenArgument(args, false)
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
					return b.showList(s, keys, false)
				}
				return b.showSecret(s)
			})
		}}
}

func pathHelpCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "path-help", args: "PATH", least: 1, most: 1, synopsis: "Show the help of an API path",
		about: "Shows what the server says about a path of its API. With -format=json or yaml it is a document of OpenAPI.",
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				help, err := client.Help(sanitize(args[0]))
				switch {
				case err != nil && sealed(err):
					b.errorf("Error: Vault is sealed.\n\nOnly an unsealed server knows what is mounted where, and so whose help to give.")
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
