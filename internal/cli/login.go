package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

type loginFlags struct {
	method, path                string
	noStore, noPrint, tokenOnly bool
}

func loginCommand(b *base) *command {
	b.formatted().fielded()
	f := &loginFlags{}
	b.flags.StringVar(&f.method, "method", "token", "`kind` of login: "+strings.Join(slices.Sorted(maps.Keys(loginMethods)), ", "))
	b.flags.StringVar(&f.path, "path", "", "`where` the method is enabled; its kind by default")
	b.flags.BoolVar(&f.noStore, "no-store", false, "do not keep the token in a file")
	b.flags.BoolVar(&f.noPrint, "no-print", false, "do not show the token")
	b.flags.BoolVar(&f.tokenOnly, "token-only", false, "print the token alone, and keep it nowhere")
	b.own("method", "path", "no-store", "no-print", "token-only")
	return &command{base: b, name: "login", args: "[TOKEN | - | @file] [k=v...]", most: -1, synopsis: "Log in, and keep the token for later commands",
		about: `Logs in and keeps the token in ~/.vault-token, where later commands find it. Without -method a token
that exists already is looked up: it is asked for, hidden, or read from standard input for "-".

The other methods take their parameters as k=v; "sealgate auth help METHOD" names them. What is secret
is better piped (password=-), read from a file (secret_id=@file) or asked for than given as it is.

With -wrap-ttl the wrapped token is unwrapped at once, but for -token-only and -no-store.`,
		run: func(args []string) int { return b.login(f, args) }}
}

func (b *base) login(f *loginFlags, args []string) int {
	if f.tokenOnly {
		f.noStore, b.conn.field = true, "token"
	}
	if f.noStore && f.noPrint {
		b.errorf("Error: -no-store and -no-print together do nothing")
		return exitLocal
	}
	kind := cmp.Or(sanitize(f.method), "token")
	method, ok := loginMethods[kind]
	if !ok {
		b.errorf("Error: unknown method of login: %s; there are %s. Others can be used by the API alone: sealgate write auth/PATH/login k=v...",
			kind, strings.Join(slices.Sorted(maps.Keys(loginMethods)), ", "))
		return exitLocal
	}
	if kind == "token" && len(args) > 0 && !strings.Contains(args[0], "=") {
		args = append([]string{"token=" + args[0]}, args[1:]...)
	}
	data, err := b.data(args)
	if err != nil {
		b.errorf("Error parsing configuration: %v", err)
		return exitLocal
	}
	mount, err := take(data, "mount")
	if err != nil {
		b.errorf("Error: %v", err)
		return exitLocal
	}
	l := &loginRun{base: b, mount: sanitize(cmp.Or(mount, f.path, kind)), data: data}
	return b.withClient(func(client *api.Client) int {
		if kind != "token" {
			client.SetToken("") // an old one must not spoil the login
		}
		s, err := method.login(l, client)
		var local *localError
		switch {
		case errors.As(err, &local):
			b.errorf("Error authenticating: %v", err)
			return exitLocal
		case err != nil:
			return b.fail("authenticating", err)
		}
		return b.loggedIn(f, client, s)
	})
}

// loggedIn unwraps, keeps and prints what a login answered.
func (b *base) loggedIn(f *loginFlags, client *api.Client, s *api.Secret) int {
	client.SetWrappingLookupFunc(unwrapped) // only the login itself was to be wrapped
	if s != nil && s.Auth == nil && s.WrapInfo != nil {
		switch {
		case f.tokenOnly:
			return b.showField(s, "wrapping_token")
		case f.noStore:
			return b.showSecret(s)
		}
		client.SetToken(s.WrapInfo.Token)
		var err error
		if s, err = client.Logical().Unwrap(""); err != nil {
			return b.fail("extracting token", err)
		}
	}
	if s == nil || s.Auth == nil || s.Auth.ClientToken == "" {
		b.errorf("Error authenticating: there is no token in the server's answer")
		return exitServer
	}
	switch {
	case !f.noStore:
		if err := b.storeToken(s.Auth.ClientToken); err != nil {
			b.errorf("Error storing token: %v\nThe login itself went well; the token is shown for you to keep.\n", err)
			_ = b.showSecret(s)
			return exitLocal
		}
		if name := b.envToken(); name != "" {
			b.errorf("WARNING! %s is set in the environment: commands use that token, not this one, until it is unset.\n", name)
		}
	case !f.tokenOnly:
		b.errorf("The token is not kept anywhere: set SEALGATE_TOKEN to it for later commands.\n")
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
	return b.showSecret(s)
}

// unwrapped asks for an answer as it is.
func unwrapped(string, string) string { return "" }

// storeToken replaces the token file in one step, readable by its owner alone.
func (b *base) storeToken(token string) error {
	file := b.tokenFile()
	if file == "" {
		return fmt.Errorf("there is no home folder; set SEALGATE_TOKEN_PATH or use -no-store")
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".vault-token-*") // mode 0600
	if err != nil {
		var at *os.PathError
		if errors.As(err, &at) { // its name means nothing to anybody
			err = at.Err
		}
		return fmt.Errorf("%s: %w", file, err)
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
