package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

const snapshotKeyHelp = "comma-separated public `keys`, in base64: one of them must have signed the snapshot (see " +
	"\"operator snapshot public-key\")"

// snapshotRecords are the records in a snapshot that seals and quorums open; nil for one that is
// not there, or cannot be read. Nothing authenticates them offline.
type snapshotRecords struct {
	sealed     *seals.Record
	breakGlass *recovery.BreakGlass
	damaged    bool // there is a break-glass record that cannot be read
}

// readSnapshot reads and verifies a snapshot.
func readSnapshot(in io.Reader) (*snapshot.Info, snapshotRecords, error) {
	var found snapshotRecords
	info, err := snapshot.Read(context.Background(), in, func(key string, value []byte) error {
		switch key {
		case node.SealedRecordKey:
			if record, err := seals.UnmarshalRecord(bytes.Clone(value)); err == nil {
				found.sealed = record
			}
		case node.BreakGlassKey:
			record, _, err := recovery.UnmarshalBreakGlass(bytes.Clone(value))
			if found.damaged = err != nil; err == nil {
				found.breakGlass = record
			}
		}
		return nil
	})
	if err != nil {
		return nil, snapshotRecords{}, err
	}
	return info, found, nil
}

// checkSigner refuses a snapshot that none of the keys signed; without keys it accepts any.
func checkSigner(info *snapshot.Info, keys list) error {
	if len(keys) == 0 {
		return nil
	}
	var all []ed25519.PublicKey
	for _, text := range keys {
		key, err := parsePublicKey(text)
		if err != nil {
			return fmt.Errorf("-public-key: %w", err)
		}
		all = append(all, key)
	}
	return info.CheckSigner(all...)
}

// age returns how old a snapshot is, in whole seconds.
func age(b *base, info *snapshot.Info) time.Duration {
	return b.now().Sub(info.Created).Round(time.Second)
}

// inspect verifies a snapshot, or standard input for "-", without storing it.
func (b *base) inspect(name string) (*snapshot.Info, snapshotRecords, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, snapshotRecords{}, err
		}
		defer f.Close()
		return readSnapshot(f)
	}
	if b.env.Stdin == nil {
		return nil, snapshotRecords{}, errors.New("standard input is closed")
	}
	return readSnapshot(b.env.Stdin)
}

// inspected is the output of inspect.
type inspected struct {
	snapshot.Meta
	snapshot.Totals
	Signed     bool            `json:"signed"`
	Generation uint64          `json:"root_generation,omitempty"`
	Needed     int             `json:"seals_needed,omitempty"` // how many of the seals unseal together
	Policy     string          `json:"seal_policy,omitempty"`  // which of them, where the policy has groups
	Seals      []inspectedSeal `json:"seals,omitempty"`        // that wrapped the root key
	Custodians string          `json:"custodians,omitempty"`   // who are one of the seals: "3 of 5 shares"
	// Previous are custodians who were replaced, and whose shares open the snapshot too.
	Previous string `json:"previous_custodians,omitempty"`
	// BreakGlass are the recovery shares that open it without any seal.
	BreakGlass string   `json:"break_glass,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
}

type inspectedSeal struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	KeyID      string `json:"key_id,omitempty"`
	KeyVersion string `json:"key_version,omitempty"`
}

func (s inspectedSeal) String() string {
	text := fmt.Sprintf("%s %q", s.Type, s.Name)
	if s.KeyID != "" {
		text += ", key " + s.KeyID
	}
	if s.KeyVersion != "" {
		text += ", version " + s.KeyVersion
	}
	return text
}

// describe adds the seals and custodians that can open the snapshot.
func describe(info *snapshot.Info, in snapshotRecords) inspected {
	record := in.sealed
	out := inspected{Meta: info.Meta, Totals: info.Totals, Signed: info.Signed()}
	if !out.Signed {
		out.Warnings = append(out.Warnings, "it carries no signature: an older program made it, or its signature was removed")
	}
	if len(info.Skipped) > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d damaged entries are not in it: %q", len(info.Skipped),
			info.Skipped))
	}
	if record == nil {
		out.Warnings = append(out.Warnings, "it holds no sealed root key that this program can read: no server opens it")
		return out
	}
	if record.Cluster != info.ClusterID {
		out.Warnings = append(out.Warnings, fmt.Sprintf("it names the cluster %s, but its sealed root key is of the cluster "+
			"%s: it was changed after it was taken", info.ClusterID, record.Cluster))
	}
	out.Generation, out.Needed = record.Generation, max(record.Threshold, 1)
	if record.Plan().Grouped() {
		out.Policy = record.Plan().Expression()
	}
	for _, p := range record.Parts {
		out.Seals = append(out.Seals, inspectedSeal{p.Name, p.Type, p.KeyID, p.KeyVersion})
	}
	out.Custodians = custodiansOf(record.ShareSet)
	if record.Previous != nil {
		out.Previous = custodiansOf(record.Previous.ShareSet)
	}
	switch glass := in.breakGlass; {
	case in.damaged:
		out.Warnings = append(out.Warnings, "its break-glass record cannot be read: recovery shares do not open it")
	case glass != nil && (glass.Cluster != record.Cluster || glass.Generation != record.Generation):
		out.Warnings = append(out.Warnings, fmt.Sprintf("its break-glass record is of another root key (cluster %s, "+
			"generation %d): recovery shares do not open it", glass.Cluster, glass.Generation))
	case glass != nil:
		out.BreakGlass = custodiansOf(glass.ShareSet)
	}
	return out
}

func custodiansOf(shareSet []byte) string {
	c, err := recovery.UnmarshalShareSet(shareSet)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d of %d shares, generation %d", c.Threshold, c.Shares, c.Generation)
}

func snapshotInspectCommand(b *base) *command {
	b.formatted()
	var keys list
	b.flags.Var(&keys, "public-key", snapshotKeyHelp)
	b.own("public-key")
	b.nonEmpty("public-key")
	return &command{base: b, name: "operator snapshot inspect", args: "FILE | -", least: 1, most: 1,
		synopsis: "Verify a snapshot and show its origin",
		about: `Reads a snapshot to its end, verifies every checksum and the signature, and shows its cluster, age, size, the
key that signed it, and the seals and keys or custodians that can open it. It makes no request and needs no secret.

"Break-Glass" are recovery shares whose quorum is enrolled: it can open the snapshot without any seal, by "operator
snapshot reseal". Only the shares prove that a server wrote that record.

The signature proves the origin if its key is the cluster's: give that by -public-key, from where it was noted when the
server was initialised. Whether the server could restore the snapshot is proven by "operator snapshot verify".`,
		run: func(args []string) int {
			info, records, err := b.inspect(args[0])
			if err == nil {
				err = checkSigner(info, keys)
			}
			if err != nil {
				b.errorf("Error reading the snapshot: %v", err)
				return exitLocal
			}
			if b.format() != "table" {
				return b.encode(describe(info, records))
			}
			showInspected(b, info, describe(info, records))
			return exitOK
		}}
}

func showInspected(b *base, info *snapshot.Info, d inspected) {
	signer := "nobody"
	if d.Signed {
		signer = base64.StdEncoding.EncodeToString(d.Signer)
	}
	rows := [][]string{
		{"Key", "Value"}, {"---", "-----"},
		{"Cluster Name", info.ClusterName}, {"Cluster ID", info.ClusterID},
		{"Created", info.Created.UTC().Format(time.RFC3339Nano)}, {"Age", age(b, info).String()},
		{"Storage Type", info.Storage}, {"Made By", info.Program}, {"Signed By", signer},
		{"Entries", fmt.Sprint(info.Entries)}, {"Bytes", fmt.Sprint(info.Bytes)},
	}
	if !d.Resealed.IsZero() {
		rows = append(rows, []string{"Resealed", d.Resealed.UTC().Format(time.RFC3339)})
	}
	if d.Generation > 0 {
		rows = append(rows, []string{"Root Key Generation", fmt.Sprint(d.Generation)})
	}
	for _, s := range d.Seals {
		rows = append(rows, []string{"Sealed To", s.String()})
	}
	for _, c := range []struct{ name, text string }{
		{"Custodians", d.Custodians}, {"Previous Custodians", d.Previous},
		{"Break-Glass", d.BreakGlass},
	} {
		if c.text != "" {
			rows = append(rows, []string{c.name, c.text})
		}
	}
	if d.Policy != "" {
		rows = append(rows, []string{"Seals Needed", d.Policy})
	} else if len(d.Seals) > 1 {
		rows = append(rows, []string{"Seals Needed", fmt.Sprintf("%d of %d", d.Needed, len(d.Seals))})
	}
	b.warnings(d.Warnings)
	b.printf("%s", columns(rows))
}
