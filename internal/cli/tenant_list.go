package cli

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// tenantState is a tenant's line in the list.
type tenantState struct {
	Tenant string `json:"tenant"`
	tenant
	State    string       `json:"state"` // "active", "suspended", "incomplete"
	Latest   int          `json:"latest_version,omitempty"`
	Oldest   int          `json:"min_decryption_version,omitempty"`
	Versions []versionUse `json:"used_versions"`
}

// versionUse is a version of a key that was used, so that something needs it.
type versionUse struct {
	Version int       `json:"version"`
	Count   int64     `json:"count"`
	Last    time.Time `json:"last_time"`
	By      string    `json:"last_display_name"`
}

func tenantListCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator tenant list", synopsis: "List the tenants, and the key versions they use",
		about: `Lists the tenants that "operator tenant add" has made: state, key, the key versions that were used, and the
last use. A version that is used is needed: see transit/keys/<key>/use.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int { return listTenants(b, client) })
		}}
}

func listTenants(b *base, client *api.Client) int {
	all, err := allTenants(client)
	if err != nil {
		return b.fail("listing the tenants", err)
	}
	states := []*tenantState{}
	for _, t := range all {
		st, err := t.state(client)
		if err != nil {
			return b.fail("reading the key of the tenant "+t.Name, err)
		}
		states = append(states, st)
	}
	if b.format() != "table" {
		return b.encode(states)
	}
	rows := [][]string{}
	for _, s := range states {
		last, by, used := s.lastUse()
		rows = append(rows, []string{s.Tenant, s.State, s.Client, s.Auth, s.Mount + "/keys/" + s.Key, used, last, by})
	}
	b.printf("%s", table([]string{"Tenant", "State", "Client", "Auth", "Key", "Used Versions", "Last Use", "By"}, rows))
	return exitOK
}

// lastUse are the cells of the table that the census fills.
func (s *tenantState) lastUse() (last, by, used string) {
	if s.Latest == 0 {
		return "", "", ""
	}
	var numbers []string
	var newest versionUse
	for _, u := range s.Versions {
		numbers = append(numbers, strconv.Itoa(u.Version))
		if u.Last.After(newest.Last) {
			newest = u
		}
	}
	used = cmp.Or(strings.Join(numbers, ", "), "none") + " of " + strconv.Itoa(s.Latest)
	if newest.Version == 0 {
		return "never", "", used
	}
	return newest.Last.UTC().Format(time.RFC3339), newest.By, used
}

// state reads the tenant's key and its census.
func (t *tenant) state(client *api.Client) (*tenantState, error) {
	s := &tenantState{Tenant: t.Name, tenant: *t, State: "incomplete", Versions: []versionUse{}}
	path := t.Mount + "/keys/" + t.Key
	var key struct {
		Latest      int  `json:"latest_version"`
		Oldest      int  `json:"min_decryption_version"`
		SoftDeleted bool `json:"soft_deleted"`
	}
	found, err := readInto(client, path, &key)
	if err != nil || !found {
		return s, err
	}
	s.Latest, s.Oldest = key.Latest, key.Oldest
	switch {
	case key.SoftDeleted:
		s.State = "suspended"
	case t.Auth == "cert" || t.Accessor != "":
		s.State = "active"
	}
	var census struct {
		Versions map[int]*versionUse `json:"versions"`
	}
	if _, err := readInto(client, path+"/use", &census); err != nil {
		return nil, err
	}
	for _, n := range slices.Sorted(maps.Keys(census.Versions)) {
		if u := census.Versions[n]; u != nil && u.Count > 0 {
			u.Version = n
			s.Versions = append(s.Versions, *u)
		}
	}
	return s, nil
}

// readInto reads a path's data. An absent path is no error.
func readInto(client *api.Client, path string, into any) (found bool, err error) {
	s, err := send(client, http.MethodGet, path, nil)
	if answered(err) == http.StatusNotFound {
		return false, nil
	}
	if err != nil || s == nil {
		return false, err
	}
	raw, err := json.Marshal(s.Data)
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(raw, into)
}
