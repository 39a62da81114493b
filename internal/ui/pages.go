package ui

import (
	"net/http"
	"slices"
	"strings"
)

// The operators' pages, in the order of the navigation.
var pages []*page

func init() { // not a literal: the pages' functions refer to the list
	pages = []*page{
		sealsPage(), startPage(), transcriptPage(), keysPage(), clusterPage(), snapshotsPage(), auditPage(),
		tokensPage(), policiesPage(), authPage(),
		mountsPage(), transitPage(),
		tenantsPage(), xksPage(), kmsPage(),
	}
}

func clusterPage() *page {
	return &page{
		slug: "cluster", title: "cluster", group: "operate",
		intro: "One node is active; the others forward to it and take over.",
		cli:   []string{"sealgate operator members"},
		load: func(q *query) (any, error) {
			var d struct {
				Nodes []struct {
					Hostname       string
					APIAddress     string `json:"api_address"`
					ClusterAddress string `json:"cluster_address"`
					ActiveNode     bool   `json:"active_node"`
					LastEcho       string `json:"last_echo"`
					Version        string
				}
			}
			err := q.get("sys/ha-status", &d)
			return d, err
		},
		actions: []action{{
			Name: "step-down", Title: "Let another node lead", Path: "sys/step-down", Sudo: true, Danger: true,
			Confirm: "step down", CLI: "sealgate operator step-down", Done: "The active node stepped down.",
			Intro: "The active node becomes a standby. Requests wait for the next leader.",
		}},
	}
}

// snapshotsData is the page of snapshots.
type snapshotsData struct {
	*sealStatus
	List struct {
		Schedules []struct {
			Name, Target, Next string
			Overdue            bool
			Last               struct{ Verified, Snapshot, Failing, Error string }
		}
	}
}

func snapshotsPage() *page {
	return &page{
		slug: "snapshots", title: "snapshots", group: "operate",
		intro: "A snapshot is a consistent copy of all data. It stays encrypted: opening it takes the seals or shares of " +
			"its time.",
		cli: []string{"sealgate operator snapshot save FILE", "sealgate operator snapshot inspect FILE",
			"sealgate operator snapshot restore FILE", "sealgate operator snapshot schedules"},
		load: func(q *query) (any, error) {
			s, err := q.sealStatus()
			if err != nil {
				return nil, err
			}
			d := snapshotsData{sealStatus: s}
			err = q.get("sys/snapshots", &d.List)
			return d, err
		},
		actions: []action{},
	}
}

func auditPage() *page {
	return &page{
		slug: "audit", title: "audit devices", group: "operate",
		intro: "Every request is recorded by every device before it is answered. Where none can record, nothing is answered.",
		cli:   []string{"sealgate audit list -detailed"},
		load: func(q *query) (any, error) {
			d := map[string]struct {
				Type, Description string
				Options           map[string]any
			}{}
			err := q.get("sys/audit", &d)
			return d, err
		},
		actions: []action{
			{
				Name: "enable", Title: "Enable a device", Path: "sys/audit/{path}", Sudo: true,
				CLI: "sealgate audit enable -path=<path> <type> file_path=<file_path>",
				Fields: []field{
					{Name: "path", Label: "Name", Kind: "text", Required: true, Value: "file", inPath: true},
					{Name: "type", Label: "Type", Kind: "choice", Values: []string{"file", "syslog", "socket"}, Value: "file"},
					{Name: "file_path", Label: "File", Kind: "text", omit: true,
						Hint: "For a file: below the log folders of the configuration, or stdout."},
					{Name: "description", Label: "Description", Kind: "text", omit: true},
				},
				prepare: func(body map[string]any) error {
					if path, ok := body["file_path"]; ok {
						body["options"] = map[string]any{"file_path": path}
						delete(body, "file_path")
					}
					return nil
				},
				Done: "The device is enabled.",
			},
			{
				Name: "disable", Title: "Disable", Path: "sys/audit/{path}", Method: http.MethodDelete, Sudo: true, Row: true,
				Danger: true, CLI: "sealgate audit disable <path>", Done: "The device is disabled.",
				Fields: []field{{Name: "path", Label: "Name", Kind: "hidden", Required: true, inPath: true}},
			},
		},
	}
}

func authPage() *page {
	return &page{
		slug: "auth", title: "auth methods", group: "access",
		intro: "An auth method proves who a client is, and gives a token with policies.",
		cli:   []string{"sealgate auth list"},
		load:  func(q *query) (any, error) { return q.mounts("sys/auth") },
		actions: []action{
			{
				Name: "enable", Title: "Enable a method", Path: "sys/auth/{path}", Sudo: true,
				CLI: "sealgate auth enable -path=<path> <type>",
				Fields: []field{
					{Name: "type", Label: "Type", Kind: "choice", Value: "userpass",
						Values: []string{"userpass", "approle", "cert", "jwt", "oidc", "kubernetes"}},
					{Name: "path", Label: "Path", Kind: "text", Required: true, Value: "userpass", inPath: true},
					{Name: "description", Label: "Description", Kind: "text", omit: true},
				},
				Done: "The method is enabled.",
			},
			{
				Name: "user", Title: "Save a user", Path: "auth/{mount}/users/{username}",
				Intro: "For methods of type userpass.",
				CLI:   "sealgate write auth/<mount>/users/<username> token_policies=<token_policies> password=-",
				Fields: []field{
					{Name: "mount", Label: "Path of the method", Kind: "text", Required: true, Value: "userpass", inPath: true},
					{Name: "username", Label: "User name", Kind: "text", Required: true, inPath: true},
					{Name: "password", Label: "Password", Kind: "password", omit: true, Hint: "Empty: unchanged."},
					{Name: "token_policies", Label: "Policies", Kind: "lines", Hint: "One a line."},
				},
				Done: "The user is saved.",
			},
			{
				Name: "disable", Title: "Disable", Path: "sys/auth/{path}", Method: http.MethodDelete, Sudo: true, Row: true,
				Danger: true, CLI: "sealgate auth disable <path>",
				Done:   "The method is disabled, and its tokens are revoked.",
				Fields: []field{{Name: "path", Label: "Path", Kind: "hidden", Required: true, inPath: true}},
			},
		},
	}
}

func mountsPage() *page {
	return &page{
		slug: "engines", title: "secrets engines", group: "data",
		intro: "A secrets engine serves everything below its path.",
		cli:   []string{"sealgate secrets list"},
		load:  func(q *query) (any, error) { return q.mounts("sys/mounts") },
		actions: []action{
			{
				Name: "enable", Title: "Enable an engine", Path: "sys/mounts/{path}",
				CLI: "sealgate secrets enable -path=<path> <type>",
				Fields: []field{
					{Name: "type", Label: "Type", Kind: "choice", Value: "kv-v2", Values: []string{"kv-v2", "kv", "transit"}},
					{Name: "path", Label: "Path", Kind: "text", Required: true, inPath: true},
					{Name: "description", Label: "Description", Kind: "text", omit: true},
				},
				Done: "The engine is enabled.",
			},
			{
				Name: "disable", Title: "Disable and delete its data", Path: "sys/mounts/{path}", Method: http.MethodDelete,
				Row: true, Danger: true, CLI: "sealgate secrets disable <path>",
				Done:   "The engine is disabled, and its data is deleted.",
				Fields: []field{{Name: "path", Label: "Path", Kind: "hidden", Required: true, inPath: true}},
			},
		},
	}
}

// mountRow is one mount.
type mountRow struct {
	Path, Type, Description string
	Options                 map[string]string
	Config                  struct {
		Default int64 `json:"default_lease_ttl"`
		Max     int64 `json:"max_lease_ttl"`
	}
}

// mounts lists the mounts of a table, by path.
func (q *query) mounts(path string) ([]mountRow, error) {
	all := map[string]mountRow{}
	if err := q.get(path, &all); err != nil {
		return nil, err
	}
	var rows []mountRow
	for path, m := range all {
		m.Path = strings.TrimSuffix(path, "/")
		rows = append(rows, m)
	}
	slices.SortFunc(rows, func(a, b mountRow) int { return strings.Compare(a.Path, b.Path) })
	return rows, nil
}
