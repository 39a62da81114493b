package cli

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/openbao/openbao/api/v2"
)

func kvUndeleteCommand(b *base) *command {
	return kvVersionsCommand(b, "undelete", "Undelete", "Restore deleted versions",
		"Restores deleted versions of a secret. Destroyed versions cannot be restored.")
}

func kvDestroyCommand(b *base) *command {
	return kvVersionsCommand(b, "destroy", "Destroy", "Destroy versions permanently",
		"Destroys versions of a secret: their data is removed and cannot be restored.")
}

func kvVersionsCommand(b *base, verb, what, synopsis, about string) *command {
	b.formatted()
	k := newKV(b)
	var versions list
	b.flags.Var(&versions, "versions", "comma-separated `numbers` of the versions")
	b.own("versions")
	return &command{base: b, name: "kv " + verb, args: "PATH", least: 1, most: 1, synopsis: synopsis, about: about,
		run: func(args []string) int {
			if len(versions) == 0 {
				b.errorf("No versions provided, use the -versions flag to specify the versions to %s", verb)
				return exitLocal
			}
			return k.runVersioned(args[0], what, func(client *api.Client, p kvPath) int {
				s, err := client.Logical().Write(p.at(verb), map[string]any{"versions": versions})
				return showWritten(b, s, err, "writing data to "+p.at(verb), "Success! Data written to: "+p.at(verb))
			})
		}}
}

func kvRollbackCommand(b *base) *command {
	b.formatted().fielded()
	k := newKV(b)
	var version int
	b.flags.IntVar(&version, "version", 0, "`number` of the version to restore")
	b.own("version")
	return &command{base: b, name: "kv rollback", args: "PATH", least: 1, most: 1, synopsis: "Make an older version the " +
		"current one",
		about: "Writes the data of an older version as a new version, unless another client writes one in the meantime.",
		run: func(args []string) int {
			if version <= 0 {
				b.errorf("No version provided, use the -version flag to specify the version to roll back to")
				return exitLocal
			}
			return k.runVersioned(args[0], "Rollback",
				func(client *api.Client, p kvPath) int { return k.rollback(client, p, version) })
		}}
}

func (k *kv) rollback(client *api.Client, p kvPath, version int) int {
	_, current, err := readVersion(client, p, 0)
	if err != nil {
		return k.failRead(p, err)
	}
	data, _, err := readVersion(client, p, version)
	if err != nil {
		return k.failRead(p, err)
	}
	if data == nil {
		k.errorf("Cannot roll back to version %d: it was deleted or destroyed", version)
		return exitServer
	}
	k.cas = current
	return k.putVersion(client, p, data)
}

// errNothing means that a secret or version does not exist.
var errNothing = errors.New("not found")

func (k *kv) failRead(p kvPath, err error) int {
	if errors.Is(err, errNothing) {
		return k.nothingAt(p.at("data"))
	}
	return k.fail("reading "+p.at("data"), err)
}

// readVersion reads a version, 0 for the current one; data is nil if it is deleted or destroyed.
func readVersion(client *api.Client, p kvPath, number int) (data map[string]any, version int, err error) {
	var q url.Values
	if number > 0 {
		q = url.Values{"version": {strconv.Itoa(number)}}
	}
	s, err := client.Logical().ReadWithData(p.at("data"), q)
	if err != nil {
		return nil, 0, err
	}
	if s == nil || s.Data == nil {
		return nil, 0, errNothing
	}
	data, _ = s.Data["data"].(map[string]any)
	metadata, _ := s.Data["metadata"].(map[string]any)
	version, err = versionOf(metadata)
	return data, version, err
}

func (k *kv) putVersion(client *api.Client, p kvPath, data map[string]any) int {
	s, err := client.Logical().Write(p.at("data"), map[string]any{"data": data, "options": k.options()})
	if err != nil {
		return k.fail("writing data to "+p.at("data"), err)
	}
	return k.showNewVersion(s, p.at("data"))
}

func kvPatchCommand(b *base) *command {
	b.formatted().fielded()
	k := newKV(b)
	k.casFlag()
	var method string
	var gone list
	b.flags.StringVar(&method, "method", "", "`method`: patch, or rw for a read and a write; by default the first that "+
		"is allowed")
	b.flags.Var(&gone, "remove-data", "`key` to remove; may be repeated")
	b.own("method", "remove-data")
	return &command{base: b, name: "kv patch", args: "PATH [k=v | k=@file | k=- | - | @file ...]", least: 1, most: -1,
		synopsis: "Change some fields of a secret",
		about: "Writes a new version of a secret with the given values changed and the others kept. Data is given as " +
			"for kv put.",
		run: func(args []string) int {
			if method != "" && method != "patch" && method != "rw" {
				b.errorf("Unsupported method %q: use patch or rw", method)
				return exitLocal
			}
			data := map[string]any{}
			if len(args) > 1 || len(gone) == 0 {
				var code int
				if data, code = k.needData(args); code != exitOK {
					return code
				}
			}
			for _, key := range gone {
				data[key] = nil
			}
			return k.run(args[0], func(client *api.Client, p kvPath) int {
				if !p.versioned {
					b.errorf("KV engine mount must be version 2 for patch support")
					return exitServer
				}
				if method == "rw" {
					return k.patchByWrite(client, p, data)
				}
				return k.patch(client, p, data, method == "")
			})
		}}
}

// patch sends only the change. With fallBack it reads and writes the secret instead if the server
// or the policy does not allow PATCH.
func (k *kv) patch(client *api.Client, p kvPath, data map[string]any, fallBack bool) int {
	at := p.at("data")
	s, err := client.Logical().JSONMergePatch(context.Background(), at,
		map[string]any{"data": data, "options": k.options()})
	var re *api.ResponseError
	if !errors.As(err, &re) {
		if err != nil {
			return k.fail("writing data to "+at, err)
		}
		return k.showNewVersion(s, at)
	}
	switch {
	case re.StatusCode == http.StatusNotFound:
		return k.nothingAt(at)
	case fallBack && re.StatusCode == http.StatusForbidden:
		k.errorf("The token may not patch %s: reading and writing it instead. Add the capability \"patch\" to its policy.",
			at)
	case !fallBack || re.StatusCode != http.StatusMethodNotAllowed:
		return k.fail("writing data to "+at, err)
	}
	return k.patchByWrite(client, p, data)
}

// patchByWrite reads the current version and writes it with the change, unless another version was
// written in the meantime.
func (k *kv) patchByWrite(client *api.Client, p kvPath, change map[string]any) int {
	data, current, err := readVersion(client, p, 0)
	if err != nil {
		return k.failRead(p, err)
	}
	if data == nil {
		return k.nothingAt(p.at("data"))
	}
	maps.Copy(data, change)
	maps.DeleteFunc(data, func(key string, v any) bool {
		_, given := change[key]
		return given && v == nil
	})
	if k.cas < 0 {
		k.cas = current
	}
	return k.putVersion(client, p, data)
}
