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

// kvCommands are those of the key-value engine. They find out by themselves which of its two versions they talk to.
var kvCommands = []func(*base) *command{
	kvGetCommand, kvPutCommand, kvPatchCommand, kvDeleteCommand, kvUndeleteCommand, kvDestroyCommand, kvRollbackCommand, kvListCommand,
	kvMetadataGetCommand, kvMetadataPutCommand, kvMetadataPatchCommand, kvMetadataDeleteCommand, kvEnableVersioningCommand,
}

// kvPlace is where a secret lies.
type kvPlace struct {
	mount     string // "secret/"
	path      string // below it
	versioned bool   // the mount is version 2
}

// at is the secret's path in the API; kind is what version 2 has between mount and path: "data", "metadata".
func (p kvPlace) at(kind string) string {
	if !p.versioned {
		return p.mount + p.path
	}
	return strings.TrimSuffix(p.mount+kind+"/"+p.path, "/")
}

// kv is what these commands have in common.
type kv struct {
	*base
	mount string
	cas   int
}

func newKV(b *base) *kv {
	k := &kv{base: b, cas: -1}
	b.flags.StringVar(&k.mount, "mount", "", "`path` of the mount; the arguments' paths are below it then")
	b.own("mount")
	return k
}

func (k *kv) casFlag() {
	k.flags.IntVar(&k.cas, "cas", -1, "write only if this `version` is the current one; 0: only if there is none")
	k.own("cas")
}

// kvRun is the part of a command that knows the place.
type kvRun func(client *api.Client, p kvPlace) int

// run finds the place and goes on there.
func (k *kv) run(path string, f kvRun) int {
	return k.withClient(func(client *api.Client) int {
		p, err := k.find(client, path)
		if err != nil {
			return k.fail("looking up the mount of "+path, err)
		}
		return f(client, p)
	})
}

// runVersioned is run for what version 1 does not have.
func (k *kv) runVersioned(path, what string, f kvRun) int {
	return k.run(path, func(client *api.Client, p kvPlace) int {
		if !p.versioned {
			k.errorf("%s not supported on KV Version 1: see sealgate kv enable-versioning -help", what)
			return exitLocal
		}
		return f(client, p)
	})
}

// find asks the server which mount a path is in. A server of old that cannot tell has version 1 only.
func (k *kv) find(client *api.Client, path string) (kvPlace, error) {
	path = strings.Trim(strings.TrimSpace(path), "/")
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
		return kvPlace{path: path}, nil
	case err != nil:
		return kvPlace{}, err
	}
	var p kvPlace
	if s != nil {
		p.mount, _ = s.Data["path"].(string)
		options, _ := s.Data["options"].(map[string]any)
		p.versioned = options["version"] == "2"
	}
	if p.mount == "" {
		return p, errors.New("the answer is not what a server of this kind gives: it names no mount")
	}
	if p.path = path; k.mount == "" {
		p.path = strings.TrimPrefix(strings.TrimPrefix(path, strings.TrimSuffix(p.mount, "/")), "/")
	}
	return p, nil
}

// sendPlain sends a request that is not the command's own: it is sent, whatever is to be shown, or wrapped, of that one.
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

// heading pads a title with "=" to a width, two on each side at least.
func heading(title string, width int) string {
	n := width - len(title) - 2
	if n <= 0 {
		n = 4
	}
	pad := strings.Repeat("=", (n+1)/2)
	return pad + " " + title + " " + pad + "\n"
}

// headed is a table of keys and values under its heading. Its width is that of the longest key and the word Value.
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

// showNewVersion prints what the server tells of a version that was written.
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

// nothingAt says that nothing is at a path.
func (k *kv) nothingAt(path string) int {
	k.errorf("No value found at %s", path)
	return exitServer
}

// options are those of a write.
func (k *kv) options() map[string]any {
	if k.cas < 0 {
		return map[string]any{}
	}
	return map[string]any{"cas": k.cas}
}

// versionOf is the number of the version that metadata are about.
func versionOf(metadata map[string]any) (int, error) {
	n, ok := metadata["version"].(json.Number)
	if !ok {
		return 0, errors.New("the answer is not what a server of this kind gives: it has no version")
	}
	return strconv.Atoi(n.String())
}

func kvEnableVersioningCommand(b *base) *command {
	return &command{base: b, name: "kv enable-versioning", args: "MOUNT", least: 1, most: 1,
		synopsis: "Make a mount of version 1 keep versions",
		about: `Makes a mount of version 1 one of version 2. Its secrets stay, as their first versions, and can be read all the while, at
the paths of version 2: clients that use those of version 1 must change with it. There is no way back.`,
		run: func(args []string) int {
			where := sanitize(args[0])
			return b.withClient(func(client *api.Client) int {
				in := map[string]any{"options": map[string]string{"version": "2"}}
				return b.done(client, http.MethodPost, "sys/mounts/"+where+"/tune", in, fmt.Sprintf("tuning secrets engine %s/", where),
					"Success! Tuned the secrets engine at: "+folder(where))
			})
		}}
}
