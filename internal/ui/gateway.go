package ui

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/clients"
)

// versionUse is a version of a transit key, with what is known of its use.
type versionUse struct {
	Version int
	Created string
	Count   int64
	Last    string `json:"last_time"`
	By      string `json:"last_display_name"`
}

// keyVersions are the versions of the transit key that the page shows in full.
type keyVersions struct {
	Path       string // "transit/orders"
	Latest     int
	Decryption int // from this version on
	Versions   []versionUse
}

// versions reads the versions of a key, newest first.
func (q *query) versions(path string) (*keyVersions, error) {
	at := strings.LastIndexByte(path, '/')
	if at < 1 || at == len(path)-1 || strings.Contains("/"+path+"/", "/../") {
		return nil, &problem{Status: http.StatusBadRequest, Text: "There is no such key."}
	}
	key := path[:at] + "/keys/" + path[at+1:]
	var k struct {
		Latest     int `json:"latest_version"`
		Decryption int `json:"min_decryption_version"`
		Keys       map[string]json.RawMessage
	}
	if err := q.get(key, &k); err != nil {
		return nil, err
	}
	var use struct{ Versions map[string]versionUse }
	if err := q.get(key+"/use", &use); err != nil {
		return nil, err
	}
	out := &keyVersions{Path: path, Latest: k.Latest, Decryption: k.Decryption}
	for text, raw := range k.Keys {
		v := use.Versions[text]
		v.Version, _ = strconv.Atoi(text) // the server wrote it
		v.Created = created(raw)
		out.Versions = append(out.Versions, v)
	}
	slices.SortFunc(out.Versions, func(a, b versionUse) int { return b.Version - a.Version })
	return out, nil
}

// created is the time at which a version was made: seconds for symmetric keys, else a member.
func created(raw json.RawMessage) string {
	var seconds int64
	if json.Unmarshal(raw, &seconds) == nil {
		return unixTime(seconds)
	}
	var public struct {
		Created string `json:"creation_time"`
	}
	_ = json.Unmarshal(raw, &public) // a version of another kind has no time
	return public.Created
}

// kmsPage shows the sockets of Kubernetes, and the other gateways of the node.
func kmsPage() *page {
	return &page{
		slug: "gateways", title: "Kubernetes and gateways", group: "gateway",
		intro: "The protocols that this node speaks beside its own API. An API server encrypts its secrets through a " +
			"KMS v2 socket; AWS KMS uses keys here through the external key store proxy.",
		cli: []string{"sealgate read sys/gateways", "sealgate kms-plugin check -socket SOCKET"},
		load: func(q *query) (any, error) {
			var d struct {
				Gateways []struct {
					Name, Type, Address, Mount, Key, Healthz, Error string
					Version                                         int    `json:"key_version"`
					Hash                                            string `json:"key_id_hash"`
					Proven                                          string `json:"last_proof"`
				}
			}
			err := q.get("sys/gateways", &d)
			return d, err
		},
		actions: []action{},
	}
}

// tenantRow is a tenant with the state of its key.
type tenantRow struct {
	Name string
	clients.Tenant
	State string
	Used  string // versions
	Last  string
	By    string
}

// shownTenants bounds the reads of the tenants' page.
const shownTenants = 100

func tenantsPage() *page {
	hidden := []field{
		{Name: "mount", Label: "Path", Kind: "hidden", Required: true, inPath: true},
		{Name: "key", Label: "Key", Kind: "hidden", Required: true, inPath: true},
	}
	return &page{
		slug: "tenants", title: "tenants", group: "gateway",
		intro: "A tenant is another system with a key and a credential of its own here, such as a Vault or OpenBao that " +
			"unseals through this server.",
		cli:  []string{"sealgate operator tenant list", "sealgate operator tenant add NAME"},
		load: loadTenants,
		actions: []action{
			{
				Name: "suspend", Title: "Suspend", Path: "{mount}/keys/{key}/soft-delete", Method: http.MethodDelete, Row: true,
				Danger: true, CLI: "sealgate operator tenant suspend NAME", Fields: hidden,
				Done: "Every use of the tenant's key is refused from now on. Nothing is lost.",
			},
			{
				Name: "resume", Title: "Resume", Path: "{mount}/keys/{key}/soft-delete-restore", Row: true,
				CLI: "sealgate operator tenant resume NAME", Fields: hidden, Done: "The tenant's key may be used again.",
			},
		},
	}
}

func loadTenants(q *query) (any, error) {
	var d struct {
		Tenants []tenantRow
		More    int
	}
	names, err := q.list("sys/policies/acl")
	if err != nil {
		return d, err
	}
	for _, policy := range names {
		name, ok := strings.CutPrefix(policy, clients.TenantPrefix)
		if !ok {
			continue
		}
		if len(d.Tenants) >= shownTenants {
			d.More++
			continue
		}
		var p struct{ Policy string }
		if err := q.get("sys/policies/acl/"+policy, &p); err != nil {
			return d, err
		}
		t, ok := clients.TenantOf(p.Policy)
		if !ok {
			continue // another policy with such a name
		}
		row := tenantRow{Name: name, Tenant: t}
		q.keyState(&row)
		d.Tenants = append(d.Tenants, row)
	}
	return d, nil
}

// keyState fills the state of the tenant's key. Where it cannot be read, the row says so.
func (q *query) keyState(row *tenantRow) {
	var k struct {
		SoftDeleted bool `json:"soft_deleted"`
	}
	if err := q.get(row.Mount+"/keys/"+row.Key, &k); err != nil {
		row.State = "key cannot be read: " + problemOf(err).Text
		return
	}
	row.State = "active"
	if k.SoftDeleted {
		row.State = "suspended"
	}
	v, err := q.versions(row.Mount + "/" + row.Key)
	if err != nil {
		row.Used = "unknown: " + problemOf(err).Text
		return
	}
	var used []string
	for _, one := range v.Versions {
		if one.Count == 0 {
			continue
		}
		used = append(used, strconv.Itoa(one.Version))
		if row.Last == "" || one.Last > row.Last { // RFC 3339 in UTC sorts by time
			row.Last, row.By = one.Last, one.By
		}
	}
	slices.Reverse(used)
	row.Used = cmp.Or(strings.Join(used, ", "), "none") + " of " + strconv.Itoa(v.Latest)
}
