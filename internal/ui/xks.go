package ui

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// xksStore is an external key store of AWS KMS.
type xksStore struct {
	Mount, Name string
	URIPath     string `json:"uri_path"`
	Region      string
	Disabled    bool
	FirstUse    string `json:"first_use"`
	HealthKey   string `json:"health_key"`
	Policies    []string
	Credentials []struct {
		ID      string `json:"access_key_id"`
		Created string
		Used    string `json:"last_used"`
	}
	Keys []xksKey
	More int
}

// xksKey is an external key of a store.
type xksKey struct {
	ID, Key   string
	Pinned    string `json:"kms_key_arn"`
	Proposed  string `json:"proposed_kms_key_arn"`
	Disabled  bool
	NoEncrypt bool `json:"no_encrypt"`
	NoDecrypt bool `json:"no_decrypt"`
}

func xksPage() *page {
	mount := field{Name: "mount", Label: "Path of the engine", Kind: "text", Required: true, Value: "xks", inPath: true}
	store := field{Name: "store", Label: "Store", Kind: "text", Required: true, inPath: true}
	key := field{Name: "id", Label: "External key id", Kind: "text", Required: true, inPath: true}
	return &page{
		slug: "xks", title: "AWS key stores", group: "gateway",
		intro: "AWS KMS encrypts with keys that stay here. A store is one prefix of the proxy with its credentials; each " +
			"of its external keys belongs to one KMS key.",
		cli:  []string{"sealgate list xks/stores", "sealgate read xks/stores/NAME", "sealgate doctor xks"},
		load: loadXKS,
		actions: append([]action{
			{
				Name: "create", Title: "Make a store", Path: storePath,
				CLI: "sealgate operator xks store create <store> -prefix=<prefix> -region=<region> -policies=<policies>",
				Fields: []field{mount, store,
					{Name: "prefix", Label: "Prefix", Kind: "text", Required: true, Value: "/store-",
						Hint: "Comes before /kms/xks/v1: a slash, then 8 to 116 letters, digits, -, _ or /."},
					{Name: "region", Label: "Region", Kind: "text", omit: true, Hint: "Of the AWS KMS that may sign. Empty: any."},
					{Name: "policies", Label: "Policies", Kind: "lines", Required: true,
						Hint: "One a line. They decide on the transit keys; never root."},
					{Name: "health_key", Label: "Key of the health check", Kind: "text", Value: "transit/xks-health"},
					{Name: "first_use", Label: "A KMS key that uses an external key first", Kind: "choice", Value: "deny",
						Values: []string{"deny", "allow"}},
				},
				Done: "The store is made. Make a credential for it next.",
			},
			{
				Name: "credential", Title: "Make a credential", Path: storePath + "/credentials", Result: "credential",
				Intro: "The credentials before stay valid until you remove them.",
				CLI:   "sealgate operator xks store rotate-credential <store>", Fields: []field{mount, store},
				finish: func(_ *query, _ *form, answer map[string]any) (map[string]any, error) {
					data, _ := answer["data"].(map[string]any)
					text, err := json.MarshalIndent(data["configuration"], "", "  ")
					return map[string]any{"Text": string(text)}, err
				},
			},
			{
				Name: "key", Title: "Add an external key", Path: keyPath,
				CLI: "sealgate write <mount>/stores/<store>/keys/<id> key=<key> kms_key_arn=<kms_key_arn>",
				Fields: []field{mount, store, key,
					{Name: "key", Label: "Transit key", Kind: "text", Required: true, Hint: "Such as transit/orders."},
					{Name: "kms_key_arn", Label: "ARN of the KMS key", Kind: "text", omit: true,
						Hint: "The one KMS key that may use it. Empty: as the store's rule for the first use says."},
				},
				Done: "The external key is there.",
			},
		}, xksRowActions(mount, store, key)...),
	}
}

// The paths of a store and of one of its external keys.
const storePath, keyPath = "{mount}/stores/{store}", "{mount}/stores/{store}/keys/{id}"

// xksRowActions are the actions on one store, credential or external key.
func xksRowActions(mount, store, key field) []action {
	return []action{
		onRow(action{Name: "stop-store", Title: "Stop the store", Path: storePath, Danger: true,
			CLI:    "sealgate write xks/stores/NAME disabled=true",
			Done:   "From now on the store answers AWS with InvalidStateException.",
			Fields: []field{mount, store}, prepare: setDisabled(true)}),
		onRow(action{Name: "start-store", Title: "Start the store", Path: storePath,
			CLI:    "sealgate write xks/stores/NAME disabled=false",
			Done:   "The store answers again.",
			Fields: []field{mount, store}, prepare: setDisabled(false)}),
		onRow(action{Name: "stop-key", Title: "Stop the key", Path: keyPath, Danger: true,
			CLI:    "sealgate write xks/stores/NAME/keys/ID disabled=true",
			Done:   "AWS KMS is refused every use of the key from now on.",
			Fields: []field{mount, store, key}, prepare: setDisabled(true)}),
		onRow(action{Name: "start-key", Title: "Allow the key", Path: keyPath,
			CLI:    "sealgate write xks/stores/NAME/keys/ID disabled=false",
			Done:   "AWS KMS may use the key again.",
			Fields: []field{mount, store, key}, prepare: setDisabled(false)}),
		onRow(action{Name: "confirm", Title: "Confirm the KMS key", Path: keyPath + "/confirm",
			CLI:    "sealgate write xks/stores/NAME/keys/ID/confirm kms_key_arn=ARN",
			Done:   "Only this KMS key may use the external key from now on.",
			Fields: []field{mount, store, key, {Name: "kms_key_arn", Label: "ARN", Required: true}}}),
		onRow(action{Name: "remove-credential", Title: "Remove the credential", Danger: true,
			Path: storePath + "/credentials/{access_key_id}", Method: http.MethodDelete,
			CLI:    "sealgate operator xks store rotate-credential NAME -remove=ID",
			Done:   "The credential is removed.",
			Fields: []field{mount, store, {Name: "access_key_id", Required: true, inPath: true}}}),
	}
}

// onRow makes an action belong to one row of the page, which fills its fields.
func onRow(a action) action {
	a.Row = true
	for i := range a.Fields {
		a.Fields[i].Kind = "hidden"
	}
	return a
}

// setDisabled adds the setting to the body of a request.
func setDisabled(to bool) func(map[string]any) error {
	return func(body map[string]any) error {
		body["disabled"] = to
		return nil
	}
}

// shownStores and shownExternal bound the reads of the page.
const (
	shownStores   = 20
	shownExternal = 50
)

func loadXKS(q *query) (any, error) {
	var d struct {
		Stores  []xksStore
		More    int
		Mounted bool
	}
	var visible struct {
		Secret map[string]struct{ Type string }
	}
	if err := q.get("sys/internal/ui/mounts", &visible); err != nil {
		return d, err
	}
	for path, m := range visible.Secret {
		if m.Type != "xks" {
			continue
		}
		d.Mounted = true
		names, err := q.list(path + "stores")
		if err != nil {
			return d, err
		}
		for _, name := range names {
			if len(d.Stores) >= shownStores {
				d.More++
				continue
			}
			s, err := q.xksStore(strings.TrimSuffix(path, "/"), name)
			if err != nil {
				return d, err
			}
			d.Stores = append(d.Stores, s)
		}
	}
	slices.SortFunc(d.Stores, func(a, b xksStore) int { return strings.Compare(a.Mount+"/"+a.Name, b.Mount+"/"+b.Name) })
	return d, nil
}

// xksStore reads a store and its keys.
func (q *query) xksStore(mount, name string) (xksStore, error) {
	s := xksStore{}
	at := mount + "/stores/" + name
	if err := q.get(at, &s); err != nil {
		return s, err
	}
	s.Mount, s.Name = mount, name
	ids, err := q.list(at + "/keys")
	if err != nil {
		return s, err
	}
	for _, id := range ids {
		if len(s.Keys) >= shownExternal {
			s.More++
			continue
		}
		k := xksKey{}
		if err := q.get(at+"/keys/"+id, &k); err != nil {
			return s, err
		}
		k.ID = id
		s.Keys = append(s.Keys, k)
	}
	return s, nil
}

func unixTime(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
