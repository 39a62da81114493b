package ui

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// transitKey is one key of a transit engine.
type transitKey struct {
	Mount, Name, Type string
	LatestVersion     int  `json:"latest_version"`
	MinDecryption     int  `json:"min_decryption_version"`
	DeletionAllowed   bool `json:"deletion_allowed"`
	Exportable        bool
	SoftDeleted       bool `json:"soft_deleted"`
}

// shownKeys bounds the reads of the transit page.
const shownKeys = 100

func transitPage() *page {
	one := []field{
		{Name: "mount", Label: "Path", Kind: "hidden", Required: true, inPath: true},
		{Name: "name", Label: "Name", Kind: "hidden", Required: true, inPath: true},
	}
	return &page{
		slug: "transit", title: "transit keys", group: "data",
		intro: "Keys that encrypt and sign for other systems, and unseal other clusters. They never leave the server.",
		cli:   []string{"sealgate list transit/keys", "sealgate read transit/keys/NAME"},
		load:  loadTransit,
		actions: []action{
			{
				Name: "create", Title: "Create a key", Path: "{mount}/keys/{name}",
				CLI: "sealgate write -force <mount>/keys/<name> type=<type>",
				Fields: []field{
					{Name: "mount", Label: "Path of the engine", Kind: "text", Required: true, Value: "transit", inPath: true},
					{Name: "name", Label: "Name", Kind: "text", Required: true, inPath: true},
					{Name: "type", Label: "Type", Kind: "choice", Value: "aes256-gcm96", Values: []string{"aes256-gcm96",
						"aes128-gcm96", "chacha20-poly1305", "ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096", "hmac"}},
				},
				Done: "The key is there.",
			},
			{
				Name: "rotate", Title: "Rotate", Path: "{mount}/keys/{name}/rotate", Row: true,
				CLI: "sealgate write -force <mount>/keys/<name>/rotate", Done: "The key has a new version.", Fields: one,
			},
			{
				Name: "stop", Title: "Stop", Path: "{mount}/keys/{name}/soft-delete", Method: http.MethodDelete, Row: true,
				Danger: true, CLI: "sealgate delete <mount>/keys/<name>/soft-delete", Fields: one,
				Done: "Every use of the key is refused from now on. Nothing is lost.",
			},
			{
				Name: "start", Title: "Allow again", Path: "{mount}/keys/{name}/soft-delete-restore", Row: true, Fields: one,
				CLI: "sealgate write -force <mount>/keys/<name>/soft-delete-restore", Done: "The key may be used again.",
			},
		},
	}
}

func loadTransit(q *query) (any, error) {
	var d struct {
		Keys []transitKey
		More int
		Open *keyVersions // that the page shows in full
	}
	if path := q.r.URL.Query().Get("key"); path != "" {
		var err error
		if d.Open, err = q.versions(path); err != nil {
			return d, err
		}
	}
	var visible struct {
		Secret map[string]struct{ Type string }
	}
	if err := q.get("sys/internal/ui/mounts", &visible); err != nil {
		return d, err
	}
	for path, m := range visible.Secret {
		if m.Type != "transit" {
			continue
		}
		names, err := q.list(path + "keys")
		if err != nil {
			return d, err
		}
		for _, name := range names {
			if len(d.Keys) >= shownKeys {
				d.More++
				continue
			}
			k := transitKey{Mount: strings.TrimSuffix(path, "/"), Name: name}
			if err := q.get(path+"keys/"+name, &k); err != nil {
				return d, err
			}
			k.Name = name
			d.Keys = append(d.Keys, k)
		}
	}
	slices.SortFunc(d.Keys, func(a, b transitKey) int {
		return strings.Compare(fmt.Sprint(a.Mount, "/", a.Name), fmt.Sprint(b.Mount, "/", b.Name))
	})
	return d, nil
}
