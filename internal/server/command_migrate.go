package server

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/migrate"
)

// migrateCommand is `sealgate operator migrate`: it copies one storage to another, without a
// server.
type migrateCommand struct{ env cli.Env }

func (c *migrateCommand) Synopsis() string { return "Copy all data from one storage to another" }

func (c *migrateCommand) Help() string {
	return `Usage: sealgate operator migrate -config=FILE [flags]

Copies all data of one storage to another, still encrypted, while no server uses either. FILE has a stanza for
each, with the parameters of a storage stanza:

  storage_source "bbolt" { path = "/var/lib/sealgate" }
  storage_destination "etcd" { address = "https://10.0.0.1:2379" }

To resume an interrupted migration, run the same command again; until it is complete, no server unseals from either
storage. At the end the command reads and compares both. They then hold the same cluster: start servers on only one
of them.

Flags:
  -config=FILE       the two storages (SEALGATE_MIGRATE_CONFIG_PATH)
  -start=KEY         skip the entries before KEY
  -reset             remove the marks of a migration from source and destination, and copy nothing
  -log-level=LEVEL   trace, debug, info, warn or error (info)
  -max-parallel=N    accepted for compatibility; entries are copied in order, many in each write`
}

type migrateFlags struct {
	config, start string
	reset         bool
	level         slog.Level
}

func (c *migrateCommand) parse(args []string) (*migrateFlags, error) {
	var o migrateFlags
	f := flag.NewFlagSet("operator migrate", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	level := f.String("log-level", config.Env(c.env.Getenv, "LOG_LEVEL"), "")
	f.StringVar(&o.config, "config", config.Env(c.env.Getenv, "MIGRATE_CONFIG_PATH"), "")
	f.StringVar(&o.start, "start", "", "")
	f.BoolVar(&o.reset, "reset", false, "")
	f.Int("max-parallel", 10, "")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.config == "":
		return nil, errors.New("no configuration: use -config=FILE with both storages")
	}
	if *level != "" {
		var ok bool
		if o.level, ok = config.Level(*level); !ok {
			return nil, errLevel(*level)
		}
	}
	return &o, nil
}

// Run returns 1 for an invalid command line or file, 2 if a storage fails.
func (c *migrateCommand) Run(args []string) int {
	o, err := c.parse(args)
	if err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\nSee: sealgate operator migrate -help\n", err)
		return 1
	}
	both, err := config.LoadMigration(o.config, c.env.Getenv)
	if err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\n", err)
		return 1
	}
	if both.Source.Type == "inmem" || both.Destination.Type == "inmem" {
		fmt.Fprintln(c.env.Stderr, `Error: "inmem" storage exists only within its process, so that it cannot be migrated`)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := c.migrate(ctx, o, both); err != nil {
		fmt.Fprintf(c.env.Stderr, "Error migrating: %s\n", strings.TrimSpace(err.Error()))
		return 2
	}
	return 0
}

func (c *migrateCommand) migrate(ctx context.Context, o *migrateFlags, both *config.Migration) (err error) {
	log := slog.New(slog.NewTextHandler(c.env.Stderr, &slog.HandlerOptions{Level: o.level}))
	from, err := openStore(both.Source, log, false)
	if err != nil {
		return fmt.Errorf("storage_source: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openStore(both.Destination, log, false)
	if err != nil {
		return fmt.Errorf("storage_destination: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if o.reset {
		return c.resetMarks(ctx, from, to)
	}
	began, reported := time.Now(), time.Now()
	done, err := migrate.Run(ctx, from, to, migrate.Options{Start: o.start, Now: time.Now, Rand: rand.Reader,
		Progress: func(p migrate.Progress) {
			if time.Since(reported) > time.Second {
				reported = time.Now()
				log.Info("copying", "entries", p.Entries, "bytes", p.Bytes, "last", p.Last)
			}
		}})
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; run the same command again to resume")
		}
		return err
	}
	fmt.Fprintf(c.env.Stdout, "Success! All of the keys have been migrated: %d entries, %d bytes in %s; both storages "+
		"are identical.\n",
		done.Entries, done.Bytes, time.Since(began).Round(time.Millisecond))
	return nil
}

func (c *migrateCommand) resetMarks(ctx context.Context, stores ...storage.Store) error {
	for _, s := range stores {
		if err := migrate.Reset(ctx, s); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.env.Stdout, "Success! Removed the marks of the migration.")
	return nil
}
