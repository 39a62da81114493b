package policies

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/authn"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// tokenCapabilities shows what another token may do on paths.
func tokenCapabilities(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var text string
	if err := q.Param("token", &text); err != nil {
		return nil, err
	}
	if _, err := askedPaths(q); err != nil {
		return nil, err
	}
	if text == "" {
		return nil, fault.New(fault.Invalid, "no token found")
	}
	who, err := q.Role.Tokens().Identify(ctx, text)
	if fault.Is(err, fault.Denied) {
		return nil, fault.New(fault.Invalid, "%s", api.Bulleted("invalid token"))
	}
	if err != nil {
		return nil, err
	}
	return capable(ctx, q, who)
}

func capabilitiesSelf(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return capable(ctx, q, q.Identity)
}

func capabilitiesAccessor(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, err := authn.ByAccessor(ctx, q)
	if err != nil {
		return nil, err
	}
	return capable(ctx, q, who)
}

// askedPaths reads the paths of the body: "paths", or "path", a list or one string.
func askedPaths(q *api.Request) (paths []string, err error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"path", "paths"} {
		if err := field.Map(data).Names(name, &paths); err != nil {
			return nil, err
		}
	}
	if len(paths) == 0 {
		return nil, fault.New(fault.Invalid, "paths must be supplied")
	}
	return paths, nil
}

func capable(ctx context.Context, q *api.Request, who token.Identity) (*api.Answer, error) {
	paths, err := askedPaths(q)
	if err != nil {
		return nil, err
	}
	data := map[string][]string{}
	for _, path := range paths {
		names := []string{"root"}
		if !who.Root {
			c, err := q.Role.Tokens().Capabilities(ctx, who, path)
			if err != nil {
				return nil, err
			}
			if names = c.Names(); len(names) == 0 {
				names = []string{"deny"}
			}
		}
		data[path] = names
		if len(paths) == 1 {
			data["capabilities"] = names
		}
	}
	return api.Show(data)
}

type pathAnswer struct {
	Capabilities []string `json:"capabilities"`
}

// resultantACL shows user interfaces what the token's policies allow.
func resultantACL(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if q.Identity.Root {
		return api.Show(map[string]bool{"root": true})
	}
	exact, wild, err := q.Role.Tokens().Paths(ctx, q.Identity)
	if err != nil {
		return nil, err
	}
	return api.Show(struct {
		ExactPaths map[string]pathAnswer `json:"exact_paths"`
		GlobPaths  map[string]pathAnswer `json:"glob_paths"`
		Root       bool                  `json:"root"`
	}{describePaths(exact), describePaths(wild), false})
}

func describePaths(paths map[string]policy.Capability) map[string]pathAnswer {
	out := make(map[string]pathAnswer, len(paths))
	for path, c := range paths {
		out[path] = pathAnswer{c.Names()}
	}
	return out
}
