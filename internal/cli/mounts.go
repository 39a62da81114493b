package cli

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// mountKind is secrets engines or auth methods: each has the commands list, enable, disable, tune
// and move, which differ in API paths and in texts that scripts know from Vault.
type mountKind struct {
	command string // "secrets"
	noun    string // "secrets engine"
	api     string // of list, enable and disable: "sys/mounts"
	tune    string // "sys/mounts/"
	about   string // of enable
	auth    bool

	list           func(*api.Sys) (map[string]*api.MountOutput, error)
	listing        string // what list does, for errors
	enabling       func(kind string) string
	enabled        func(kind, path string) string
	disableWarning string // of disable
	moveWarning    string // of move
	remount        func(path string) string
}

var secretsEngines = &mountKind{
	command: "secrets", noun: "secrets engine", api: "sys/mounts", tune: "sys/mounts/",
	about:    "Mounts a secrets engine, such as kv.",
	list:     (*api.Sys).ListMounts,
	listing:  "listing secrets engines",
	enabling: func(string) string { return "enabling" },
	enabled: func(kind, path string) string {
		return fmt.Sprintf("Success! Enabled the %s secrets engine at: %s", kind, path)
	},
	disableWarning: "All its data is destroyed.",
	moveWarning:    "Moves a secrets engine and its data to another path. Policies and clients must use the new path.",
	remount:        func(path string) string { return folder(sanitize(path)) },
}

var authMethods = &mountKind{
	command: "auth", noun: "auth method", api: "sys/auth", tune: "sys/mounts/auth/", auth: true,
	about:    "Enables an auth method: userpass, approle, cert, jwt, kubernetes or oidc.",
	list:     (*api.Sys).ListAuth,
	listing:  "listing enabled authentications",
	enabling: func(kind string) string { return "enabling " + kind + " auth" },
	enabled: func(kind, path string) string {
		return fmt.Sprintf("Success! Enabled %s auth method at: %s", kind, path)
	},
	disableWarning: "Its configuration is deleted, and the tokens that it issued are revoked.",
	moveWarning:    "Moves an auth method and its configuration to another path. Tokens that it issued are revoked.",
	remount:        underAuth,
}

// mountCommands are the commands of both kinds.
var mountCommands = slices.Concat(secretsEngines.commands(), authMethods.commands())

func (k *mountKind) commands() []func(*base) *command {
	return []func(*base) *command{k.listCommand, k.enableCommand, k.disableCommand, k.tuneCommand, k.moveCommand}
}

// path is the argument of a command as a mount's path.
func (k *mountKind) path(b *base, arg string) (string, bool) {
	path := sanitize(arg)
	if path == "" {
		b.errorf("Error: the path of the %s is missing", k.noun)
		return "", false
	}
	return path, true
}

func (k *mountKind) listCommand(b *base) *command {
	b.formatted()
	var detailed bool
	b.flags.BoolVar(&detailed, "detailed", false, "show all columns [DETAILED]")
	b.own("detailed")
	return &command{base: b, name: k.command + " list", synopsis: "List the " + k.noun + "s",
		about: "Lists the " + k.noun + "s and their paths.",
		run: func([]string) int {
			var err error
			if detailed, err = b.envFlag(detailed, "DETAILED"); err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				mounts, err := k.list(client.Sys())
				if err != nil {
					return b.fail(k.listing, err)
				}
				if b.format() != "table" {
					return b.encode(mounts)
				}
				b.printf("%s", k.table(mounts, detailed))
				return exitOK
			})
		}}
}

// table shows mounts as Vault's commands do: the columns of secrets engines and auth methods
// differ.
func (k *mountKind) table(mounts map[string]*api.MountOutput, detailed bool) string {
	header := []string{"Path", "Type", "Accessor", "Description"}
	switch {
	case detailed:
		special := "Force No Cache"
		if k.auth {
			special = "Token Type"
		}
		header = slices.Concat([]string{"Path", "Plugin", "Accessor", "Default TTL", "Max TTL", special},
			[]string{"Replication",
				"Seal Wrap", "External Entropy Access", "Options", "Description", "UUID", "Version", "Running Version",
				"Running SHA256", "Deprecation Status"})
	case k.auth:
		header = append(header, "Version")
	}
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[path]
		switch {
		case detailed:
			rows = append(rows, k.detailedRow(path, m))
		case k.auth:
			rows = append(rows, []string{path, m.Type, m.Accessor, m.Description, m.PluginVersion})
		default:
			rows = append(rows, []string{path, m.Type, m.Accessor, m.Description})
		}
	}
	return table(header, rows)
}

func (k *mountKind) detailedRow(path string, m *api.MountOutput) []string {
	special, replication := text(m.Config.ForceNoCache), "replicated"
	if k.auth {
		special = m.Config.TokenType
	}
	if m.Local {
		replication = "local"
	}
	return []string{path, m.Type, m.Accessor, ttlText(m.Config.DefaultLeaseTTL), ttlText(m.Config.MaxLeaseTTL), special,
		replication, text(m.SealWrap), text(m.ExternalEntropyAccess), text(m.Options), m.Description, m.UUID,
		m.PluginVersion, m.RunningVersion, m.RunningSha256, m.DeprecationStatus}
}

func ttlText(seconds int) string {
	if seconds == 0 {
		return "system"
	}
	return text(seconds)
}

func (k *mountKind) enableCommand(b *base) *command {
	m := &mountFlags{}
	m.define(b)
	if k.auth {
		m.forAuth(b)
	}
	in := &api.MountInput{}
	var path, plugin string
	var forceNoCache bool
	b.flags.StringVar(&path, "path", "", "`path` to enable it at; the type by default")
	b.flags.StringVar(&plugin, "plugin-name", "", "`type`, where TYPE is the word plugin")
	b.flags.BoolVar(&in.Local, "local", false, "do not replicate it")
	b.flags.BoolVar(&in.SealWrap, "seal-wrap", false, "also wrap critical values with the seal")
	b.flags.BoolVar(&in.ExternalEntropyAccess, "external-entropy-access", false,
		"accepted for scripts; servers here ignore it")
	b.own("path", "plugin-name", "local", "seal-wrap", "external-entropy-access")
	if !k.auth {
		b.flags.BoolVar(&forceNoCache, "force-no-cache", false, "do not cache")
		b.own("force-no-cache")
	}
	return &command{base: b, name: k.command + " enable", args: "TYPE", least: 1, most: 1, synopsis: "Enable " +
		article(k.noun),
		about: k.about,
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
				b.errorf("Error: the type of the %s is missing", k.noun)
				return exitLocal
			}
			in.Config = m.input()
			in.Config.ForceNoCache = forceNoCache
			in.Description, in.Options = m.description, m.options
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodPost, k.api+"/"+where, in, k.enabling(in.Type), k.enabled(in.Type, folder(where)))
			})
		}}
}

func (k *mountKind) disableCommand(b *base) *command {
	return &command{base: b, name: k.command + " disable", args: "PATH", least: 1, most: 1,
		synopsis: "Disable " + article(k.noun), about: "Disables " + article(k.noun) + ". " + k.disableWarning,
		run: func(args []string) int {
			where, ok := k.path(b, args[0])
			if !ok {
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodDelete, k.api+"/"+where, nil, "disabling "+k.noun+" at "+folder(where),
					"Success! Disabled the "+k.noun+" (if it existed) at: "+folder(where))
			})
		}}
}

// article puts "a" or "an" before a noun.
func article(noun string) string {
	if strings.ContainsAny(noun[:1], "aeiou") {
		return "an " + noun
	}
	return "a " + noun
}
