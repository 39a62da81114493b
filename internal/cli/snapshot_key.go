package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// snapshotKeysAnswer is the response of sys/storage/snapshot/public-key.
type snapshotKeysAnswer struct {
	snapshotKey
	Retired []snapshotKey `json:"retired"`
}

type snapshotKey struct {
	Public string `json:"public_key"`
	Since  string `json:"since"`
	Until  string `json:"until"`
}

func snapshotPublicKeyCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator snapshot public-key",
		synopsis: "Show the key that verifies snapshots",
		about: `Shows the public key that verifies the signatures of the server's snapshots, for "operator snapshot inspect
-public-key", and the keys before it, which verify older ones. Note it where nobody who can change the snapshots can
change it. Needs "read" on sys/storage/snapshot/public-key.`,
		run: func([]string) int {
			return snapshotKeys(b, http.MethodGet, "sys/storage/snapshot/public-key", "reading the key")
		}}
}

func snapshotRotateKeyCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator snapshot rotate-key",
		synopsis: "Make a new key that signs snapshots",
		about: `Makes a new key that signs the server's snapshots, and shows its public half. Snapshots that the old key
signed can still be restored. The transcript records the rotation. Needs "update" and "sudo" on
sys/storage/snapshot/rotate-key.`,
		run: func([]string) int {
			return snapshotKeys(b, http.MethodPut, "sys/storage/snapshot/rotate-key", "rotating the key")
		}}
}

func snapshotKeys(b *base, method, path, doing string) int {
	return b.withClient(func(client *api.Client) int {
		var raw json.RawMessage
		if err := callData(context.Background(), client, method, path, nil, &raw); err != nil {
			return b.fail(doing, err)
		}
		if b.format() != "table" {
			return encodeRaw(b, raw)
		}
		var keys snapshotKeysAnswer
		if err := json.Unmarshal(raw, &keys); err != nil {
			return b.fail(doing, fmt.Errorf("unexpected response: %w", err))
		}
		rows := [][]string{{keys.Public, keys.Since, "-"}}
		for _, k := range keys.Retired {
			rows = append(rows, []string{k.Public, k.Since, k.Until})
		}
		b.printf("%s", table([]string{"Public Key", "Since", "Until"}, rows))
		return exitOK
	})
}
