package cli

import (
	"cmp"
	"errors"
	"io"
	"maps"
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
	b.flags.StringVar(&f.method, "method", "token", "auth `method`: "+strings.Join(slices.Sorted(maps.Keys(loginMethods)),
		", "))
	b.flags.StringVar(&f.path, "path", "", "`path` of the auth method; its type by default")
	b.flags.BoolVar(&f.noStore, "no-store", false, "do not store the token in a file")
	b.flags.BoolVar(&f.noPrint, "no-print", false, "do not show the token")
	b.flags.BoolVar(&f.tokenOnly, "token-only", false, "print only the token, and do not store it")
	b.own("method", "path", "no-store", "no-print", "token-only")
	return &command{base: b, name: "login", args: "[TOKEN | - | @file] [k=v...]", most: -1,
		synopsis: "Log in and store the token for later commands",
		about: `Logs in and stores the token in ~/.vault-token, where later commands find it. Without -method it checks an
existing token, which it prompts for, or reads from standard input for "-".

The other methods take their parameters as k=v; "sealgate auth help METHOD" lists them. Pipe secrets in
(password=-), read them from a file (secret_id=@file) or let the command prompt for them: arguments are
visible in the process list.

With -wrap-ttl the command unwraps the token at once, unless -token-only or -no-store is given.`,
		run: func(args []string) int { return b.login(f, args) }}
}

func (b *base) login(f *loginFlags, args []string) int {
	if f.tokenOnly {
		f.noStore, b.conn.field = true, "token"
	}
	if f.noStore && f.noPrint {
		b.errorf("Error: -no-store and -no-print together would discard the token")
		return exitLocal
	}
	kind := cmp.Or(sanitize(f.method), "token")
	method, ok := loginMethods[kind]
	if !ok {
		b.errorf("Error: unknown auth method %s: login supports %s. For any other, use: sealgate write "+
			"auth/PATH/login k=v...",
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
			client.SetToken("") // an old token must not make the login fail
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
		return loggedIn(b, f, client, s)
	})
}

// loggedIn unwraps, stores and prints the token of a login.
func loggedIn(b *base, f *loginFlags, client *api.Client, s *api.Secret) int {
	client.SetWrappingLookupFunc(unwrapped) // -wrap-ttl is for the login itself
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
		b.errorf("Error authenticating: the server's response has no token")
		return exitServer
	}
	switch {
	case !f.noStore:
		if err := storeToken(b, s.Auth.ClientToken); err != nil {
			b.errorf("Error storing token: %v\nThe login itself succeeded; here is the token.\n", err)
			_ = b.showSecret(s)
			return exitLocal
		}
		if name := b.envToken(); name != "" {
			b.errorf("WARNING! %s is set in the environment: commands use that token instead of this one until you unset it.\n",
				name)
		}
	case !f.tokenOnly:
		b.errorf("The token is not stored: set SEALGATE_TOKEN to it for later commands.\n")
	}
	if f.noPrint {
		return exitOK
	}
	if b.conn.field == "" && b.format() == "table" {
		b.printf("Success! You are now authenticated.")
		if !f.noStore {
			b.printf(" The token is stored in %s; later commands use it.", b.tokenFile())
		}
		b.printf("\n\n")
	}
	return b.showSecret(s)
}

// unwrapped asks for a response without wrapping.
func unwrapped(string, string) string { return "" }

// storeToken replaces the token file in one step, readable by its owner alone.
func storeToken(b *base, token string) error {
	file := b.tokenFile()
	if file == "" {
		return errors.New("no home folder: set SEALGATE_TOKEN_PATH or use -no-store")
	}
	out, err := b.createFile(file)
	if err != nil {
		return err
	}
	if out.path != "" {
		if err := out.file.Chmod(0o600); err != nil {
			return out.abort(err)
		}
	}
	if _, err := io.WriteString(out, token); err != nil {
		return out.abort(err)
	}
	return out.commit()
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
			exact(b, "%s\n", token)
			return exitOK
		}}
}
