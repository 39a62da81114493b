package api

import (
	"context"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// capabilities tells what another token may do on paths.
func (h *handler) capabilities(ctx context.Context, q *request) (*answer, error) {
	var text string
	if err := q.param("token", &text); err != nil {
		return nil, err
	}
	if _, err := q.askedPaths(); err != nil {
		return nil, err
	}
	if text == "" {
		return nil, fault.New(fault.Invalid, "no token found")
	}
	who, err := q.state.Tokens().Identify(ctx, text)
	if fault.Is(err, fault.Denied) {
		return nil, fault.New(fault.Invalid, "%s", twoLines("invalid token"))
	}
	if err != nil {
		return nil, err
	}
	return q.capable(ctx, who)
}

func (h *handler) capabilitiesSelf(ctx context.Context, q *request) (*answer, error) {
	return q.capable(ctx, q.identity)
}

func (h *handler) capabilitiesAccessor(ctx context.Context, q *request) (*answer, error) {
	who, err := q.byAccessor(ctx)
	if err != nil {
		return nil, err
	}
	return q.capable(ctx, who)
}

// askedPaths are those of the body: "paths", or "path", a list or one text.
func (q *request) askedPaths() (paths []string, err error) {
	data, err := q.object()
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

func (q *request) capable(ctx context.Context, who token.Identity) (*answer, error) {
	paths, err := q.askedPaths()
	if err != nil {
		return nil, err
	}
	data := map[string][]string{}
	for _, path := range paths {
		names := []string{"root"}
		if !who.Root {
			c, err := q.state.Tokens().Capabilities(ctx, who, path)
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
	return shown(data)
}

type pathAnswer struct {
	Capabilities []string `json:"capabilities"`
}

// resultantACL tells a user interface what the token's policies come to.
func (h *handler) resultantACL(ctx context.Context, q *request) (*answer, error) {
	if q.identity.Root {
		return shown(map[string]bool{"root": true})
	}
	exact, wild, err := q.state.Tokens().Paths(ctx, q.identity)
	if err != nil {
		return nil, err
	}
	return shown(struct {
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
