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

// migrateCommand is `sealgate operator migrate`: from storage to storage, without a server.
type migrateCommand struct{ env cli.Env }

func (c *migrateCommand) Synopsis() string { return "Copy all data from one storage to another" }

func (c *migrateCommand) Help() string {
	return `Usage: sealgate operator migrate -config=FILE [flags]

Copies all that one storage holds to another, as encrypted as it lies there, while no server uses either. FILE names both,
with the parameters of a storage stanza:

  storage_source "bbolt" { path = "/var/lib/sealgate" }
  storage_destination "etcd" { address = "https://10.0.0.1:2379" }

A migration that was interrupted goes on where it was when the same command runs again; until it has ended no server
unseals from either storage. At the end both are read again and compared. Both hold the same cluster then: start
servers on one of them alone.

Flags:
  -config=FILE       the two storages (SEALGATE_MIGRATE_CONFIG_PATH)
  -start=KEY         leave out the entries before KEY
  -reset             take away the mark that a migration left in the source and the destination, and copy nothing
  -log-level=LEVEL   trace, debug, info, warn or error (info)
  -max-parallel=N    accepted; entries are copied in their order, many in each write`
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
		return nil, errors.New("must specify the file with both storages: -config=FILE")
	}
	if *level != "" {
		var ok bool
		if o.level, ok = config.Level(*level); !ok {
			return nil, errLevel(*level)
		}
	}
	return &o, nil
}

// Run returns 1 for a wrong command line or file, 2 where a storage fails.
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
		fmt.Fprintln(c.env.Stderr, `Error: "inmem" ends with the process that has it: there is nothing to migrate from or to`)
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
	from, err := openStore(both.Source, log)
	if err != nil {
		return fmt.Errorf("storage_source: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openStore(both.Destination, log)
	if err != nil {
		return fmt.Errorf("storage_destination: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if o.reset {
		return c.takeMarks(ctx, from, to)
	}
	began, told := time.Now(), time.Now()
	done, err := migrate.Run(ctx, from, to, migrate.Options{Start: o.start, Now: time.Now, Rand: rand.Reader, Progress: func(p migrate.Progress) {
		if time.Since(told) > time.Second {
			told = time.Now()
			log.Info("copying", "entries", p.Entries, "bytes", p.Bytes, "last", p.Last)
		}
	}})
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; run the same command again to go on")
		}
		return err
	}
	fmt.Fprintf(c.env.Stdout, "Success! All of the keys have been migrated: %d entries, %d bytes in %s, and both storages hold the same.\n",
		done.Entries, done.Bytes, time.Since(began).Round(time.Millisecond))
	return nil
}

func (c *migrateCommand) takeMarks(ctx context.Context, stores ...storage.Store) error {
	for _, s := range stores {
		if err := migrate.Reset(ctx, s); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.env.Stdout, "Success! Took the mark of a migration away.")
	return nil
}
