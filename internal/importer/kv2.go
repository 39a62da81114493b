package importer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// marker is the entry of the custom metadata of a secret that is being imported. It is written
// before the first version and removed by the write that ends the copy, so that the next run
// knows a copy that was interrupted from a secret that others made.
const marker = "sealgate-import"

// metadata is that of a kv version 2 secret.
type metadata struct {
	Current     int             `json:"current_version"`
	MetaVersion int             `json:"current_metadata_version"`
	MaxVersions int             `json:"max_versions"`
	CAS         bool            `json:"cas_required"`
	MetaCAS     bool            `json:"metadata_cas_required"`
	DeleteAfter string          `json:"delete_version_after"`
	Custom      map[string]any  `json:"custom_metadata"`
	Versions    map[int]version `json:"versions"`
}

type version struct {
	Deletion  string `json:"deletion_time"`
	Destroyed bool   `json:"destroyed"`
}

// State of a version.
const (
	live = iota
	expiring
	deleted
	destroyed
)

func (v version) state(now time.Time) int {
	at, err := time.Parse(time.RFC3339Nano, v.Deletion)
	switch {
	case v.Destroyed:
		return destroyed
	case v.Deletion == "" || err != nil:
		return live
	case at.After(now):
		return expiring
	}
	return deleted
}

func (m *metadata) held() []int { return slices.Sorted(maps.Keys(m.Versions)) }

func (m *metadata) marked() bool { return m.Custom[marker] != nil }

// first is the oldest version that is kept.
func (m *metadata) first() int {
	if held := m.held(); len(held) > 0 {
		return held[0]
	}
	return m.Current + 1
}

// settings are the fields of a metadata write.
func (m *metadata) settings() map[string]any {
	custom := m.Custom
	if custom == nil {
		custom = map[string]any{}
	}
	return map[string]any{"max_versions": m.MaxVersions, "cas_required": m.CAS, "metadata_cas_required": m.MetaCAS,
		"delete_version_after": m.DeleteAfter, "custom_metadata": custom}
}

func (m *metadata) plain() bool {
	return len(differing(m.settings(), map[string]any{"max_versions": 0, "delete_version_after": "0s"})) == 0 &&
		m.MaxVersions == 0
}

// kv2 copies a kv mount with versions: its configuration, then its secrets.
func (r *run) kv2(ctx context.Context, mount string) error {
	if err := r.copyDocument(ctx, document{kind: "kv configuration", path: mount + "/config", given: true}); err != nil {
		return err
	}
	return r.walk(ctx, "secret", mount+"/metadata", func(ctx context.Context, name string) error {
		s := &secretCopy{run: r, mount: mount, name: name, item: Item{Kind: "secret", Path: mount + "/" + name}}
		err := s.copy(ctx)
		return r.settle(ctx, s.item, err)
	})
}

// secretCopy is the copy of one secret with its versions.
type secretCopy struct {
	*run
	mount, name string
	item        Item
	want        *metadata
}

func (s *secretCopy) path(endpoint string) string { return s.mount + "/" + endpoint + "/" + s.name }

func (s *secretCopy) metadata(ctx context.Context, of side) (*metadata, error) {
	m := &metadata{}
	found, err := of.read(ctx, s.path("metadata"), nil, m)
	if err != nil || !found {
		return nil, err
	}
	return m, nil
}

func (s *secretCopy) copy(ctx context.Context) error {
	want, err := s.metadata(ctx, s.from)
	if err == nil && want == nil {
		err = left("the source lists it and does not show it")
	}
	if err != nil {
		return err
	}
	s.want = want
	s.note()
	have, err := s.metadata(ctx, s.to)
	if err != nil {
		return err
	}
	s.item.Outcome = Created
	if have != nil {
		why, err := s.compare(ctx, have)
		switch {
		case err != nil:
			return err
		case why == "" && !have.marked():
			s.item.Outcome = Same
			return nil
		case why == "": // a copy that was interrupted
		default:
			if err := s.clash("%s", why); err != nil {
				return err
			}
			if s.item.Outcome = Updated; s.DryRun {
				return nil
			}
			if _, err := s.to.call(ctx, http.MethodDelete, s.path("metadata"), nil, nil); err != nil {
				return err
			}
			have = nil
		}
	}
	if n := s.placeholders(have); n > s.Gap {
		return left("it needs %d empty versions to keep the numbers of its versions, and -gap allows %d", n, s.Gap)
	}
	if s.DryRun {
		return nil
	}
	return s.bring(ctx, have)
}

// note says what of the secret is not kept.
func (s *secretCopy) note() {
	var gone []string
	for _, n := range s.want.held() {
		if s.want.Versions[n].state(s.Now()) == deleted {
			gone = append(gone, strconv.Itoa(n))
		}
	}
	if len(gone) > 0 {
		s.item.Notes = append(s.item.Notes, fmt.Sprintf("the content of deleted versions cannot be read, and they cannot be "+
			"undeleted at the destination: %v", gone))
	}
	if d, err := time.ParseDuration(s.want.DeleteAfter); err == nil && d > 0 {
		s.item.Notes = append(s.item.Notes, "delete_version_after counts from the import")
	}
}

// placeholders counts the versions without content that are still to be written.
func (s *secretCopy) placeholders(have *metadata) (n int) {
	from := 1
	if have != nil {
		from = have.Current + 1
	}
	n = s.want.Current - from + 1
	for v, of := range s.want.Versions {
		if state := of.state(s.Now()); v >= from && (state == live || state == expiring) {
			n--
		}
	}
	return n
}

// compare returns how the secret at the destination differs. Of a copy that was interrupted it
// compares what is there.
func (s *secretCopy) compare(ctx context.Context, have *metadata) (string, error) {
	want, partial := s.want, have.marked()
	switch {
	case have.Current > want.Current:
		return fmt.Sprintf("the destination has %d versions, the source %d", have.Current, want.Current), nil
	case !partial && have.Current < want.Current:
		return fmt.Sprintf("the destination has version %d, the source %d", have.Current, want.Current), nil
	}
	if !partial {
		if fields := differing(want.settings(), have.settings()); len(fields) > 0 {
			return fmt.Sprintf("other settings at the destination: %v", fields), nil
		}
		if !slices.Equal(want.held(), have.held()) {
			return "the destination keeps other versions", nil
		}
	}
	now := s.Now()
	for _, n := range have.held() {
		a, b := want.Versions[n].state(now), have.Versions[n].state(now)
		if _, kept := want.Versions[n]; !kept || a > expiring && (partial || b == expiring) {
			continue // of a partial copy, the state is set at its end; a version may expire later here
		}
		if a > expiring && a == b {
			continue
		}
		if a > expiring || b > expiring {
			return fmt.Sprintf("version %d is deleted or destroyed at one of the two", n), nil
		}
		same, err := s.sameContent(ctx, n)
		if err != nil || !same {
			return fmt.Sprintf("another content of version %d at the destination", n), err
		}
	}
	return "", nil
}

func (s *secretCopy) content(ctx context.Context, of side, n int) (json.RawMessage, error) {
	var out struct {
		Data json.RawMessage `json:"data"`
	}
	_, err := of.read(ctx, s.path("data"), url.Values{"version": {strconv.Itoa(n)}}, &out)
	if err == nil && empty(out.Data) { // deleted meanwhile, or written as null
		out.Data = json.RawMessage("{}")
	}
	return out.Data, err
}

func (s *secretCopy) sameContent(ctx context.Context, n int) (bool, error) {
	a, err := s.content(ctx, s.from, n)
	if err != nil {
		return false, err
	}
	defer clear(a)
	b, err := s.content(ctx, s.to, n)
	if err != nil {
		return false, err
	}
	defer clear(b)
	var x, y any
	if decode(a, &x) != nil || decode(b, &y) != nil {
		return false, nil
	}
	return equal(x, y), nil
}

// bring writes the versions that are missing. Each write names the version before it, so that a
// version that somebody else writes meanwhile ends the copy and is not overwritten.
func (s *secretCopy) bring(ctx context.Context, have *metadata) error {
	want := s.want
	if have == nil && want.plain() && want.Current == 1 && want.Versions[1].state(s.Now()) == live {
		return s.writeVersion(ctx, 1) // one atomic write
	}
	if have == nil {
		first := map[string]any{"max_versions": max(1, want.Current-want.first()+1),
			"delete_version_after": want.DeleteAfter, "metadata_cas": 0, "custom_metadata": map[string]any{marker: "running"}}
		if err := s.to.write(ctx, s.path("metadata"), first); err != nil {
			return err
		}
		have = &metadata{}
	}
	for n := have.Current + 1; n <= want.Current; n++ {
		if err := s.writeVersion(ctx, n); err != nil {
			return err
		}
	}
	return s.conclude(ctx)
}

func (s *secretCopy) writeVersion(ctx context.Context, n int) error {
	data := json.RawMessage("{}")
	if v, kept := s.want.Versions[n]; kept && v.state(s.Now()) <= expiring {
		var err error
		if data, err = s.content(ctx, s.from, n); err != nil {
			return err
		}
	}
	defer clear(data)
	return s.to.write(ctx, s.path("data"), map[string]any{"data": data, "options": map[string]int{"cas": n - 1}})
}

// conclude sets the state of each version, then the final settings, which remove the marker.
func (s *secretCopy) conclude(ctx context.Context) error {
	gone := map[string][]int{}
	for _, n := range s.want.held() {
		switch s.want.Versions[n].state(s.Now()) {
		case deleted:
			gone["delete"] = append(gone["delete"], n)
		case destroyed:
			gone["destroy"] = append(gone["destroy"], n)
		}
	}
	for endpoint, versions := range gone {
		if err := s.to.write(ctx, s.path(endpoint), map[string]any{"versions": versions}); err != nil {
			return err
		}
	}
	have, err := s.metadata(ctx, s.to)
	if err == nil && (have == nil || have.Current != s.want.Current || !have.marked()) {
		err = differs("the secret was changed at the destination during the import")
	}
	if err != nil {
		return err
	}
	settings := s.want.settings()
	settings["metadata_cas"] = have.MetaVersion
	return s.to.write(ctx, s.path("metadata"), settings)
}
