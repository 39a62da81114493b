package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/openbao/openbao/api/v2"
)

func listCommand(b *base) *command {
	b.formatted()
	var after string
	var limit int
	var detailed bool
	b.flags.StringVar(&after, "after", "", "list what comes after this `name`")
	b.flags.IntVar(&limit, "limit", -1, "list at most this `number` of names")
	b.flags.BoolVar(&detailed, "detailed", false, "show what the server tells about each name [DETAILED]")
	b.own("after", "limit", "detailed")
	return &command{base: b, name: "list", args: "PATH", least: 1, most: 1, synopsis: "List names",
		about: "Lists the names under a path; a name that ends in / is a folder.",
		run: func(args []string) int {
			path := sanitize(args[0])
			var err error
			if detailed, err = b.envFlag(detailed, "DETAILED"); err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				s, err := listPage(client, path, after, limit)
				if err != nil {
					return b.fail("listing "+path, err)
				}
				keys, ok := keysOf(s)
				if !ok {
					b.errorf("No value found at %s", path)
					return exitServer
				}
				return b.showList(s, keys, detailed)
			})
		}}
}

func listPage(client *api.Client, path, after string, limit int) (*api.Secret, error) {
	if after == "" && limit < 0 {
		return client.Logical().List(path)
	}
	return client.Logical().ListPage(path, after, limit)
}

func keysOf(s *api.Secret) ([]any, bool) {
	if s == nil || s.Data == nil {
		return nil, false
	}
	keys, ok := s.Data["keys"].([]any)
	return keys, ok && len(keys) > 0
}

func (b *base) showList(s *api.Secret, keys []any, detailed bool) int {
	info, _ := s.Data["key_info"].(map[string]any)
	switch {
	case b.format() != "table" && detailed && info != nil:
		return b.encode(s.Data)
	case b.format() != "table":
		return b.encode(keys)
	}
	b.warnings(s.Warnings)
	header := []string{"Keys"}
	if detailed {
		names := map[string]bool{}
		for _, one := range info {
			about, _ := one.(map[string]any)
			for name := range about {
				names[name] = true
			}
		}
		header = append(header, slices.Sorted(maps.Keys(names))...)
	}
	var rows [][]string
	for _, k := range keys {
		row := []string{fmt.Sprint(k)}
		about, _ := info[fmt.Sprint(k)].(map[string]any)
		for _, name := range header[1:] {
			value := ""
			if v, ok := about[name]; ok {
				value = cell(name, v)
			}
			row = append(row, value)
		}
		rows = append(rows, row)
	}
	b.printf("%s", table(header, rows))
	return exitOK
}
