package openapi

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
)

var specRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/internal/specs/openapi", Access: api.Open, Style: api.BareStyle, Here: true,
		Handle: specification},
	{Methods: api.Get, Path: "sys/replication/status", Access: api.Open, Handle: func(context.Context, *api.Handler,
		*api.Request) (*api.Answer, error) {
		return nil, api.ErrNoPath
	}},
}

// specification returns the API as an OpenAPI document, which describes exactly the table of
// routes. It is made once, and not audited: it is large, the same for all, and needs no token.
func specification(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if made := h.Document.Load(); made != nil {
		return api.Show(*made)
	}
	all := make([]*api.Route, len(h.Lines))
	for i := range h.Lines {
		all[i] = &h.Lines[i]
	}
	text, err := api.Render(document(h, all))
	if err != nil {
		return nil, err
	}
	made := api.Opaque(text)
	h.Document.Store(&made)
	return api.Show(made)
}

// document describes lines of the table.
func document(h *api.Handler, lines []*api.Route) map[string]any {
	paths := map[string]map[string]any{}
	at := func(path string) map[string]any {
		if paths[path] == nil {
			paths[path] = map[string]any{"description": path}
		}
		return paths[path]
	}
	for _, r := range lines {
		d := h.Docs[r.Path]
		path, item := describePath(r.Path, d, at)
		for _, method := range r.Methods {
			name := strings.ToLower(method)
			switch name {
			case "put": // the same as POST
				continue
			case "list", "scan":
				name = "get"
			}
			if old, there := item[name].(map[string]any); there { // the path can be read and listed
				addList(old, false)
				continue
			}
			o := describeOperation(r, d, method, path)
			if method == "LIST" {
				addList(o, true)
			}
			item[name] = o
		}
		item["x-vault-sudo"] = item["x-vault-sudo"] == true || r.Sudo
		item["x-vault-unauthenticated"] = r.Capability == 0
	}
	return map[string]any{
		"openapi": "3.0.2",
		"info": map[string]any{
			"title": "Sealgate", "description": "The HTTP API of the server.",
			"version": h.Version, "license": map[string]any{"name": "Apache-2.0",
				"url": "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		"paths": paths,
		"components": map[string]any{
			"securitySchemes": map[string]any{"token": map[string]any{"type": "apiKey", "in": "header",
				"name": "X-Vault-Token"}},
			"schemas": map[string]any{"Errors": map[string]any{
				"type": "object", "required": []string{"errors"},
				"properties": map[string]any{"errors": map[string]any{"type": "array", "items": map[string]any{"type": "string"}}},
			}},
		},
	}
}

// describePath returns a path and its parameter.
func describePath(path string, d api.Doc, at func(string) map[string]any) (string, map[string]any) {
	before, star := strings.CutSuffix(path, "*")
	if !star {
		item := at("/" + path)
		item["description"] = d.Summary(path)
		return "/" + path, item
	}
	full := "/" + before + "{" + d.PathParam() + "}"
	item := at(full)
	item["description"] = d.Summary(path)
	item["parameters"] = []any{map[string]any{
		"name": d.PathParam(), "in": "path", "required": true, "schema": map[string]any{"type": "string", "minLength": 1},
	}}
	return full, item
}

// addList adds the parameter that turns a read into a list.
func addList(o map[string]any, required bool) {
	list := map[string]any{
		"name": "list", "in": "query", "required": required, "description": "Give true to list.",
		"schema": map[string]any{"type": "string", "enum": []string{"true"}},
	}
	parameters, _ := o["parameters"].([]any)
	o["parameters"] = append(parameters, list)
}

func describeOperation(r *api.Route, d api.Doc, method, path string) map[string]any {
	o := map[string]any{
		"summary": d.Summary(r.Path), "operationId": operationID(method, path),
		"tags":      []string{strings.SplitN(path, "/", 3)[1]},
		"responses": describeResponses(r, d, method),
	}
	if r.Capability != 0 {
		o["security"] = []any{map[string]any{"token": []string{}}}
	}
	if method == "GET" || method == "LIST" {
		var parameters []any
		for _, f := range d.Query {
			parameters = append(parameters, map[string]any{"name": f[0], "in": "query", "description": f[2],
				"schema": schemaOf(f[1])})
		}
		if parameters != nil {
			o["parameters"] = parameters
		}
	}
	if r.Body != api.NoBody && len(d.Body) > 0 && (method == "POST" || method == "PATCH") {
		properties := map[string]any{}
		for _, f := range d.Body {
			s := schemaOf(f[1])
			s["description"] = f[2]
			properties[f[0]] = s
		}
		kind := "application/json"
		if method == "PATCH" {
			kind = "application/merge-patch+json"
		}
		o["requestBody"] = map[string]any{"content": map[string]any{
			kind: map[string]any{"schema": map[string]any{"type": "object", "properties": properties}},
		}}
	}
	return o
}

// schemaOf returns the schema of a field's type. A duration is a number of seconds or a string.
func schemaOf(kind string) map[string]any {
	switch kind {
	case "list":
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
	case "duration":
		return map[string]any{"oneOf": []any{map[string]any{"type": "integer", "minimum": 0},
			map[string]any{"type": "string"}}}
	case "any":
		return map[string]any{}
	}
	return map[string]any{"type": kind}
}

// operationID joins the words of the path: "post-sys-mounts-path".
func operationID(method, path string) string {
	return strings.ToLower(method) + strings.NewReplacer("/", "-", "{", "", "}", "").Replace(path)
}

// describeResponses lists every status of a route.
func describeResponses(r *api.Route, d api.Doc, method string) map[string]any {
	out := map[string]any{}
	refusal := func(text string, codes ...int) {
		for _, code := range codes {
			out[strconv.Itoa(code)] = map[string]any{"description": text, "content": map[string]any{
				"application/json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/Errors"}},
			}}
		}
	}
	content := "application/json"
	switch r.Path {
	case "sys/monitor":
		content = "text/plain"
	case "sys/storage/raft/snapshot":
		content = "application/gzip"
	}
	ok := map[string]any{"description": "OK", "content": map[string]any{content: map[string]any{}}}
	if r.Path == "sys/metrics" {
		ok["content"] = map[string]any{"application/json": map[string]any{}, "text/plain": map[string]any{}}
	}
	reads := method == "GET" || method == "LIST" || method == "SCAN"
	if reads || !d.Empty {
		out["200"] = ok
	}
	if !reads && !d.Read || r.Path == "sys/internal/counters/activity" { // nothing is recorded
		out["204"] = map[string]any{"description": "Done."}
	}
	if d.Later {
		out = map[string]any{"202": map[string]any{"description": "It runs in the background.", "content": ok["content"]}}
	}
	refusal("The request is invalid.", 400)
	refusal("It does not exist.", 404)
	refusal("The path has no such operation.", 405)
	refusal("Too many requests.", 429)
	refusal("The server is sealed, or something that it needs is unavailable.", 503)
	if r.Capability != 0 || r.Access == api.RecoveryToken ||
		slices.Contains([]string{"sys/internal/ui/mounts/*"}, r.Path) {
		refusal("The token is missing, unknown, or not allowed to.", 403)
	}
	if r.Body != api.NoBody {
		refusal("The body is too large.", 413)
	}
	if method == "PATCH" {
		refusal("The body is of another kind than application/merge-patch+json.", 415)
	}
	if !reads {
		refusal("Another request changed it at the same time.", 409)
	}
	if r.Path == "sys/health" {
		for _, class := range []string{"2XX", "3XX", "4XX", "5XX"} {
			out[class] = map[string]any{"description": "The status that the query asks for.",
				"content": map[string]any{content: map[string]any{}}}
		}
		for _, code := range []string{"429", "501", "503"} {
			out[code] = map[string]any{"description": "Standby, not initialised, sealed.",
				"content": map[string]any{content: map[string]any{}}}
		}
	}
	return out
}
