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

// snapshotCommands are there under two names: ours, and the one that backup scripts use.
var snapshotCommands = []func(*base) *command{
	snapshotSave("operator snapshot save"), snapshotSave("operator raft snapshot save"),
	snapshotRestore("operator snapshot restore"), snapshotRestore("operator raft snapshot restore"),
	snapshotInspectCommand,
}

func snapshotSave(name string) func(*base) *command {
	return func(b *base) *command {
		return &command{base: b, name: name, args: "FILE", least: 1, most: 1, synopsis: "Save all data to a file",
			about: `Saves all that the server's storage holds to FILE, as of one moment and as encrypted as it lies there: who has the file
needs the seal, or the shares, of that time to read it. The file is checked to its end, and takes its name only when it
is whole. It works with every storage. Needs "read" on sys/storage/raft/snapshot.`,
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

// saveTo writes beside the file and renames: a snapshot of yesterday is not lost to one that fails today.
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
	client.SetClientTimeout(0) // as long as it comes
	if err := client.Sys().RaftSnapshotWithContext(ctx, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := snapshot.Read(ctx, f, nil); err != nil && !errors.Is(err, snapshot.ErrForeign) { // the library checked other servers' archives
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
		b.flags.BoolVar(&force, "force", false, "take the snapshot of another cluster, or of one whose keys were replaced since")
		b.own("force")
		return &command{base: b, name: name, args: "FILE", least: 1, most: 1, synopsis: "Replace all data by what a file holds",
			about: `Replaces everything in the server's storage by a snapshot: secrets, tokens, policies, and who holds shares are those of the day
it was taken. The file is checked here and again by the server before anything is changed, and a restore that is
interrupted is finished when the server comes back. The server then unseals as it did on that day. Needs "update" on
sys/storage/raft/snapshot, or on sys/storage/raft/snapshot-force.`,
			run: func(args []string) int {
				return b.withClient(func(client *api.Client) int { return b.restore(client, args[0], force) })
			}}
	}
}

func (b *base) restore(client *api.Client, name string, force bool) int {
	info, err := inspect(name)
	switch {
	case err != nil && !errors.Is(err, snapshot.ErrForeign): // what is another program's is for its server to judge
		b.errorf("Error reading the snapshot, and nothing was sent: %v", err)
		return exitLocal
	case err == nil:
		b.errorf("Replacing everything at %s by the snapshot of cluster %q taken %s (%d entries, %d bytes) ...", client.Address(),
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
	return &command{base: b, name: "operator snapshot inspect", args: "FILE", least: 1, most: 1, synopsis: "Check a snapshot and show what it is of",
		about: `Reads a snapshot to its end, checks every checksum, and shows what it was taken of. No server is asked, and no key is needed. That
it was not made by somebody else only a server with its keys can tell.`,
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
				{"Cluster Name", info.ClusterName}, {"Cluster ID", info.ClusterID}, {"Created", info.Created.UTC().Format(time.RFC3339Nano)},
				{"Storage Type", info.Storage}, {"Made By", info.Program}, {"Entries", fmt.Sprint(info.Entries)}, {"Bytes", fmt.Sprint(info.Bytes)},
			}))
			return exitOK
		}}
}
