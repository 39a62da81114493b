package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// snapshotCommands have two names each: ours, and Vault's, which backup scripts use.
var snapshotCommands = []func(*base) *command{
	snapshotSave("operator snapshot save"), snapshotSave("operator raft snapshot save"),
	snapshotRestore("operator snapshot restore"), snapshotRestore("operator raft snapshot restore"),
	snapshotInspectCommand, snapshotVerifyCommand,
}

func snapshotSave(name string) func(*base) *command {
	return func(b *base) *command {
		var skip bool
		b.flags.BoolVar(&skip, "skip-damaged", false, "leave out damaged entries, and list them")
		return &command{base: b, name: name, args: "FILE | -", least: 1, most: 1, synopsis: "Save all data to a file",
			about: `Saves a consistent copy of the server's storage to FILE. Its content stays encrypted: reading it
takes the seal or the shares of that time. The command verifies the snapshot before it replaces a
file. A FILE of "-", a pipe or a device gets the data directly. It works with every storage
backend, and needs "read" on sys/storage/raft/snapshot.`,
			run: func(args []string) int {
				return b.withClient(func(client *api.Client) int {
					info, err := saveTo(b, client, args[0], skip)
					if err != nil {
						return b.fail("taking the snapshot", err)
					}
					if info != nil && len(info.Skipped) > 0 {
						b.errorf("Left out %d damaged entries; overwrite or delete them: %s", len(info.Skipped),
							strings.Join(info.Skipped, ", "))
					}
					return exitOK
				})
			}}
	}
}

// saveTo saves a snapshot and verifies it: a regular file before it replaces the previous one,
// anything else while the data passes.
func saveTo(b *base, client *api.Client, name string, skip bool) (*snapshot.Info, error) {
	out, err := b.createFile(name)
	if err != nil {
		return nil, err
	}
	ctx, stop := interruptible()
	defer stop()
	client.SetClientTimeout(0) // the size is unknown
	check, checked := io.Pipe()
	verified := make(chan error, 1)
	var info *snapshot.Info
	go func() {
		var err error
		info, err = snapshot.Read(ctx, check, nil)
		_, _ = io.Copy(io.Discard, check) // what remains after an error
		verified <- err
	}()
	if skip {
		client.AddHeader(snapshot.SkipHeader, "true") // the SDK's call takes no parameters
	}
	err = client.Sys().RaftSnapshotWithContext(ctx, io.MultiWriter(out, checked))
	// never fails; nil is the end of the data
	_ = checked.CloseWithError(err)
	// the SDK verifies archives of other servers
	if badFormat := <-verified; err == nil && !errors.Is(badFormat, snapshot.ErrForeign) {
		err = badFormat
	}
	if err != nil {
		return nil, out.abort(err)
	}
	return info, out.commit()
}

func snapshotRestore(name string) func(*base) *command {
	return func(b *base) *command {
		force := false
		b.flags.BoolVar(&force, "force", false, "accept a snapshot of another cluster, or one from before the keys were "+
			"replaced")
		b.own("force")
		return &command{base: b, name: name, args: "FILE | -", least: 1, most: 1,
			synopsis: "Replace all data with a snapshot",
			about: `Replaces everything in the server's storage with a snapshot: secrets, tokens, policies and share
sets are those of the time it was taken. The command and the server verify the snapshot before
anything is changed; an interrupted restore is completed at the next start. The server then
unseals as it did at that time. Needs "update" on sys/storage/raft/snapshot, or on
sys/storage/raft/snapshot-force; -force also needs a quorum of shares for each restore: see
"operator authorize -purpose=restore".

A server that is not initialised takes a snapshot without a token, if its seals are those of the
snapshot (see "operator snapshot inspect"): the way back from a lost storage.`,
			run: func(args []string) int {
				return b.withClient(func(client *api.Client) int { return b.restore(client, args[0], force) })
			}}
	}
}

func (b *base) restore(client *api.Client, name string, force bool) int {
	f, err := openSnapshot(b, name)
	if err != nil {
		b.errorf("Error opening the snapshot: %v", err)
		return exitLocal
	}
	defer f.Close()
	info, err := snapshot.Read(context.Background(), f, nil)
	switch {
	case err != nil && !errors.Is(err, snapshot.ErrForeign): // another server verifies its own format
		b.errorf("Error reading the snapshot; nothing was sent: %v", err)
		return exitLocal
	case err == nil:
		b.errorf("Replacing everything at %s with the snapshot of cluster %q taken %s (%d entries, %d bytes) ...",
			client.Address(), info.ClusterName, info.Created.UTC().Format(time.RFC3339), info.Entries, info.Bytes)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		b.errorf("Error reading the snapshot; nothing was sent: %v", err)
		return exitLocal
	}
	ctx, stop := interruptible()
	defer stop()
	client.SetClientTimeout(0)
	if initialized, err := client.Sys().InitStatusWithContext(ctx); err == nil && !initialized {
		return b.restoreEmpty(ctx, client, f)
	}
	if err := client.Sys().RaftSnapshotRestoreWithContext(ctx, f, force); err != nil {
		return b.fail("installing the snapshot", err)
	}
	return exitOK
}

// restoreEmpty fills a server that is not initialised.
func (b *base) restoreEmpty(ctx context.Context, client *api.Client, f *os.File) int {
	r := client.NewRequest(http.MethodPut, "/v1/sys/storage/raft/snapshot-init")
	r.Body = f
	resp, err := client.RawRequestWithContext(ctx, r) //nolint:staticcheck // the other calls take JSON
	if resp != nil {
		defer resp.Body.Close() //nolint:errcheck // it is empty
	}
	if err != nil {
		return b.fail("installing the snapshot", err)
	}
	b.errorf("The empty server has the data of the snapshot. It unseals by the seals or shares of that time: see " +
		"\"sealgate status\". Tokens of that time are valid.")
	return exitOK
}

// openSnapshot opens a snapshot, or standard input for "-". What can be read only once is copied to
// a temporary file without a name: it is verified before it is sent.
func openSnapshot(b *base, name string) (*os.File, error) {
	in := b.env.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err != nil || info.Mode().IsRegular() {
			return f, err
		}
		defer f.Close()
		in = f
	} else if in == nil {
		return nil, errors.New("standard input is closed")
	}
	f, err := os.CreateTemp("", "sealgate-snapshot-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := io.Copy(f, in); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// inspect verifies a snapshot, or standard input for "-", without storing it. The record is the
// sealed root key in it, nil if there is none that can be read.
func (b *base) inspect(name string) (*snapshot.Info, *seals.Record, error) {
	in := b.env.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		in = f
	} else if in == nil {
		return nil, nil, errors.New("standard input is closed")
	}
	var sealed []byte
	info, err := snapshot.Read(context.Background(), in, func(key string, value []byte) error {
		if key == node.SealedRecordKey {
			sealed = bytes.Clone(value)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	record, err := seals.UnmarshalRecord(sealed)
	if err != nil {
		record = nil
	}
	return info, record, nil
}

// inspected is the output of inspect.
type inspected struct {
	snapshot.Meta
	snapshot.Totals
	Generation uint64          `json:"root_generation,omitempty"`
	Needed     int             `json:"seals_needed,omitempty"` // how many of the seals unseal together
	Seals      []inspectedSeal `json:"seals,omitempty"`        // that wrapped the root key
	Custodians string          `json:"custodians,omitempty"`   // who are one of the seals: "3 of 5 shares"
}

type inspectedSeal struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	KeyID      string `json:"key_id,omitempty"`
	KeyVersion string `json:"key_version,omitempty"`
}

// describe adds the seals that a server needs to open the snapshot.
func describe(info *snapshot.Info, record *seals.Record) inspected {
	out := inspected{Meta: info.Meta, Totals: info.Totals}
	if record == nil {
		return out
	}
	out.Generation, out.Needed = record.Generation, max(record.Threshold, 1)
	for _, p := range record.Parts {
		out.Seals = append(out.Seals, inspectedSeal{p.Name, p.Type, p.KeyID, p.KeyVersion})
	}
	if c, err := recovery.UnmarshalShareSet(record.ShareSet); err == nil {
		out.Custodians = fmt.Sprintf("%d of %d shares, generation %d", c.Threshold, c.Shares, c.Generation)
	}
	return out
}

func snapshotInspectCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator snapshot inspect", args: "FILE | -", least: 1, most: 1,
		synopsis: "Verify a snapshot and show its origin",
		about: `Reads a snapshot to its end, verifies every checksum, and shows its cluster, time, size, and the
seals and keys or custodians that a server needs to open it, as the snapshot itself says. It
makes no request and needs no key; only a server with the cluster's keys can prove the origin of
a snapshot: see "operator snapshot verify".`,
		run: func(args []string) int {
			info, record, err := b.inspect(args[0])
			if err != nil {
				b.errorf("Error reading the snapshot: %v", err)
				return exitLocal
			}
			if b.format() != "table" {
				return b.encode(describe(info, record))
			}
			rows := [][]string{
				{"Key", "Value"}, {"---", "-----"},
				{"Cluster Name", info.ClusterName}, {"Cluster ID", info.ClusterID},
				{"Created", info.Created.UTC().Format(time.RFC3339Nano)},
				{"Storage Type", info.Storage}, {"Made By", info.Program}, {"Entries", fmt.Sprint(info.Entries)},
				{"Bytes", fmt.Sprint(info.Bytes)},
			}
			d := describe(info, record)
			for _, s := range d.Seals {
				text := fmt.Sprintf("%s %q", s.Type, s.Name)
				if s.KeyID != "" {
					text += ", key " + s.KeyID
				}
				if s.KeyVersion != "" {
					text += ", version " + s.KeyVersion
				}
				rows = append(rows, []string{"Seal", text})
			}
			if d.Custodians != "" {
				rows = append(rows, []string{"Custodians", d.Custodians})
			}
			if len(d.Seals) > 1 {
				rows = append(rows, []string{"Seals Needed", fmt.Sprintf("%d of %d", d.Needed, len(d.Seals))})
			}
			b.printf("%s", columns(rows))
			return exitOK
		}}
}
