package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// snapshotCommands have two names each: ours, and Vault's, which backup scripts use.
var snapshotCommands = []func(*base) *command{
	snapshotSave("operator snapshot save"), snapshotSave("operator raft snapshot save"),
	snapshotRestore("operator snapshot restore"), snapshotRestore("operator raft snapshot restore"),
	snapshotInspectCommand, snapshotVerifyCommand, snapshotPublicKeyCommand, snapshotRotateKeyCommand,
	snapshotSchedulesCommand,
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
		var keys list
		b.flags.Var(&keys, "public-key", snapshotKeyHelp)
		b.flags.BoolVar(&force, "force", false, "accept a snapshot of another cluster, or one from before the keys were "+
			"replaced")
		b.own("force", "public-key")
		b.nonEmpty("public-key")
		return &command{base: b, name: name, args: "FILE | -", least: 1, most: 1,
			synopsis: "Replace all data with a snapshot",
			about: `Replaces everything in the server's storage with a snapshot: secrets, tokens, policies and share
sets are those of the time it was taken. The command and the server verify the snapshot before
anything is changed; an interrupted restore is completed at the next start. The server then
unseals as it did at that time. Needs "update" on sys/storage/raft/snapshot, or on
sys/storage/raft/snapshot-force; -force also needs a quorum of shares for each restore: see
"operator authorize -purpose=restore".

The server accepts a snapshot without a signature, as older programs make, with a warning in its
log. With -public-key nothing is sent unless that key signed the snapshot.

A server that is not initialised takes a snapshot without a token, if its seals are those of the
snapshot (see "operator snapshot inspect"): the way back from a lost storage.`,
			run: func(args []string) int {
				return b.withClient(func(client *api.Client) int { return b.restore(client, args[0], force, keys) })
			}}
	}
}

func (b *base) restore(client *api.Client, name string, force bool, keys list) int {
	f, err := openSnapshot(b, name)
	if err != nil {
		b.errorf("Error opening the snapshot: %v", err)
		return exitLocal
	}
	defer f.Close()
	info, records, err := readSnapshot(f)
	if err == nil {
		err = checkSigner(info, keys)
	}
	switch {
	case err != nil && (len(keys) > 0 || !errors.Is(err, snapshot.ErrForeign)): // another server verifies its own format
		b.errorf("Error reading the snapshot; nothing was sent: %v", err)
		return exitLocal
	case err == nil:
		generation := ""
		if record := records.sealed; record != nil {
			generation = fmt.Sprintf(", root key of generation %d", record.Generation)
		}
		b.errorf("Replacing everything at %s with the snapshot of cluster %q taken %s, %s ago (%d entries, %d bytes%s) ...",
			client.Address(), info.ClusterName, info.Created.UTC().Format(time.RFC3339), age(b, info), info.Entries,
			info.Bytes, generation)
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
