package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// snapshotCommands have two names each: ours, and Vault's, which backup scripts use.
var snapshotCommands = []func(*base) *command{
	snapshotSave("operator snapshot save"), snapshotSave("operator raft snapshot save"),
	snapshotRestore("operator snapshot restore"), snapshotRestore("operator raft snapshot restore"),
	snapshotInspectCommand,
}

func snapshotSave(name string) func(*base) *command {
	return func(b *base) *command {
		return &command{base: b, name: name, args: "FILE", least: 1, most: 1, synopsis: "Save all data to a file",
			about: `Saves a consistent copy of the server's storage to FILE. Its content stays encrypted: reading it takes the
seal or the shares of that time. The command verifies the snapshot before it gives the file its name. It works with
every storage backend, and needs "read" on sys/storage/raft/snapshot.`,
			run: func(args []string) int {
				return b.withClient(func(client *api.Client) int {
					if err := saveTo(client, args[0]); err != nil {
						return b.fail("taking the snapshot", err)
					}
					return exitOK
				})
			}}
	}
}

// saveTo writes to a temporary file and renames it, so that a failed save keeps the previous
// snapshot.
func saveTo(client *api.Client, name string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	ctx, stop := interruptible()
	defer stop()
	client.SetClientTimeout(0) // the size is unknown
	if err := client.Sys().RaftSnapshotWithContext(ctx, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	// the SDK verifies archives of other servers
	if _, err := snapshot.Read(ctx, f, nil); err != nil && !errors.Is(err, snapshot.ErrForeign) {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return f.Close()
}

func snapshotRestore(name string) func(*base) *command {
	return func(b *base) *command {
		force := false
		b.flags.BoolVar(&force, "force", false, "accept a snapshot of another cluster, or one from before the keys were "+
			"replaced")
		b.own("force")
		return &command{base: b, name: name, args: "FILE", least: 1, most: 1, synopsis: "Replace all data with a snapshot",
			about: `Replaces everything in the server's storage with a snapshot: secrets, tokens, policies and share sets are
those of the time it was taken. The command and the server verify the snapshot before anything is changed; an
interrupted restore is completed at the next start. The server then unseals as it did at that time. Needs "update" on
sys/storage/raft/snapshot, or on sys/storage/raft/snapshot-force.`,
			run: func(args []string) int {
				return b.withClient(func(client *api.Client) int { return b.restore(client, args[0], force) })
			}}
	}
}

func (b *base) restore(client *api.Client, name string, force bool) int {
	info, err := inspect(name)
	switch {
	case err != nil && !errors.Is(err, snapshot.ErrForeign): // another server verifies its own format
		b.errorf("Error reading the snapshot; nothing was sent: %v", err)
		return exitLocal
	case err == nil:
		b.errorf("Replacing everything at %s with the snapshot of cluster %q taken %s (%d entries, %d bytes) ...",
			client.Address(),
			info.ClusterName, info.Created.UTC().Format(time.RFC3339), info.Entries, info.Bytes)
	}
	f, err := os.Open(name)
	if err != nil {
		b.errorf("Error opening the snapshot: %v", err)
		return exitLocal
	}
	defer f.Close()
	ctx, stop := interruptible()
	defer stop()
	client.SetClientTimeout(0)
	if err := client.Sys().RaftSnapshotRestoreWithContext(ctx, f, force); err != nil {
		return b.fail("installing the snapshot", err)
	}
	return exitOK
}

func inspect(name string) (*snapshot.Info, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return snapshot.Read(context.Background(), f, nil)
}

func snapshotInspectCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator snapshot inspect", args: "FILE", least: 1, most: 1,
		synopsis: "Verify a snapshot and show its origin",
		about: `Reads a snapshot to its end, verifies every checksum, and shows its cluster, time and size. It makes no
request and needs no key; only a server with the cluster's keys can prove the origin of a snapshot.`,
		run: func(args []string) int {
			info, err := inspect(args[0])
			if err != nil {
				b.errorf("Error reading the snapshot: %v", err)
				return exitLocal
			}
			if b.format() != "table" {
				return b.encode(struct {
					snapshot.Meta
					snapshot.Totals
				}{info.Meta, info.Totals})
			}
			b.printf("%s", columns([][]string{
				{"Key", "Value"}, {"---", "-----"},
				{"Cluster Name", info.ClusterName}, {"Cluster ID", info.ClusterID},
				{"Created", info.Created.UTC().Format(time.RFC3339Nano)},
				{"Storage Type", info.Storage}, {"Made By", info.Program}, {"Entries", fmt.Sprint(info.Entries)},
				{"Bytes", fmt.Sprint(info.Bytes)},
			}))
			return exitOK
		}}
}
