package doctor

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/config"
)

// snapshots checks the targets of scheduled snapshots, and writes nothing to them.
func (e *exam) snapshots(ctx context.Context) {
	for _, c := range e.cfg.Snapshots {
		on := e.on("snapshot", c.Name, c.Pos)
		if c.S3 == nil {
			e.snapshotFolder(on, c)
			continue
		}
		if e.Targets == nil {
			continue
		}
		err := e.call(ctx, func(ctx context.Context) error {
			t, err := e.Targets(c)
			if err != nil {
				return err
			}
			_, err = t.List(ctx, c.Name+"-")
			return err
		})
		if err != nil {
			on.fail("correct the stanza, the bucket or its permissions", "its bucket cannot be listed: %v", err)
			continue
		}
		on.ok("its bucket can be listed; whether it can be written shows with the first snapshot")
	}
}

func (*exam) snapshotFolder(on topic, c config.Snapshot) {
	switch info, err := os.Stat(c.Path); {
	case err != nil:
		on.fail("make the folder, or mount it: the server does not make it", "%v", err)
	case !info.IsDir():
		on.fail("use a folder", "%s is not a folder", c.Path)
	case unix.Access(c.Path, unix.W_OK|unix.X_OK) != nil:
		on.fail("change the owner of the folder to the server's user", "this user may not write to %s", c.Path)
	default:
		on.ok("%s can be written", c.Path)
	}
}
