package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	in := &api.MountInput{Options: map[string]string{}}
	var path, version string
	var lease, most time.Duration
	options := pairsFlag{}
	b.flags.StringVar(&path, "path", "", "`where` to mount it; the type by default")
	b.flags.StringVar(&in.Description, "description", "", "`text` for people")
	b.flags.StringVar(&version, "version", "", "`version` of the engine: 1 or 2 for kv")
	b.flags.Var(options, "options", "`k=v` for the engine; may be repeated")
	b.flags.Var((*seconds)(&lease), "default-lease-ttl", "`time` that leases last")
	b.flags.Var((*seconds)(&most), "max-lease-ttl", "`time` that leases last at most")
	b.flags.BoolVar(&in.Config.ForceNoCache, "force-no-cache", false, "do not cache")
	b.flags.BoolVar(&in.Local, "local", false, "not replicated")
	b.flags.BoolVar(&in.SealWrap, "seal-wrap", false, "wrap what is critical by the seal as well")
	b.own("path", "description", "version", "options", "default-lease-ttl", "max-lease-ttl", "force-no-cache", "local", "seal-wrap")
	return &command{base: b, name: "secrets enable", args: "TYPE", least: 1, most: 1, synopsis: "Enable a secrets engine",
		about: "Mounts a secrets engine, such as kv.",
		run: func(args []string) int {
			in.Type = args[0]
			maps.Copy(in.Options, options)
			if version != "" {
				in.Options["version"] = version
			}
			if lease > 0 {
				in.Config.DefaultLeaseTTL = lease.String()
			}
			if most > 0 {
				in.Config.MaxLeaseTTL = most.String()
			}
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
