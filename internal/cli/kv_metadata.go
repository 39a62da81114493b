package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/openbao/openbao/api/v2"
)

func kvMetadataGetCommand(b *base) *command {
	b.formatted().fielded()
	k := newKV(b)
	return &command{base: b, name: "kv metadata get", args: "PATH", least: 1, most: 1,
		synopsis: "Show the metadata of a secret",
		about:    "Shows the settings and versions of a secret, without data.",
		run: func(args []string) int {
			return k.runVersioned(args[0], "Metadata", func(client *api.Client, p kvPath) int {
				at := p.at("metadata")
				s, err := client.Logical().Read(at)
				switch {
				case err != nil:
					return b.fail("reading "+at, err)
				case s == nil || s.Data == nil && s.WrapInfo == nil:
					return k.nothingAt(at)
				case b.conn.field != "" || b.format() != "table" || s.WrapInfo != nil:
					return b.showSecret(s)
				}
				b.warnings(s.Warnings)
				return k.showMetadata(s, at)
			})
		}}
}

func (k *kv) showMetadata(s *api.Secret, at string) int {
	versions, _ := s.Data["versions"].(map[string]any)
	rest := maps.Clone(s.Data)
	delete(rest, "versions")
	k.showPath("Metadata Path", at)
	k.printf("%s", headed("Metadata", rest))
	for _, number := range slices.SortedFunc(maps.Keys(versions), byNumber) {
		one, _ := versions[number].(map[string]any)
		k.printf("\n%s", headed("Version "+number, one))
	}
	return exitOK
}

func byNumber(a, b string) int {
	m, _ := strconv.Atoi(a)
	n, _ := strconv.Atoi(b)
	return m - n
}

// kvSettings are the flags of metadata put and metadata patch.
type kvSettings struct {
	casRequired, metaCASRequired bool
	maxVersions, metaCAS         int
	deleteAfter                  seconds
	custom                       pairsFlag
	gone                         list
}

func (m *kvSettings) define(b *base) {
	m.custom = pairsFlag{}
	b.flags.IntVar(&m.maxVersions, "max-versions", -1, "`number` of versions to keep; 0: the mount's setting")
	b.flags.BoolVar(&m.casRequired, "cas-required", false, "require -cas on every write")
	b.flags.BoolVar(&m.metaCASRequired, "metadata-cas-required", false, "require -metadata-cas on every change of "+
		"metadata")
	b.flags.Var(&m.deleteAfter, "delete-version-after", "`time` after which new versions are deleted; 0s: the "+
		"mount's setting")
	b.flags.Var(m.custom, "custom-metadata", "custom metadata `k=v`; may be repeated")
	b.flags.IntVar(&m.metaCAS, "metadata-cas", -1, "change only if this `number` equals current_metadata_version")
	b.own("max-versions", "cas-required", "metadata-cas-required", "delete-version-after", "custom-metadata",
		"metadata-cas")
}

// input holds the settings of the flags that were given.
func (m *kvSettings) input(b *base) map[string]any {
	in := map[string]any{}
	if m.maxVersions >= 0 {
		in["max_versions"] = m.maxVersions
	}
	if b.given("cas-required") {
		in["cas_required"] = m.casRequired
	}
	if b.given("metadata-cas-required") {
		in["metadata_cas_required"] = m.metaCASRequired
	}
	if b.given("delete-version-after") {
		in["delete_version_after"] = m.deleteAfter.String()
	}
	if m.metaCAS >= 0 {
		in["metadata_cas"] = m.metaCAS
	}
	custom := map[string]any{}
	for key, v := range m.custom {
		custom[key] = v
	}
	for _, key := range m.gone {
		custom[key] = nil
	}
	if len(custom) > 0 {
		in["custom_metadata"] = custom
	}
	return in
}

func kvMetadataPutCommand(b *base) *command {
	b.formatted()
	k := newKV(b)
	m := &kvSettings{}
	m.define(b)
	return &command{base: b, name: "kv metadata put", args: "PATH", least: 1, most: 1,
		synopsis: "Set the metadata of a secret",
		about: "Sets the settings of a secret; creates it without data if it does not exist. Custom metadata is replaced " +
			"as a whole.",
		run: func(args []string) int {
			return k.runVersioned(args[0], "Metadata", func(client *api.Client, p kvPath) int {
				at := p.at("metadata")
				s, err := client.Logical().Write(at, m.input(b))
				return k.showChanged(s, err, at)
			})
		}}
}

func kvMetadataPatchCommand(b *base) *command {
	b.formatted()
	k := newKV(b)
	m := &kvSettings{}
	m.define(b)
	b.flags.Var(&m.gone, "remove-custom-metadata", "`key` to remove; may be repeated")
	b.own("remove-custom-metadata")
	return &command{base: b, name: "kv metadata patch", args: "PATH", least: 1, most: 1,
		synopsis: "Change some metadata of a secret",
		about:    "Changes the given settings and keys of custom metadata, and keeps the others.",
		run: func(args []string) int {
			return k.runVersioned(args[0], "Metadata", func(client *api.Client, p kvPath) int {
				at := p.at("metadata")
				s, err := client.Logical().JSONMergePatch(context.Background(), at, m.input(b))
				var re *api.ResponseError
				if errors.As(err, &re) && re.StatusCode == http.StatusNotFound {
					return k.nothingAt(at)
				}
				return k.showChanged(s, err, at)
			})
		}}
}

// showChanged prints the warnings of a change and that it succeeded.
func (k *kv) showChanged(s *api.Secret, err error, at string) int {
	switch {
	case err != nil:
		return k.fail("writing metadata to "+at, err)
	case k.format() != "table":
		if s != nil {
			return k.encode(s)
		}
		return exitOK
	case s != nil:
		k.warnings(s.Warnings)
	}
	k.printf("Success! Data written to: %s\n", at)
	return exitOK
}

func kvMetadataDeleteCommand(b *base) *command {
	k := newKV(b)
	return &command{base: b, name: "kv metadata delete", args: "PATH", least: 1, most: 1,
		synopsis: "Delete a secret with all its versions",
		about:    "Deletes a secret with all its versions and settings permanently.",
		run: func(args []string) int {
			return k.runVersioned(args[0], "Metadata", func(client *api.Client, p kvPath) int {
				at := p.at("metadata")
				s, err := client.Logical().Delete(at)
				return showWritten(b, s, err, "deleting "+at, fmt.Sprintf("Success! Data deleted (if it existed) at: %s", at))
			})
		}}
}
