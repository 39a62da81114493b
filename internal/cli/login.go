package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/openbao/openbao/api/v2"
)

type loginFlags struct {
	method                      string
	noStore, noPrint, tokenOnly bool
}

func loginCommand(b *base) *command {
	b.formatted().fielded()
	f := &loginFlags{}
	b.flags.StringVar(&f.method, "method", "token", "`kind` of login; token is the only one yet")
	b.flags.BoolVar(&f.noStore, "no-store", false, "do not keep the token in a file")
	b.flags.BoolVar(&f.noPrint, "no-print", false, "do not show the token")
	b.flags.BoolVar(&f.tokenOnly, "token-only", false, "print the token alone, and keep it nowhere")
	b.own("method", "no-store", "no-print", "token-only")
	return &command{base: b, name: "login", args: "[TOKEN | - | @file]", most: 1, synopsis: "Check a token and keep it for later commands",
		about: `Looks a token up and keeps it in ~/.vault-token, where later commands find it. Without an argument
the token is asked for, hidden; "-" reads it from standard input.`,
		run: func(args []string) int { return b.login(f, args) }}
}

func (b *base) login(f *loginFlags, args []string) int {
	switch {
	case f.noStore && f.noPrint:
		b.errorf("Error: -no-store and -no-print together do nothing")
		return exitLocal
	case f.method != "token":
		b.errorf("Error: unknown method of login: %s; token is the only one", f.method)
		return exitLocal
	}
	token, code := b.loginToken(args)
	if code != exitOK {
		return code
	}
	return b.withClient(func(client *api.Client) int {
		client.SetToken(token)
		client.SetWrappingLookupFunc(nil)
		s, err := client.Auth().Token().LookupSelf()
		if err != nil {
			return b.fail("authenticating", err)
		}
		if f.tokenOnly {
			b.printf("%s", token)
			return exitOK
		}
		if !f.noStore {
			if err := b.storeToken(token); err != nil {
				b.errorf("Error storing token: %v", err)
				return exitLocal
			}
		}
		if f.noPrint {
			return exitOK
		}
		if b.conn.field == "" && b.format() == "table" {
			b.printf("Success! You are now authenticated.")
			if !f.noStore {
				b.printf(" The token is kept in %s: later commands use it.", b.tokenFile())
			}
			b.printf("\n\n")
		}
		return b.showSecret(authOf(token, s))
	})
}

func (b *base) loginToken(args []string) (string, int) {
	if len(args) == 0 {
		token, err := b.prompt("Token (will be hidden): ")
		if err != nil {
			b.errorf("Error: a token is needed: %v. Pipe it in: sealgate login - < token.txt", err)
			return "", exitLocal
		}
		return token, exitOK
	}
	all, err := b.secretsFrom(args[0])
	if err != nil {
		b.errorf("Error reading the token: %v", err)
		return "", exitLocal
	}
	return all[0], exitOK
}

// authOf shows a looked-up token as other logins answer.
func authOf(token string, s *api.Secret) *api.Secret {
	a := &api.SecretAuth{ClientToken: token}
	a.Accessor, _ = s.TokenAccessor()
	a.TokenPolicies, _ = s.TokenPolicies()
	a.Policies = a.TokenPolicies
	a.Renewable, _ = s.TokenIsRenewable()
	ttl, _ := s.TokenTTL()
	a.LeaseDuration = int(ttl.Seconds())
	return &api.Secret{Auth: a}
}

// storeToken replaces the token file in one step, readable by its owner alone.
func (b *base) storeToken(token string) error {
	file := b.tokenFile()
	if file == "" {
		return fmt.Errorf("there is no home folder; set SEALGATE_TOKEN_PATH or use -no-store")
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".vault-token-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.WriteString(token); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

func printTokenCommand(b *base) *command {
	return &command{base: b, name: "print token", synopsis: "Print the token that commands use",
		about: "Prints the token that commands use, from the environment or the token file.",
		run: func([]string) int {
			token, err := b.token()
			if err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			b.printf("%s\n", token)
			return exitOK
		}}
}
