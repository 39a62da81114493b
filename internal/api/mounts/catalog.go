package mounts

import (
	"context"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

// catalogRoutes list what is built in as Vault lists its plugins: tools look there before they
// mount something. Nothing can be registered.
var catalogRoutes = []api.Route{
	{Methods: []string{"GET", "LIST"}, Path: "sys/plugins/catalog", Capability: policy.Read | policy.List,
		Here: true, Handle: catalog},
	{Methods: []string{"GET", "LIST"}, Path: "sys/plugins/catalog/*", Capability: policy.Read | policy.List, Sudo: true,
		Here: true, Handle: catalogEntry},
}

var catalogDocs = map[string]api.Doc{
	"sys/plugins/catalog":   {Text: "Lists the auth methods and secrets engines that are built in."},
	"sys/plugins/catalog/*": {Text: "One of them, as auth/<name> or secret/<name>; or the names of one kind."},
}

type catalogAnswer struct {
	Auth     []string        `json:"auth"`
	Database []string        `json:"database"`
	Detailed []pluginDetails `json:"detailed"`
	Secret   []string        `json:"secret"`
}

type pluginDetails struct {
	Builtin           bool   `json:"builtin"`
	DeprecationStatus string `json:"deprecation_status"`
	Name              string `json:"name"`
	Type              string `json:"type"`
	Version           string `json:"version"`
}

type pluginAnswer struct {
	Args              []string `json:"args"`
	Builtin           bool     `json:"builtin"`
	Command           string   `json:"command"`
	DeprecationStatus string   `json:"deprecation_status"`
	Name              string   `json:"name"`
	SHA256            string   `json:"sha256"`
	Version           string   `json:"version"`
}

// builtins returns the names of a kind; ok is false for a kind that does not exist.
func builtins(q *api.Request, kind string) (names []string, ok bool) {
	switch kind {
	case "auth":
		return q.Role.AuthMethods().Types(), true
	case "secret":
		return q.Role.Mounts().Types(), true
	case "database":
		return []string{}, true
	}
	return nil, false
}

func builtinVersion(h *api.Handler) string { return "v" + h.Version + "+builtin" }

func catalog(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	a := catalogAnswer{Database: []string{}}
	a.Auth, _ = builtins(q, "auth")
	a.Secret, _ = builtins(q, "secret")
	for kind, names := range map[string][]string{"auth": a.Auth, "secret": a.Secret} {
		for _, name := range names {
			a.Detailed = append(a.Detailed, pluginDetails{true, "supported", name, kind, builtinVersion(h)})
		}
	}
	slices.SortFunc(a.Detailed, func(a, b pluginDetails) int { return strings.Compare(a.Type+a.Name, b.Type+b.Name) })
	return api.Show(a)
}

// catalogEntry lists the names of a kind, or shows one of them.
func catalogEntry(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	kind, name, named := strings.Cut(strings.TrimSuffix(q.Rest, "/"), "/")
	names, ok := builtins(q, kind)
	switch {
	case !ok:
		return api.Done()
	case !named:
		return api.List(names, nil)
	case !slices.Contains(names, name):
		return api.Done()
	}
	return api.Show(pluginAnswer{
		Args: []string{}, Builtin: true, DeprecationStatus: "supported", Name: name, Version: builtinVersion(h),
	})
}
