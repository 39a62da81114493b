package ui

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// kvMount is a mount of the key-value engine, and a path in it.
type kvMount struct {
	Path    string // "secret/"
	Version int    // of the engine: 1 or 2
	Rest    string // below the mount
}

// data is the path of a secret's data below /v1/.
func (m kvMount) data(rest string) string {
	if m.Version == 2 {
		return m.Path + "data/" + rest
	}
	return m.Path + rest
}

func (m kvMount) metadata(rest string) string {
	if m.Version == 2 {
		return m.Path + "metadata/" + rest
	}
	return m.Path + rest
}

// kvMounts lists the mounts that the token may see.
func (u *UI) kvMounts(w http.ResponseWriter, r *http.Request, s *session) {
	q := &query{u: u, r: r, s: s}
	v := view{Title: "Secrets", Page: "secrets/", CLI: []string{"sealgate secrets list"}}
	all, err := q.kvAll()
	if err != nil {
		v.Problem = problemOf(err)
	}
	v.Data = map[string]any{"Mounts": all}
	u.show(w, r, "kvmounts", v)
}

func (q *query) kvAll() ([]kvMount, error) {
	var visible struct {
		Secret map[string]struct {
			Type    string
			Options map[string]string
		}
	}
	if err := q.get("sys/internal/ui/mounts", &visible); err != nil {
		return nil, err
	}
	var all []kvMount
	for _, path := range slices.Sorted(maps.Keys(visible.Secret)) {
		m := visible.Secret[path]
		if m.Type != "kv" && m.Type != "generic" && m.Type != "cubbyhole" {
			continue
		}
		one := kvMount{Path: path, Version: 1}
		if m.Options["version"] == "2" {
			one.Version = 2
		}
		all = append(all, one)
	}
	return all, nil
}

// kvAt finds the mount of a path.
func (q *query) kvAt(path string) (kvMount, error) {
	all, err := q.kvAll()
	if err != nil {
		return kvMount{}, err
	}
	best := kvMount{}
	for _, m := range all {
		if rest, ok := strings.CutPrefix(path+"/", m.Path); ok && len(m.Path) > len(best.Path) {
			best, best.Rest = m, strings.TrimSuffix(rest, "/")
			if strings.HasSuffix(path, "/") && best.Rest != "" {
				best.Rest += "/"
			}
		}
	}
	if best.Path == "" {
		return best, &problem{Status: http.StatusNotFound, Text: "There is no key-value engine at this path."}
	}
	return best, nil
}

// kvPage is a folder or a secret.
type kvPage struct {
	Mount    kvMount
	Crumbs   []crumb
	Folders  []string
	Names    []string
	Listing  bool
	Secret   *kvSecret
	Typed    string // what was typed and not saved
	Conflict bool   // somebody else wrote meanwhile
	MayWrite bool
	Policy   string // what would allow writing
}

type crumb struct{ Name, Path string }

// kvSecret is one version of a secret.
type kvSecret struct {
	Name     string
	Values   []kvValue
	JSON     string
	Version  int
	Current  int
	Deleted  string
	Gone     bool // deleted or destroyed: it has no values
	Versions []kvVersion
	With     int // the other version of a comparison
	Diff     []kvChange
}

type kvValue struct{ Key, Value string }

type kvVersion struct {
	Number    int
	Created   string `json:"created_time"`
	Deleted   string `json:"deletion_time"`
	Destroyed bool
}

// kvChange is one key of a comparison; absent values are empty.
type kvChange struct{ Key, Kind, Old, New string }

func (u *UI) kvShow(w http.ResponseWriter, r *http.Request, s *session) {
	q := &query{u: u, r: r, s: s}
	u.showKV(w, q, r.PathValue("path"), kvPage{}, nil)
}

// showKV renders a path, with what was typed and why it failed.
func (u *UI) showKV(w http.ResponseWriter, q *query, path string, d kvPage, failed error) {
	v := view{Title: "Secrets", Page: "secrets/"}
	m, err := q.kvAt(path)
	if err == nil {
		d.Mount, d.Crumbs = m, breadcrumbs(m)
		if m.Rest == "" || strings.HasSuffix(m.Rest, "/") {
			v.CLI = []string{"sealgate kv list " + m.Path + m.Rest}
			err = q.kvList(m, &d)
		} else {
			v.Title = m.Path + m.Rest
			v.CLI = []string{
				"sealgate kv get " + m.Path + m.Rest,
				`curl -H "X-Vault-Token: $VAULT_TOKEN" $VAULT_ADDR/v1/` + escapePath(m.data(m.Rest)),
			}
			err = q.kvRead(m, &d)
		}
	}
	if failed == nil {
		failed = err
	}
	if failed != nil {
		v.Problem = problemOf(failed)
	}
	v.Data = d
	u.show(w, q.r, "kv", v)
}

// breadcrumbs are the folders above a path.
func breadcrumbs(m kvMount) []crumb {
	all := []crumb{{Name: strings.TrimSuffix(m.Path, "/"), Path: m.Path}}
	at := m.Path
	for _, part := range strings.Split(strings.TrimSuffix(m.Rest, "/"), "/") {
		if part == "" {
			continue
		}
		at += part + "/"
		all = append(all, crumb{Name: part, Path: at})
	}
	return all
}

func (q *query) kvList(m kvMount, d *kvPage) error {
	d.Listing = true
	names, err := q.list(m.metadata(m.Rest))
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			d.Folders = append(d.Folders, name)
		} else {
			d.Names = append(d.Names, name)
		}
	}
	return err
}

func (q *query) kvRead(m kvMount, d *kvPage) error {
	can, err := q.capabilities([]string{m.data(m.Rest)})
	if err != nil {
		return err
	}
	names := can[m.data(m.Rest)]
	d.MayWrite = slices.Contains(names, "root") || slices.Contains(names, "update") || slices.Contains(names, "create")
	if !d.MayWrite {
		d.Policy = policyLine(m.data(m.Rest), "update", false)
	}
	s := &kvSecret{Name: m.Rest}
	d.Secret = s
	if m.Version == 1 {
		return q.kvReadOne(m, s)
	}
	version, _ := strconv.Atoi(q.r.URL.Query().Get("version"))
	if err := q.kvReadVersion(m, s, version); err != nil {
		return err
	}
	q.kvHistory(m, s)
	if with, _ := strconv.Atoi(q.r.URL.Query().Get("with")); with > 0 && with != s.Version {
		other := &kvSecret{}
		if err := q.kvReadVersion(m, other, with); err != nil {
			return err
		}
		s.With, s.Diff = with, compare(other.Values, s.Values)
	}
	return nil
}

// kvReadOne reads a secret of version 1 of the engine.
func (q *query) kvReadOne(m kvMount, s *kvSecret) error {
	values := map[string]any{}
	a, err := q.do(ask{method: http.MethodGet, path: m.data(m.Rest)})
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer clear(a.body)
	if err := a.decode(&values); err != nil {
		return err
	}
	s.fill(values)
	return nil
}

// absent reports whether there is nothing to read.
func absent(err error) bool {
	refused, ok := err.(*refusal)
	return ok && refused.status == http.StatusNotFound
}

func (q *query) kvReadVersion(m kvMount, s *kvSecret, version int) error {
	one := ask{method: http.MethodGet, path: m.data(m.Rest)}
	if version > 0 {
		one.params = url.Values{"version": {strconv.Itoa(version)}}
	}
	a, err := q.do(one)
	if err != nil && !absent(err) {
		return err
	}
	var out struct {
		Data struct {
			Data     map[string]any
			Metadata struct {
				Version      int
				DeletionTime string `json:"deletion_time"`
				Destroyed    bool
			}
		}
	}
	if len(a.body) > 0 && a.decodeWhole(&out) != nil {
		return nil // a refusal without data: there is no such secret
	}
	defer clear(a.body)
	s.Version, s.Deleted = out.Data.Metadata.Version, out.Data.Metadata.DeletionTime
	s.Gone = s.Version > 0 && out.Data.Data == nil
	s.fill(out.Data.Data)
	return nil
}

// fill sets the values, sorted by key.
func (s *kvSecret) fill(values map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text, ok := values[key].(string)
		if !ok {
			raw, err := json.Marshal(values[key])
			if err != nil {
				continue // decoded JSON always encodes again
			}
			text = string(raw)
		}
		s.Values = append(s.Values, kvValue{key, text})
	}
	if raw, err := json.MarshalIndent(values, "", "  "); err == nil && values != nil {
		s.JSON = string(raw)
	}
}

// kvHistory reads the list of versions, if the token may.
func (q *query) kvHistory(m kvMount, s *kvSecret) {
	var out struct {
		CurrentVersion int `json:"current_version"`
		Versions       map[string]kvVersion
	}
	if q.get(m.metadata(m.Rest), &out) != nil {
		s.Current = s.Version
		return
	}
	s.Current = out.CurrentVersion
	for number, one := range out.Versions {
		one.Number, _ = strconv.Atoi(number)
		s.Versions = append(s.Versions, one)
	}
	slices.SortFunc(s.Versions, func(a, b kvVersion) int { return b.Number - a.Number })
}

// compare lists what changed from one set of values to another.
func compare(before, after []kvValue) []kvChange {
	was, is := map[string]string{}, map[string]string{}
	for _, v := range before {
		was[v.Key] = v.Value
	}
	for _, v := range after {
		is[v.Key] = v.Value
	}
	keys := map[string]bool{}
	for k := range was {
		keys[k] = true
	}
	for k := range is {
		keys[k] = true
	}
	var out []kvChange
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		before, had := was[k]
		after, has := is[k]
		switch {
		case !had:
			out = append(out, kvChange{k, "added", "", after})
		case !has:
			out = append(out, kvChange{k, "removed", before, ""})
		case before != after:
			out = append(out, kvChange{k, "changed", before, after})
		}
	}
	return out
}

// kvWrite saves, deletes or restores a secret.
func (u *UI) kvWrite(w http.ResponseWriter, r *http.Request, f *form) {
	s := u.Sessions.find(r)
	if s == nil {
		u.toLogin(w, r)
		return
	}
	q := &query{u: u, r: r, s: s}
	path := r.PathValue("path")
	if name := strings.Trim(f.text("name"), "/"); name != "" {
		u.redirect(w, "/ui/secrets/"+escapePath(path+name)) // a new secret begins as an empty page
		return
	}
	m, err := q.kvAt(path)
	if err == nil {
		err = q.kvChange(m, f)
	}
	if err != nil {
		d := kvPage{Typed: f.text("data")}
		if strings.Contains(err.Error(), "check-and-set") {
			d.Conflict = true
			err = &problem{Status: http.StatusConflict, Text: "Somebody else saved a newer version while you were writing. " +
				"Nothing was overwritten: your text is below, and the newest version above it. Save again to replace it."}
		}
		u.showKV(w, q, path, d, err)
		return
	}
	u.Sessions.notify(s, "Saved.")
	u.redirect(w, "/ui/secrets/"+escapePath(path))
}

// kvChange makes the request of a form.
func (q *query) kvChange(m kvMount, f *form) error {
	switch f.text("op") {
	case "delete":
		_, err := q.do(ask{method: http.MethodDelete, path: m.data(m.Rest)})
		return err
	case "undelete":
		version, err := strconv.Atoi(f.text("version"))
		if err != nil {
			return &problem{Status: http.StatusBadRequest, Text: "The version is not a number."}
		}
		return q.post(m.Path+"undelete/"+m.Rest, map[string]any{"versions": []int{version}}, nil)
	}
	values := map[string]any{}
	if err := json.Unmarshal([]byte(f.text("data")), &values); err != nil {
		return &problem{Status: http.StatusBadRequest, Field: "data",
			Text: fmt.Sprintf("The data is not a JSON object: %v. Write it as {\"key\": \"value\"}.", err)}
	}
	if m.Version == 1 {
		return q.post(m.data(m.Rest), values, nil)
	}
	cas, err := strconv.Atoi(f.text("cas"))
	if err != nil {
		return &problem{Status: http.StatusBadRequest, Text: "The version that you began with is not a number."}
	}
	return q.post(m.data(m.Rest), map[string]any{"data": values, "options": map[string]any{"cas": cas}}, nil)
}
