package cli

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func tokenCreateCommand(b *base) *command {
	b.formatted().fielded()
	req := &api.TokenCreateRequest{Renewable: new(bool)}
	var ttl, most, period time.Duration
	var role string
	metadata := pairsFlag{}
	f := b.flags
	f.StringVar(&req.ID, "id", "", "the `token` to create, random by default; needs sudo")
	f.StringVar(&req.DisplayName, "display-name", "", "`name` to show in the audit log")
	f.Var((*seconds)(&ttl), "ttl", "initial `TTL`, which a renewal extends")
	f.Var((*seconds)(&most), "explicit-max-ttl", "longest lifetime (`TTL`), which no renewal extends")
	f.Var((*seconds)(&period), "period", "`TTL` that each renewal sets again, without an end; needs sudo")
	f.BoolVar(req.Renewable, "renewable", true, "whether it can be renewed")
	f.BoolVar(&req.NoParent, "orphan", false, "without a parent: it outlives the token that created it")
	f.BoolVar(&req.NoDefaultPolicy, "no-default-policy", false, "without the policy named default")
	f.IntVar(&req.NumUses, "use-limit", 0, "`number` of requests that it allows; 0: no limit")
	f.StringVar(&role, "role", "", "`name` of the token role, whose settings may override other flags")
	f.StringVar(&req.Type, "type", "service", "`kind` of token: service or batch")
	f.Var(metadata, "metadata", "metadata `k=v`; may be repeated")
	f.Var((*list)(&req.Policies), "policy", "`name` of a policy; may be repeated")
	f.StringVar(&req.EntityAlias, "entity-alias", "", "`name` of the entity alias; only with -role")
	b.own("id", "display-name", "ttl", "explicit-max-ttl", "period", "renewable", "orphan", "no-default-policy",
		"use-limit", "role",
		"type", "metadata", "policy", "entity-alias")
	b.nonEmpty("policy", "role", "id", "type")
	return &command{base: b, name: "token create", synopsis: "Create a token",
		about: `Creates a token. It is a child of the token that creates it: it inherits its policies unless -policy names
some of them, and is revoked together with it.`,
		run: func([]string) int {
			req.TTL, req.ExplicitMaxTTL, req.Period, req.Metadata = ttl.String(), most.String(), period.String(), metadata
			if req.Type == "batch" {
				*req.Renewable = false
			}
			path := "auth/token/create"
			switch {
			case strings.ContainsAny(role, "/") || role == "..":
				b.errorf("Error: -role is not the name of a role")
				return exitLocal
			case role != "":
				path += "/" + role
			case req.NoParent:
				path += "-orphan"
			}
			return b.withClient(func(client *api.Client) int {
				s, err := send(client, http.MethodPost, path, req)
				return b.showAnswer(s, err, "creating token")
			})
		}}
}

func tokenLookupCommand(b *base) *command {
	b.formatted().fielded()
	var accessor bool
	b.flags.BoolVar(&accessor, "accessor", false, "the argument is an accessor")
	b.own("accessor")
	return &command{base: b, name: "token lookup", args: "[TOKEN | ACCESSOR | - | @file]", most: 1,
		synopsis: "Show the properties of a token",
		about:    "Shows the properties of a token; without an argument, of this client's own token.",
		run: func(args []string) int {
			token, code := tokenArgument(b, args, accessor)
			if code != exitOK {
				return code
			}
			return b.withClient(func(client *api.Client) int {
				var s *api.Secret
				var err error
				switch {
				case accessor:
					s, err = send(client, http.MethodPost, "auth/token/lookup-accessor", map[string]any{"accessor": token})
				case token == "":
					s, err = send(client, http.MethodGet, "auth/token/lookup-self", nil)
				default:
					s, err = send(client, http.MethodPost, "auth/token/lookup", map[string]any{"token": token})
				}
				return b.showAnswer(s, err, "looking up token")
			})
		}}
}

// tokenArgument reads the token or accessor of a command; "" means the client's own token.
func tokenArgument(b *base, args []string, accessor bool) (string, int) {
	if len(args) == 0 {
		if accessor {
			b.errorf("Not enough arguments with -accessor (expected 1, got 0)")
			return "", exitLocal
		}
		return "", exitOK
	}
	token, err := b.oneSecret(args[0])
	if err == nil && token == "" {
		b.errorf("Error: the token is empty")
		return "", exitLocal
	}
	if err != nil {
		b.errorf("Error reading the token: %v", err)
		return "", exitLocal
	}
	return token, exitOK
}

func tokenRenewCommand(b *base) *command {
	b.formatted().fielded()
	var accessor bool
	var increment time.Duration
	b.flags.BoolVar(&accessor, "accessor", false, "the argument is an accessor")
	b.flags.Var((*seconds)(&increment), "increment", "`TTL` to request; the server may grant another")
	b.flags.Var((*seconds)(&increment), "i", "the same as -increment")
	b.own("accessor", "increment", "i")
	return &command{base: b, name: "token renew", args: "[TOKEN | ACCESSOR | - | @file]", most: 1,
		synopsis: "Renew a token",
		about:    "Renews a token; without an argument, this client's own token.",
		run: func(args []string) int {
			token, code := tokenArgument(b, args, accessor)
			if code != exitOK {
				return code
			}
			body := map[string]any{"increment": int(increment.Seconds())}
			method, path := put, "auth/token/renew-self"
			switch {
			case accessor:
				method, path, body["accessor"] = http.MethodPost, "auth/token/renew-accessor", token
			case token != "":
				path, body["token"] = "auth/token/renew", token
			}
			return b.withClient(func(client *api.Client) int {
				s, err := send(client, method, path, body)
				return b.showAnswer(s, err, "renewing token")
			})
		}}
}

// revocation holds the flags of `token revoke`.
type revocation struct {
	accessor, self bool
	mode           string
}

// problem describes flags that exclude each other; "" if there are none.
func (r *revocation) problem(args int) string {
	switch {
	case r.mode != "" && r.mode != "orphan" && r.mode != "path":
		return "Invalid mode: " + r.mode
	case r.self && args > 0:
		return "Too many arguments with -self (expected 0, got 1)"
	case !r.self && args < 1:
		return "Not enough arguments (expected 1 or -self, got 0)"
	case r.self && r.accessor:
		return "Cannot use -self with -accessor!"
	case r.self && r.mode != "":
		return "Cannot use -self with -mode!"
	case r.accessor && r.mode != "":
		return "Cannot use -accessor with -mode=" + r.mode + "!"
	}
	return ""
}

func tokenRevokeCommand(b *base) *command {
	r := &revocation{}
	b.flags.BoolVar(&r.accessor, "accessor", false, "the argument is an accessor")
	b.flags.BoolVar(&r.self, "self", false, "revoke this client's own token")
	b.flags.StringVar(&r.mode, "mode", "", "`mode`: orphan keeps its children; path revokes all tokens of the auth "+
		"methods at the path")
	b.own("accessor", "self", "mode")
	b.nonEmpty("mode")
	return &command{base: b, name: "token revoke", args: "[TOKEN | ACCESSOR | PATH | - | @file]", most: 1,
		synopsis: "Revoke a token and its children",
		about:    "Revokes a token and all its children.",
		run: func(args []string) int {
			if problem := r.problem(len(args)); problem != "" {
				b.errorf("%s", problem)
				return exitLocal
			}
			token, code := tokenArgument(b, args, r.accessor)
			if code != exitOK {
				return code
			}
			return b.withClient(func(client *api.Client) int {
				method, path := put, "auth/token/revoke"
				var body any = map[string]any{"token": token}
				switch {
				case r.self:
					path, body = "auth/token/revoke-self", nil
				case r.accessor:
					method, path, body = http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": token}
				case r.mode == "orphan":
					path = "auth/token/revoke-orphan"
				case r.mode == "path":
					path, body = "sys/leases/revoke-prefix/"+token, nil
				}
				return b.done(client, method, path, body, "revoking token", "Success! Revoked token (if it existed)")
			})
		}}
}

func tokenCapabilitiesCommand(b *base) *command {
	b.formatted()
	var accessor bool
	b.flags.BoolVar(&accessor, "accessor", false, "the first argument is an accessor")
	b.own("accessor")
	return &command{base: b, name: "token capabilities", args: "[TOKEN | ACCESSOR | - | @file] PATH", least: 1, most: 2,
		synopsis: "Show the capabilities of a token on a path",
		about:    "Shows the capabilities of a token on a path; without TOKEN, of this client's own token.",
		run: func(args []string) int {
			path := args[len(args)-1]
			token, code := tokenArgument(b, args[:len(args)-1], accessor)
			if code != exitOK {
				return code
			}
			return b.withClient(func(client *api.Client) int {
				where, body := "sys/capabilities-self", map[string]any{"path": path, "token": cmp.Or(token, client.Token())}
				switch {
				case accessor:
					where, body = "sys/capabilities-accessor", map[string]any{"path": path, "accessor": token}
				case token != "" && token != client.Token():
					where = "sys/capabilities"
				}
				return showCapabilities(b, client, where, path, body)
			})
		}}
}
