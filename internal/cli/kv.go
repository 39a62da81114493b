package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// kvCommands are the commands of the kv engine. They detect the version of the mount.
var kvCommands = []func(*base) *command{
	kvGetCommand, kvPutCommand, kvPatchCommand, kvDeleteCommand, kvUndeleteCommand, kvDestroyCommand, kvRollbackCommand,
	kvListCommand,
	kvMetadataGetCommand, kvMetadataPutCommand, kvMetadataPatchCommand, kvMetadataDeleteCommand, kvEnableVersioningCommand,
}

// kvPath is the location of a secret.
type kvPath struct {
	mount     string // "secret/"
	path      string // below it
	versioned bool   // the mount is version 2
}

// at is the secret's API path; kind is the segment of version 2 between mount and path: "data",
// "metadata".
func (p kvPath) at(kind string) string {
	if !p.versioned {
		return p.mount + p.path
	}
	return strings.TrimSuffix(p.mount+kind+"/"+p.path, "/")
}

// kv holds the flags that the kv commands share.
type kv struct {
	*base
	mount string
	cas   int
}

func newKV(b *base) *kv {
	k := &kv{base: b, cas: -1}
	b.flags.StringVar(&k.mount, "mount", "", "`path` of the mount; PATH is then relative to it")
	b.own("mount")
	b.nonEmpty("mount")
	return k
}

func (k *kv) casFlag() {
	k.flags.IntVar(&k.cas, "cas", -1, "write only if this is the current `version`; 0: only if the secret does not exist")
	k.own("cas")
}

// kvRun is the part of a command that runs after the mount was found.
type kvRun func(client *api.Client, p kvPath) int

// run finds the mount of a path and calls f.
func (k *kv) run(path string, f kvRun) int {
	return k.withClient(func(client *api.Client) int {
		p, err := k.find(client, path)
		if err != nil {
			return k.fail("looking up the mount of "+path, err)
		}
		return f(client, p)
	})
}

// runVersioned is run for operations that version 1 lacks.
func (k *kv) runVersioned(path, what string, f kvRun) int {
	return k.run(path, func(client *api.Client, p kvPath) int {
		if !p.versioned {
			k.errorf("%s not supported on KV Version 1: see sealgate kv enable-versioning -help", what)
			return exitLocal
		}
		return f(client, p)
	})
}

// find asks the server for the mount of a path. Old servers without this endpoint have version 1
// only.
func (k *kv) find(client *api.Client, path string) (kvPath, error) {
	path = sanitize(path)
	ask := path
	if k.mount != "" {
		ask = sanitize(k.mount)
	}
	s, err := sendPlain(client, http.MethodGet, "sys/internal/ui/mounts/"+ask)
	var re *api.ResponseError
	switch {
	case errors.As(err, &re) && re.StatusCode == http.StatusNotFound:
		if k.mount != "" {
			path = ask + "/" + path
		}
		return kvPath{path: path}, nil
	case err != nil:
		return kvPath{}, err
	}
	var p kvPath
	if s != nil {
		p.mount, _ = s.Data["path"].(string)
		options, _ := s.Data["options"].(map[string]any)
		p.versioned = options["version"] == "2"
	}
	if p.mount == "" {
		return p, errors.New("unexpected response: it names no mount")
	}
	if p.path = path; k.mount == "" {
		p.path = strings.TrimPrefix(strings.TrimPrefix(path, strings.TrimSuffix(p.mount, "/")), "/")
	}
	return p, nil
}

// sendPlain sends an auxiliary request: -output-curl-string, -output-policy and -wrap-ttl do not
// apply to it.
func sendPlain(client *api.Client, method, path string) (*api.Secret, error) {
	curl, policy, wrap := client.OutputCurlString(), client.OutputPolicy(), client.CurrentWrappingLookupFunc()
	defer func() {
		client.SetOutputCurlString(curl)
		client.SetOutputPolicy(policy)
		client.SetWrappingLookupFunc(wrap)
	}()
	client.SetOutputCurlString(false)
	client.SetOutputPolicy(false)
	client.SetWrappingLookupFunc(nil)
	return send(client, method, path, nil)
}

// heading pads a title with "=" to a width, with at least two on each side.
func heading(title string, width int) string {
	n := width - len(title) - 2
	if n <= 0 {
		n = 4
	}
	pad := strings.Repeat("=", (n+1)/2)
	return pad + " " + title + " " + pad + "\n"
}

// headed is a table of keys and values under a heading, which is as wide as the longest key and
// "Value".
func headed(title string, data map[string]any) string {
	var p pairs
	width := 0
	for _, key := range slices.Sorted(maps.Keys(data)) {
		p.add(key, cell(key, data[key]))
		width = max(width, len(key))
	}
	return heading(title, width+len(gap)+len("Value")) + p.String()
}

func (k *kv) showPath(title, path string) { k.printf("%s%s\n\n", heading(title, len(path)), path) }

// showNewVersion prints the metadata of a version that was written.
func (k *kv) showNewVersion(s *api.Secret, path string) int {
	switch {
	case s == nil:
		if k.format() == "table" {
			k.printf("Success! Data written to: %s\n", path)
		}
		return exitOK
	case k.conn.field != "":
		return k.showField(s, k.conn.field)
	case k.format() != "table" || s.WrapInfo != nil:
		return k.showSecret(s)
	}
	k.warnings(s.Warnings)
	k.showPath("Secret Path", path)
	k.printf("%s", headed("Metadata", s.Data))
	return exitOK
}

// nothingAt prints that a path has no value.
func (k *kv) nothingAt(path string) int {
	k.errorf("No value found at %s", path)
	return exitServer
}

// options are the options of a write.
func (k *kv) options() map[string]any {
	if k.cas < 0 {
		return map[string]any{}
	}
	return map[string]any{"cas": k.cas}
}

// versionOf is the version number in metadata.
func versionOf(metadata map[string]any) (int, error) {
	n, ok := metadata["version"].(json.Number)
	if !ok {
		return 0, errors.New("unexpected response: it has no version")
	}
	return strconv.Atoi(n.String())
}

func kvEnableVersioningCommand(b *base) *command {
	return &command{base: b, name: "kv enable-versioning", args: "MOUNT", least: 1, most: 1,
		synopsis: "Upgrade a mount from version 1 to version 2",
		about: `Upgrades a mount of kv version 1 to version 2. Its secrets become their first versions and stay readable, at
the paths of version 2: clients that use the paths of version 1 must change at the same time. This cannot be undone.`,
		run: func(args []string) int {
			where := sanitize(args[0])
			return b.withClient(func(client *api.Client) int {
				in := map[string]any{"options": map[string]string{"version": "2"}}
				return b.done(client, http.MethodPost, "sys/mounts/"+where+"/tune", in,
					fmt.Sprintf("tuning secrets engine %s/", where),
					"Success! Tuned the secrets engine at: "+folder(where))
			})
		}}
}
