package cli

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

func authListCommand(b *base) *command {
	b.formatted()
	var detailed bool
	b.flags.BoolVar(&detailed, "detailed", false, "show all there is to a method [DETAILED]")
	b.own("detailed")
	return &command{base: b, name: "auth list", synopsis: "List the auth methods",
		about: "Lists the auth methods and where they are enabled.",
		run: func([]string) int {
			var err error
			if detailed, err = b.envFlag(detailed, "DETAILED"); err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				methods, err := client.Sys().ListAuth()
				if err != nil {
					return b.fail("listing enabled authentications", err)
				}
				switch {
				case b.format() != "table":
					return b.encode(methods)
				case detailed:
					b.printf("%s", detailedAuth(methods))
				default:
					var rows [][]string
					for _, path := range slices.Sorted(maps.Keys(methods)) {
						m := methods[path]
						rows = append(rows, []string{path, m.Type, m.Accessor, m.Description, m.PluginVersion})
					}
					b.printf("%s", table([]string{"Path", "Type", "Accessor", "Description", "Version"}, rows))
				}
				return exitOK
			})
		}}
}

func detailedAuth(methods map[string]*api.AuthMount) string {
	header := []string{"Path", "Plugin", "Accessor", "Default TTL", "Max TTL", "Token Type", "Replication", "Seal Wrap",
		"External Entropy Access", "Options", "Description", "UUID", "Version", "Running Version", "Running SHA256", "Deprecation Status"}
	ttl := func(seconds int) string {
		if seconds == 0 {
			return "system"
		}
		return strconv.Itoa(seconds)
	}
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(methods)) {
		m := methods[path]
		replication := "replicated"
		if m.Local {
			replication = "local"
		}
		rows = append(rows, []string{path, m.Type, m.Accessor, ttl(m.Config.DefaultLeaseTTL), ttl(m.Config.MaxLeaseTTL), m.Config.TokenType,
			replication, text(m.SealWrap), text(m.ExternalEntropyAccess), text(m.Options), m.Description, m.UUID, m.PluginVersion,
			m.RunningVersion, m.RunningSha256, m.DeprecationStatus})
	}
	return table(header, rows)
}

func authEnableCommand(b *base) *command {
	m := &mountFlags{}
	m.define(b)
	m.forAuth(b)
	in := &api.EnableAuthOptions{}
	var path, plugin string
	b.flags.StringVar(&path, "path", "", "`where` to enable it; its type by default")
	b.flags.StringVar(&plugin, "plugin-name", "", "`type`, where TYPE is the word plugin")
	b.flags.BoolVar(&in.Local, "local", false, "not replicated")
	b.flags.BoolVar(&in.SealWrap, "seal-wrap", false, "wrap what is critical by the seal as well")
	b.flags.BoolVar(&in.ExternalEntropyAccess, "external-entropy-access", false, "accepted for scripts; servers here ignore it")
	b.own("path", "plugin-name", "local", "seal-wrap", "external-entropy-access")
	return &command{base: b, name: "auth enable", args: "TYPE", least: 1, most: 1, synopsis: "Enable an auth method",
		about: "Enables an auth method: userpass, approle, cert or jwt.",
		run: func(args []string) int {
			in.Type = strings.TrimSpace(args[0])
			if in.Type == "plugin" {
				in.Type = plugin
			}
			where := sanitize(path)
			if where == "" {
				where = in.Type
			}
			if where == "" {
				b.errorf("Error: the type of an auth method is needed")
				return exitLocal
			}
			in.Config = m.input()
			in.Description, in.Options = m.description, m.options
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodPost, "sys/auth/"+where, in, "enabling "+in.Type+" auth",
					fmt.Sprintf("Success! Enabled %s auth method at: %s", in.Type, folder(where)))
			})
		}}
}

func authDisableCommand(b *base) *command {
	return &command{base: b, name: "auth disable", args: "PATH", least: 1, most: 1, synopsis: "Disable an auth method",
		about: "Disables an auth method. Its configuration goes, and the tokens that it handed out are revoked.",
		run: func(args []string) int {
			where := sanitize(args[0])
			if where == "" {
				b.errorf("Error: the path of an auth method is needed")
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodDelete, "sys/auth/"+where, nil, "disabling auth method at "+folder(where),
					"Success! Disabled the auth method (if it existed) at: "+folder(where))
			})
		}}
}

// lockoutFlags are how a method treats users who guess.
type lockoutFlags struct {
	threshold       uint
	duration, reset mountTTL
	disable         bool
}

func (l *lockoutFlags) define(b *base) {
	b.flags.UintVar(&l.threshold, "user-lockout-threshold", 0, "`number` of wrong logins after which a user is locked out")
	b.flags.Var(&l.duration, "user-lockout-duration", "`time` for which a user is locked out")
	b.flags.Var(&l.reset, "user-lockout-counter-reset-duration", "`time` without a wrong login after which counting starts anew")
	b.flags.BoolVar(&l.disable, "user-lockout-disable", false, "lock nobody out")
	b.own("user-lockout-threshold", "user-lockout-duration", "user-lockout-counter-reset-duration", "user-lockout-disable")
}

// input is nil where no flag was given.
func (l *lockoutFlags) input(b *base) *api.UserLockoutConfigInput {
	if !b.given("user-lockout-threshold", "user-lockout-duration", "user-lockout-counter-reset-duration", "user-lockout-disable") {
		return nil
	}
	in := &api.UserLockoutConfigInput{LockoutDuration: string(l.duration), LockoutCounterResetDuration: string(l.reset)}
	if b.given("user-lockout-threshold") {
		in.LockoutThreshold = strconv.FormatUint(uint64(l.threshold), 10)
	}
	if b.given("user-lockout-disable") {
		in.DisableLockout = &l.disable
	}
	return in
}

func authTuneCommand(b *base) *command {
	m := &mountFlags{}
	m.define(b)
	m.forAuth(b)
	lockout := &lockoutFlags{}
	lockout.define(b)
	return &command{base: b, name: "auth tune", args: "PATH", least: 1, most: 1, synopsis: "Change the settings of an auth method",
		about: "Changes the settings of the auth method at a path. What no flag names stays.",
		run: func(args []string) int {
			where := sanitize(args[0])
			if where == "" {
				b.errorf("Error: the path of an auth method is needed")
				return exitLocal
			}
			in := m.tuning(b)
			in.UserLockoutConfig = lockout.input(b)
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodPost, "sys/mounts/auth/"+where+"/tune", in, "tuning auth method "+folder(where),
					"Success! Tuned the auth method at: "+folder(where))
			})
		}}
}

func authMoveCommand(b *base) *command {
	return &command{base: b, name: "auth move", args: "SOURCE DESTINATION", least: 2, most: 2, synopsis: "Move an auth method to another path",
		about: `Moves an auth method, with its configuration, to another path. Tokens that it handed out are revoked.`,
		run: func(args []string) int {
			return b.move("auth method", underAuth(args[0]), underAuth(args[1]))
		}}
}

// underAuth names a method's mount as sys/remount wants it.
func underAuth(path string) string {
	path = sanitize(path)
	if path != "auth" && !strings.HasPrefix(path, "auth/") {
		path = "auth/" + path
	}
	return folder(path)
}
