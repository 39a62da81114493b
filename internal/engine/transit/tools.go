package transit

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	_ "crypto/sha1"   //nolint:gosec // one of the hashes by name
	_ "crypto/sha256" // the others
	_ "crypto/sha3"
	_ "crypto/sha512"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// hashes are those that requests can name.
var hashes = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha2-224": crypto.SHA224, "sha2-256": crypto.SHA256, "sha2-384": crypto.SHA384, "sha2-512": crypto.SHA512,
	"sha3-224": crypto.SHA3_224, "sha3-256": crypto.SHA3_256, "sha3-384": crypto.SHA3_384, "sha3-512": crypto.SHA3_512,
}

func (b *backend) random(_ context.Context, c *call) (*mount.Response, error) {
	return Random(b.rand, c.data, c.segs[:c.n])
}

func (b *backend) hash(_ context.Context, c *call) (*mount.Response, error) {
	return Hash(c.data, c.segs[:c.n])
}

// maxRandom is the most random bytes of one request.
const maxRandom = 128 << 10

// Random answers random[/<source>][/<bytes>], of this engine and of sys/tools: the path gives what is behind "random".
func Random(rnd io.Reader, data map[string]any, path []string) (*mount.Response, error) {
	f := fields(data)
	source, n, err := randomSource(f, path)
	if err != nil {
		return nil, err
	}
	switch {
	case n < 1:
		return nil, fault.New(fault.Invalid, "'bytes' cannot be less than 1")
	case n > maxRandom:
		return nil, fault.New(fault.Invalid, "'bytes' should be less than %d", maxRandom)
	}
	a := &mount.Response{}
	switch source {
	case "", "platform":
	case "seal", "all":
		a.Warnings = []string{"no seal/entropy augmentation available, using platform entropy source"}
	default:
		return nil, fault.New(fault.Invalid, `unsupported entropy source %q; must be "platform" or "seal", or "all"`, source)
	}
	format, err := f.text("format")
	if err != nil {
		return nil, err
	}
	out := make([]byte, n)
	if _, err := io.ReadFull(rnd, out); err != nil {
		return nil, fmt.Errorf("transit: reading random bytes: %w", err)
	}
	defer clear(out)
	encoded, ok := encode(format, "base64", out)
	if !ok {
		return nil, fault.New(fault.Invalid, `unsupported encoding format %q; must be "hex" or "base64"`, format)
	}
	a.Data = struct {
		Bytes string `json:"random_bytes"`
	}{encoded}
	return a, nil
}

// randomSource finds source and number in path and fields: the path's last segment is a number, or a source.
func randomSource(f fields, path []string) (source string, n int, err error) {
	if source, err = f.text("source"); err != nil {
		return "", 0, err
	}
	n = 32
	if f.given("bytes") {
		if n, err = f.number("bytes"); err != nil {
			return "", 0, fault.New(fault.Invalid, "Field validation failed: %s", err)
		}
	}
	number := ""
	switch {
	case len(path) == 2:
		source, number = path[0], path[1]
	case len(path) == 1 && (path[0] == "platform" || path[0] == "seal" || path[0] == "all"):
		source = path[0]
	case len(path) == 1:
		number = path[0]
	}
	if number != "" {
		if n, err = strconv.Atoi(number); err != nil {
			return "", 0, fault.New(fault.Invalid, "error parsing url-set byte count: strconv.Atoi: parsing %q: invalid syntax", number)
		}
	}
	return source, n, nil
}

func encode(format, standard string, b []byte) (string, bool) {
	if format == "" {
		format = standard
	}
	switch format {
	case "hex":
		return hex.EncodeToString(b), true
	case "base64":
		return base64.StdEncoding.EncodeToString(b), true
	}
	return "", false
}

// Hash answers hash[/<algorithm>], of this engine and of sys/tools: the path gives what is behind "hash".
func Hash(data map[string]any, path []string) (*mount.Response, error) {
	f := fields(data)
	if !f.given("input") {
		return nil, fault.New(fault.Invalid, "input missing")
	}
	input, err := f.readInput("input")
	if err != nil {
		return nil, err
	}
	name, err := f.text("algorithm")
	if err != nil {
		return nil, err
	}
	if len(path) > 0 {
		name = path[0]
	}
	if name == "" {
		name = "sha2-256"
	}
	h, ok := hashes[name]
	if !ok || h == crypto.SHA1 {
		return nil, fault.New(fault.Invalid, "unsupported algorithm %s", name)
	}
	format, err := f.text("format")
	if err != nil {
		return nil, err
	}
	sum := h.New()
	sum.Write(input)
	encoded, ok := encode(format, "hex", sum.Sum(nil))
	if !ok {
		return nil, fault.New(fault.Invalid, `unsupported encoding format %s; must be "hex" or "base64"`, format)
	}
	return &mount.Response{Data: struct {
		Sum string `json:"sum"`
	}{encoded}}, nil
}
