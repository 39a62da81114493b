package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/openbao/openbao/api/v2"
)

// listing is `list` or `scan`, which differ only in the request.
type listing struct {
	*base
	doing    string // "listing"
	all      func(l *api.Logical, path string) (*api.Secret, error)
	page     func(l *api.Logical, path, after string, limit int) (*api.Secret, error)
	after    string
	limit    int
	detailed bool
}

func listCommand(b *base) *command {
	l := &listing{base: b, doing: "listing", all: (*api.Logical).List, page: (*api.Logical).ListPage}
	return l.command("list", "List keys", "Lists the keys under a path; a key that ends in / is a folder.")
}

func scanCommand(b *base) *command {
	l := &listing{base: b, doing: "scanning", all: (*api.Logical).Scan, page: (*api.Logical).ScanPage}
	return l.command("scan", "List keys recursively", "Lists the keys under a path and in all folders below it.")
}

func (l *listing) command(name, synopsis, about string) *command {
	l.formatted()
	l.flags.StringVar(&l.after, "after", "", "list the keys after this `key`")
	l.flags.IntVar(&l.limit, "limit", -1, "list at most this `number` of keys")
	l.flags.BoolVar(&l.detailed, "detailed", false, "show the details of each key [DETAILED]")
	l.own("after", "limit", "detailed")
	return &command{base: l.base, name: name, args: "PATH", least: 1, most: 1, synopsis: synopsis, about: about,
		run: func(args []string) int {
			var err error
			if l.detailed, err = l.envFlag(l.detailed, "DETAILED"); err != nil {
				l.errorf("Error: %v", err)
				return exitLocal
			}
			return l.withClient(func(client *api.Client) int { return l.show(client, sanitize(args[0])) })
		}}
}

// show requests a page only if a flag asks for one: an endpoint without pages would warn.
func (l *listing) show(client *api.Client, path string) int {
	var s *api.Secret
	var err error
	if l.after == "" && l.limit <= 0 {
		s, err = l.all(client.Logical(), path)
	} else {
		s, err = l.page(client.Logical(), path, l.after, l.limit)
	}
	if err != nil {
		return l.fail(l.doing+" "+path, err)
	}
	if s != nil && s.WrapInfo != nil {
		return l.showSecret(s)
	}
	keys, ok := keysOf(s)
	switch {
	case ok:
		return showList(l.base, s, keys, l.detailed)
	case l.format() != "table":
		if code := l.encode(map[string]any{}); code != exitOK {
			return code
		}
	case s != nil:
		l.warnings(s.Warnings)
	}
	l.errorf("No value found at %s", path)
	return exitServer
}

func keysOf(s *api.Secret) ([]any, bool) {
	if s == nil || s.Data == nil {
		return nil, false
	}
	keys, ok := s.Data["keys"].([]any)
	return keys, ok && len(keys) > 0
}

func showList(b *base, s *api.Secret, keys []any, detailed bool) int {
	info, _ := s.Data["key_info"].(map[string]any)
	switch {
	case b.format() != "table" && detailed:
		return b.encode(s)
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
