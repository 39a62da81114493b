package cli

import (
	"net/url"
	"strconv"

	"github.com/openbao/openbao/api/v2"
)

func kvGetCommand(b *base) *command {
	b.formatted().fielded()
	k := newKV(b)
	var version int
	b.flags.IntVar(&version, "version", 0, "`number` of the version; the current one by default")
	b.own("version")
	return &command{base: b, name: "kv get", args: "PATH", least: 1, most: 1, synopsis: "Show a secret",
		about: "Shows a secret and the metadata of its version. A deleted version has only metadata.",
		run: func(args []string) int {
			return k.run(args[0], func(client *api.Client, p kvPath) int {
				var q url.Values
				if p.versioned && version > 0 {
					q = url.Values{"version": {strconv.Itoa(version)}}
				}
				s, err := client.Logical().ReadWithData(p.at("data"), q)
				if err != nil {
					return b.fail("reading "+p.at("data"), err)
				}
				return k.showGot(s, p)
			})
		}}
}

func (k *kv) showGot(s *api.Secret, p kvPath) int {
	at := p.at("data")
	switch {
	case s == nil || s.Data == nil && s.WrapInfo == nil:
		if s != nil {
			k.warnings(s.Warnings)
		}
		return k.nothingAt(at)
	case s.WrapInfo != nil:
		return k.showSecret(s)
	}
	data := s.Data
	if p.versioned {
		data, _ = s.Data["data"].(map[string]any)
	}
	switch {
	case k.conn.field != "" && data == nil:
		k.errorf("No data found at %s", at)
		return exitServer
	case k.conn.field != "":
		return k.showField(&api.Secret{Data: data}, k.conn.field)
	case k.format() != "table":
		return k.encode(s)
	}
	k.warnings(s.Warnings)
	if p.versioned {
		k.showPath("Secret Path", at)
		metadata, _ := s.Data["metadata"].(map[string]any)
		k.printf("%s", headed("Metadata", metadata))
	}
	if data == nil {
		return exitOK
	}
	if p.versioned {
		k.printf("\n")
	}
	k.printf("%s", headed("Data", data))
	return exitOK
}

func kvPutCommand(b *base) *command {
	b.formatted().fielded()
	k := newKV(b)
	k.casFlag()
	return &command{base: b, name: "kv put", args: "PATH [k=v | k=@file | k=- | - | @file ...]", least: 1, most: -1,
		synopsis: "Write a secret",
		about: `Writes a secret; on a mount of version 2, as a new version. It replaces all data of the secret. A value is
given as k=v, read from a file (k=@file) or from standard input (k=-). "-" and "@file" alone read all the data as a
JSON object.`,
		run: func(args []string) int {
			data, code := k.needData(args)
			if code != exitOK {
				return code
			}
			return k.run(args[0], func(client *api.Client, p kvPath) int {
				if p.versioned {
					data = map[string]any{"data": data, "options": k.options()}
				}
				s, err := client.Logical().Write(p.at("data"), data)
				if err != nil {
					return b.fail("writing data to "+p.at("data"), err)
				}
				return k.showNewVersion(s, p.at("data"))
			})
		}}
}

// needData reads the data arguments; on an error it returns the exit code.
func (k *kv) needData(args []string) (map[string]any, int) {
	if len(args) == 1 {
		k.errorf("Must supply data")
		return nil, exitLocal
	}
	data, err := k.data(args[1:])
	if err != nil {
		k.errorf("Failed to parse K=V data: %v", err)
		return nil, exitLocal
	}
	return data, exitOK
}

func kvDeleteCommand(b *base) *command {
	b.formatted().fielded()
	k := newKV(b)
	var versions list
	b.flags.Var(&versions, "versions", "comma-separated `numbers` of the versions; by default the current one")
	b.own("versions")
	b.nonEmpty("versions")
	return &command{base: b, name: "kv delete", args: "PATH", least: 1, most: 1,
		synopsis: "Delete a secret, or versions of it",
		about: `Deletes a secret; on a mount of version 2, versions of it, which "kv undelete" restores. "kv destroy" and
"kv metadata delete" are permanent.`,
		run: func(args []string) int {
			return k.run(args[0], func(client *api.Client, p kvPath) int {
				var s *api.Secret
				var err error
				if p.versioned && len(versions) > 0 {
					s, err = client.Logical().Write(p.at("delete"), map[string]any{"versions": versions})
				} else {
					s, err = client.Logical().Delete(p.at("data"))
				}
				return showWritten(b, s, err, "deleting "+p.at("data"), "Success! Data deleted (if it existed) at: "+p.at("data"))
			})
		}}
}

func kvListCommand(b *base) *command {
	k := newKV(b)
	l := &listing{base: b, doing: "listing", all: (*api.Logical).List, page: (*api.Logical).ListPage}
	c := l.command("kv list", "List secrets", `Lists the secrets under a path; a name that ends in / is a folder. With
-detailed it shows the metadata of each (version 2 only).`)
	c.least = 0
	c.run = func(args []string) int {
		var err error
		if l.detailed, err = b.envFlag(l.detailed, "DETAILED"); err != nil {
			b.errorf("Error: %v", err)
			return exitLocal
		}
		path := ""
		switch {
		case len(args) == 1:
			path = args[0]
		case k.mount == "":
			b.errorf("Not enough arguments (expected 1, got 0)\nUsage: sealgate kv list [flags] PATH")
			return exitLocal
		}
		return k.run(path, func(client *api.Client, p kvPath) int {
			kind := "metadata"
			if l.detailed {
				kind = "detailed-metadata"
			}
			return l.show(client, sanitize(p.at(kind)))
		})
	}
	return c
}
