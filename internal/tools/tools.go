// Package tools answers requests for random bytes and for hashes: random and hash of the transit
// engine, and sys/tools.
//
// It guarantees OpenBao's answers and texts. The random bytes are those of the reader that the
// caller gives; there is no other source.
//
// Stays compatible: fields, answers and texts.
package tools

import (
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
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// hashes are those that requests can name.
var hashes = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha2-224": crypto.SHA224, "sha2-256": crypto.SHA256, "sha2-384": crypto.SHA384,
	"sha2-512": crypto.SHA512,
	"sha3-224": crypto.SHA3_224, "sha3-256": crypto.SHA3_256, "sha3-384": crypto.SHA3_384, "sha3-512": crypto.SHA3_512,
}

// ParseHash finds a hash by its name in the API.
func ParseHash(name string) (crypto.Hash, bool) {
	h, ok := hashes[name]
	return h, ok
}

// maxRandom is the most random bytes of one request.
const maxRandom = 128 << 10

// Random answers random[/<source>][/<bytes>], of transit and sys/tools: the path gives what is
// behind "random".
func Random(rnd io.Reader, data field.Map, path []string) (*mount.Response, error) {
	source, n, err := randomSource(data, path)
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
	var format string
	if err := data.Text("format", &format); err != nil {
		return nil, err
	}
	out := make([]byte, n)
	if _, err := io.ReadFull(rnd, out); err != nil {
		return nil, fmt.Errorf("tools: reading random bytes: %w", err)
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

// randomSource finds source and number in path and fields: the path's last segment is a number, or
// a source.
func randomSource(f field.Map, path []string) (source string, n int, err error) {
	if err := f.Text("source", &source); err != nil {
		return "", 0, err
	}
	bytes := int64(32)
	if err := f.Number("bytes", &bytes); err != nil {
		return "", 0, err
	}
	n = int(min(bytes, maxRandom+1))
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
			return "", 0, fault.New(fault.Invalid, "error parsing url-set byte count: strconv.Atoi: parsing %q: invalid syntax",
				number)
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

// Hash answers hash[/<algorithm>], of transit and sys/tools: the path gives what is behind "hash".
func Hash(data field.Map, path []string) (*mount.Response, error) {
	if !data.Has("input") {
		return nil, fault.New(fault.Invalid, "input missing")
	}
	var encodedInput, format string
	name := "sha2-256"
	for field, into := range map[string]*string{"input": &encodedInput, "algorithm": &name, "format": &format} {
		if err := data.Text(field, into); err != nil {
			return nil, err
		}
	}
	if len(path) > 0 {
		name = path[0]
	}
	input, err := base64.StdEncoding.DecodeString(encodedInput)
	if err != nil {
		return nil, fault.New(fault.Invalid, "unable to decode input as base64: %s", err)
	}
	h, ok := hashes[name]
	if !ok || h == crypto.SHA1 {
		return nil, fault.New(fault.Invalid, "unsupported algorithm %s", name)
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
