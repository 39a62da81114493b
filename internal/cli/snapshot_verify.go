package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

func snapshotVerifyCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator snapshot verify", args: "FILE | -", least: 1, most: 1,
		synopsis: "Prove that the server could restore a snapshot",
		about: `Sends a snapshot to the server, which proves that it could restore it: its seals decrypt the root key in the
snapshot, that opens the keyring, and the keyring every entry. Nothing is changed or installed. Where only shares
unseal the server, it can verify snapshots of the root key in use. Needs "update" and "sudo" on
sys/storage/snapshot/verify.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int { return verifySnapshot(b, client, args[0]) })
		}}
}

// verifiedSnapshot is the response of sys/storage/snapshot/verify.
type verifiedSnapshot struct {
	Data struct {
		Created     string `json:"created"`
		ClusterID   string `json:"cluster_id"`
		ClusterName string `json:"cluster_name"`
		Entries     int64  `json:"entries"`
		Verified    int64  `json:"entries_verified"`
		Policy      string `json:"policy"`
		Ours        bool   `json:"of_this_cluster"`
		Signer      string `json:"signed_by"`
	} `json:"data"`
}

func verifySnapshot(b *base, client *api.Client, name string) int {
	f, err := openSnapshot(b, name)
	if err != nil {
		b.errorf("Error opening the snapshot: %v", err)
		return exitLocal
	}
	defer f.Close()
	ctx, stop := interruptible()
	defer stop()
	client.SetClientTimeout(0)
	r := client.NewRequest(http.MethodPut, "/v1/sys/storage/snapshot/verify")
	r.Body = f
	resp, err := client.RawRequestWithContext(ctx, r) //nolint:staticcheck // the other calls take JSON
	if resp != nil {
		defer resp.Body.Close() //nolint:errcheck // it was read
	}
	if err != nil {
		return b.fail("verifying the snapshot", err)
	}
	var v verifiedSnapshot
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return b.fail("verifying the snapshot", fmt.Errorf("unexpected response: %w", err))
	}
	if b.format() != "table" {
		return b.encode(v.Data)
	}
	var p pairs
	p.add("Cluster Name", v.Data.ClusterName)
	p.add("Cluster ID", v.Data.ClusterID)
	p.add("Of This Cluster", yesNo(v.Data.Ours))
	p.add("Created", v.Data.Created)
	p.add("Signed By", cmp.Or(v.Data.Signer, "nobody"))
	p.add("Sealed To", v.Data.Policy)
	p.add("Entries", v.Data.Entries)
	p.add("Entries Verified", v.Data.Verified)
	b.printf("Success! This server could restore the snapshot.\n\n%s", p)
	return exitOK
}
