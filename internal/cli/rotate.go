package cli

import (
	"net/http"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func rotateCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator rotate", synopsis: "Make a new data encryption key",
		about: `Adds a term to the keyring: new writes are encrypted with a new key, and existing data stays readable. The
shares and the root key do not change.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int {
				if err := call(client, http.MethodPost, "sys/rotate", nil, nil); err != nil {
					return b.fail("rotating key", err)
				}
				if b.format() == "table" { // before the next request, which may be denied
					b.printf("Success! Rotated key\n\n")
				}
				return keyStatus(b, client)
			})
		}}
}

func keyStatusCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator key-status", synopsis: "Show the data encryption key's term",
		about: "Shows the term of the current data encryption key, its install time and its count of encryptions.",
		run:   func([]string) int { return b.withClient(func(c *api.Client) int { return keyStatus(b, c) }) }}
}

func keyStatus(b *base, client *api.Client) int {
	status, err := client.Sys().KeyStatus()
	if err != nil {
		return b.fail("reading key status", err)
	}
	if b.format() != "table" {
		return b.encode(status)
	}
	b.printf("%s", columns([][]string{
		{"Key Term", text(status.Term)},
		{"Install Time", status.InstallTime.UTC().Format(time.RFC822)},
		{"Encryption Count", text(status.Encryptions)},
	}))
	return exitOK
}
