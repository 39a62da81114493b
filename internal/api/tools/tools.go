// Package tools answers sys/tools: random bytes and hashes, in the same words as the transit
// engine.
//
// It guarantees that the random bytes are the operating system's. It does not mix in those of a
// seal: a request for them gets a warning.
//
// Stays compatible: Vault's sys/tools/random and sys/tools/hash.
package tools

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/tools"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: []api.Route{
		{Methods: api.Write, Path: "sys/tools/random", Body: api.SmallBody, Capability: policy.Update, Here: true,
			Guarded: true, Handle: random},
		{Methods: api.Write, Path: "sys/tools/random/*", Body: api.SmallBody, Capability: policy.Update, Here: true,
			Guarded: true, Handle: random},
		{Methods: api.Write, Path: "sys/tools/hash", Body: api.AnyBody, Capability: policy.Update, Here: true,
			Guarded: true, Handle: hash},
		{Methods: api.Write, Path: "sys/tools/hash/*", Body: api.AnyBody, Capability: policy.Update, Here: true,
			Guarded: true, Handle: hash},
	},
	Docs: map[string]api.Doc{
		"sys/tools/random":   {Text: "Random bytes.", Read: true, Body: randomFields},
		"sys/tools/random/*": {Text: "Random bytes.", Param: "urlbytes", Read: true, Body: randomFields},
		"sys/tools/hash":     {Text: "The hash of a text.", Read: true, Body: hashFields},
		"sys/tools/hash/*":   {Text: "The hash of a text.", Param: "urlalgorithm", Read: true, Body: hashFields},
	},
}

var randomFields = []api.DocField{
	{"bytes", "integer", "How many, at most 131072; 32."}, {"format", "string", "base64 or hex."},
	{"source", "string", "platform; seal and all give the same, with a warning."},
}

var hashFields = []api.DocField{
	{"input", "string", "The text, in base64."}, {"algorithm", "string", "sha2-256, sha2-512, sha3-256 and the like."},
	{"format", "string", "hex or base64."},
}

func random(_ context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	return answer(q, func(f field.Map, path []string) (*mount.Response,
		error) {
		return tools.Random(rand.Reader, f, path)
	})
}

func hash(_ context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	return answer(q, tools.Hash)
}

func answer(q *api.Request, of func(field.Map, []string) (*mount.Response, error)) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var path []string
	if q.Rest != "" {
		path = strings.Split(q.Rest, "/")
	}
	a, err := of(data, path)
	if err != nil {
		return nil, err
	}
	return api.BackendAnswer(a)
}
