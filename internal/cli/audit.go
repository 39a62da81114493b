package cli

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

func auditListCommand(b *base) *command {
	b.formatted()
	var detailed bool
	b.flags.BoolVar(&detailed, "detailed", false, "show all columns [DETAILED]")
	b.own("detailed")
	return &command{base: b, name: "audit list", synopsis: "List the audit devices", about: "Lists the audit devices.",
		run: func([]string) int {
			var err error
			if detailed, err = b.envFlag(detailed, "DETAILED"); err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				devices, err := client.Sys().ListAudit()
				if err != nil {
					return b.fail("listing audits", err)
				}
				if b.format() != "table" {
					return b.encode(devices)
				}
				if len(devices) == 0 {
					b.errorf("No audit devices are enabled.")
					return exitServer
				}
				b.printf("%s", auditTable(devices, detailed))
				return exitOK
			})
		}}
}

func auditTable(devices map[string]*api.Audit, detailed bool) string {
	header := []string{"Path", "Type", "Description"}
	if detailed {
		header = append(header, "Replication", "Options")
	}
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(devices)) {
		d := devices[path]
		row := []string{path, d.Type, d.Description}
		if detailed {
			replication := "replicated"
			if d.Local {
				replication = "local"
			}
			var options []string
			for _, k := range slices.Sorted(maps.Keys(d.Options)) {
				options = append(options, k+"="+d.Options[k])
			}
			row = append(row, replication, strings.Join(options, " "))
		}
		rows = append(rows, row)
	}
	return table(header, rows)
}

func auditEnableCommand(b *base) *command {
	in := &api.EnableAuditOptions{Options: map[string]string{}}
	var path string
	b.flags.StringVar(&in.Description, "description", "", "`text` that describes it")
	b.flags.StringVar(&path, "path", "", "`path` to enable it at; the type by default")
	b.flags.BoolVar(&in.Local, "local", false, "do not replicate it")
	b.own("description", "path", "local")
	return &command{base: b, name: "audit enable", args: "TYPE [k=v...]", least: 1, most: -1,
		synopsis: "Enable an audit device",
		about: `Enables an audit device: file, socket or syslog. Arguments k=v are its options, such as
file_path=/var/log/audit.log.`,
		run: func(args []string) int {
			in.Type = strings.TrimSpace(args[0])
			data, err := b.data(args[1:])
			if err != nil {
				b.errorf("Failed to parse K=V data: %v", err)
				return exitLocal
			}
			for k, v := range data {
				if _, many := v.([]any); many {
					b.errorf("Failed to parse K=V data: %s is given more than once", k)
					return exitLocal
				}
				in.Options[k] = fmt.Sprint(v)
			}
			where := in.Type
			if path != "" {
				where = sanitize(path)
			}
			return b.withClient(func(client *api.Client) int {
				return b.done(client, put, "sys/audit/"+where, in, "enabling audit device",
					fmt.Sprintf("Success! Enabled the %s audit device at: %s", in.Type, folder(where)))
			})
		}}
}

func auditDisableCommand(b *base) *command {
	return &command{base: b, name: "audit disable", args: "PATH", least: 1, most: 1, synopsis: "Disable an audit device",
		about: "Disables an audit device. Its log stays, but once the device is enabled again, hashes in the old log " +
			"cannot be compared any more.",
		run: func(args []string) int {
			where := sanitize(args[0])
			if where == "" {
				b.errorf("Error: the path of the audit device is missing")
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodDelete, "sys/audit/"+where, nil, "disabling audit device",
					"Success! Disabled audit device (if it was enabled) at: "+folder(where))
			})
		}}
}
