package server

import (
	"fmt"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
)

// snapshotSchedules makes the targets of the configuration's schedules. It makes no call.
func snapshotSchedules(cfg *config.Config, getenv func(string) string) (all []node.SnapshotSchedule, err error) {
	for _, c := range cfg.Snapshots {
		t, err := snapshotTarget(c, getenv)
		if err != nil {
			return nil, fmt.Errorf("%s: snapshot %q: %w", c.Pos, c.Name, err)
		}
		all = append(all, node.SnapshotSchedule{Name: c.Name, Every: c.Every, Keep: int(c.Keep), Within: c.Timeout,
			Target: t, Place: place(c)})
	}
	return all, nil
}

// place returns where a schedule keeps its snapshots, without credentials.
func place(c config.Snapshot) string {
	if c.S3 == nil {
		return c.Path
	}
	where := "s3://" + c.S3.Bucket + "/" + c.S3.Prefix
	if c.S3.Endpoint != "" {
		where += " at " + c.S3.Endpoint
	}
	return where
}

func snapshotTarget(c config.Snapshot, getenv func(string) string) (target.Target, error) {
	if c.S3 == nil {
		return target.Folder(c.Path), nil
	}
	return newS3(c.S3, getenv)
}
