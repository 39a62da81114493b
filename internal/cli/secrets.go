package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

func secretsListCommand(b *base) *command {
	b.formatted()
	var detailed bool
	b.flags.BoolVar(&detailed, "detailed", false, "show all there is to a mount [DETAILED]")
	b.own("detailed")
	return &command{base: b, name: "secrets list", synopsis: "List the secrets engines",
		about: "Lists the secrets engines and where they are mounted.",
		run: func([]string) int {
			var err error
			if detailed, err = b.envFlag(detailed, "DETAILED"); err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				mounts, err := client.Sys().ListMounts()
				if err != nil {
					return b.fail("listing secrets engines", err)
				}
				if b.format() != "table" {
					return b.encode(mounts)
				}
				if detailed {
					b.printf("%s", detailedMounts(mounts))
				} else {
					b.printf("%s", simpleMounts(mounts))
				}
				return exitOK
			})
		}}
}

func simpleMounts(mounts map[string]*api.MountOutput) string {
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[path]
		rows = append(rows, []string{path, m.Type, m.Accessor, m.Description})
	}
	return table([]string{"Path", "Type", "Accessor", "Description"}, rows)
}

func detailedMounts(mounts map[string]*api.MountOutput) string {
	header := []string{"Path", "Plugin", "Accessor", "Default TTL", "Max TTL", "Force No Cache", "Replication", "Seal Wrap",
		"External Entropy Access", "Options", "Description", "UUID", "Version", "Running Version", "Running SHA256", "Deprecation Status"}
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[path]
		replication := "replicated"
		if m.Local {
			replication = "local"
		}
		rows = append(rows, []string{path, m.Type, m.Accessor, ttlText(m.Config.DefaultLeaseTTL), ttlText(m.Config.MaxLeaseTTL),
			text(m.Config.ForceNoCache), replication, text(m.SealWrap), text(m.ExternalEntropyAccess), text(m.Options),
			m.Description, m.UUID, m.PluginVersion, m.RunningVersion, m.RunningSha256, m.DeprecationStatus})
	}
	return table(header, rows)
}

func ttlText(seconds int) string {
	if seconds == 0 {
		return "system"
	}
	return text(seconds)
}

// pairsFlag is k=v, repeated.
type pairsFlag map[string]string

func (p pairsFlag) String() string { return "" }

func (p pairsFlag) Set(v string) error {
	key, value, ok := strings.Cut(v, "=")
	if !ok || key == "" {
		return errors.New("k=v is needed")
	}
	p[key] = value
	return nil
}

func secretsEnableCommand(b *base) *command {
	m := &mountFlags{}
	m.define(b)
	in := &api.MountInput{}
	var path, plugin string
	var forceNoCache bool
	b.flags.StringVar(&path, "path", "", "`where` to mount it; the type by default")
	b.flags.StringVar(&plugin, "plugin-name", "", "`type`, where TYPE is the word plugin")
	b.flags.BoolVar(&forceNoCache, "force-no-cache", false, "do not cache")
	b.flags.BoolVar(&in.Local, "local", false, "not replicated")
	b.flags.BoolVar(&in.SealWrap, "seal-wrap", false, "wrap what is critical by the seal as well")
	b.flags.BoolVar(&in.ExternalEntropyAccess, "external-entropy-access", false, "accepted for scripts; servers here ignore it")
	b.own("path", "plugin-name", "force-no-cache", "local", "seal-wrap", "external-entropy-access")
	return &command{base: b, name: "secrets enable", args: "TYPE", least: 1, most: 1, synopsis: "Enable a secrets engine",
		about: "Mounts a secrets engine, such as kv.",
		run: func(args []string) int {
			in.Type = strings.TrimSpace(args[0])
			if in.Type == "plugin" {
				in.Type = plugin
			}
			in.Config = m.input()
			in.Config.ForceNoCache = forceNoCache
			in.Description, in.Options = m.description, m.options
			where := sanitize(path)
			if where == "" {
				where = in.Type
			}
			return b.withClient(func(client *api.Client) int {
				if err := client.Sys().Mount(where, in); err != nil {
					return b.fail("enabling", err)
				}
				b.printf("Success! Enabled the %s secrets engine at: %s/\n", in.Type, where)
				return exitOK
			})
		}}
}

func secretsDisableCommand(b *base) *command {
	return &command{base: b, name: "secrets disable", args: "PATH", least: 1, most: 1,
		synopsis: "Disable a secrets engine and destroy its data",
		about:    "Unmounts a secrets engine. All that it holds is destroyed.",
		run: func(args []string) int {
			where := sanitize(args[0]) + "/"
			return b.withClient(func(client *api.Client) int {
				if err := client.Sys().Unmount(where); err != nil {
					return b.fail(fmt.Sprintf("disabling secrets engine at %s", where), err)
				}
				b.printf("Success! Disabled the secrets engine (if it existed) at: %s\n", where)
				return exitOK
			})
		}}
}
