package server

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/doctor"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/postgres"
	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
)

// doctorCommand is `sealgate doctor`.
type doctorCommand struct{ env cli.Env }

func (c *doctorCommand) Synopsis() string {
	return "Check everything that a server needs, without changing anything"
}

func (c *doctorCommand) Help() string {
	var b strings.Builder
	b.WriteString(`Usage: sealgate doctor [flags]

Reads a server's configuration and checks everything that the server needs: TLS files, addresses, storage, each seal
(its key, a round trip, whether it decrypts the stored root key), audit devices, the clock, file permissions, and the
limits of the process. Each finding has a cause and a remedy.

  $ sealgate doctor -config=/etc/sealgate.hcl

It changes nothing, and sends no PIN to a token that has a single try left. Run it as the server's user, before the
server is started or while it runs. The exit code is 0 without findings, 1 with warnings, 2 with errors.

Flags:
`)
	f, _ := c.flags()
	f.SetOutput(&b)
	f.PrintDefaults()
	return b.String()
}

type doctorFlags struct {
	configs multi
	format  string
	quiet   bool
	deep    bool
	timeout time.Duration
}

func (c *doctorCommand) flags() (*flag.FlagSet, *doctorFlags) {
	f, o := flag.NewFlagSet("doctor", flag.ContinueOnError), &doctorFlags{}
	f.SetOutput(io.Discard)
	f.Var(&o.configs, "config", "configuration `file` or folder (*.hcl, *.json); may be repeated [SEALGATE_CONFIG_PATH]")
	f.StringVar(&o.format, "format", "", "output `format`: table, json [SEALGATE_FORMAT]")
	f.BoolVar(&o.quiet, "quiet", false, "show only warnings and errors")
	f.BoolVar(&o.deep, "deep", false, "read and, where the seals can, decrypt every entry of the storage")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "`deadline` of each call to a device or service")
	return f, o
}

// Run runs the checks and prints the findings.
func (c *doctorCommand) Run(args []string) int {
	f, o := c.flags()
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(c.env.Stdout, c.Help())
			return 0
		}
		return c.refuse(err)
	}
	if o.format == "" {
		o.format = config.Env(c.env.Getenv, "FORMAT")
	}
	if path := config.Env(c.env.Getenv, "CONFIG_PATH"); len(o.configs) == 0 && path != "" {
		o.configs = multi{path}
	}
	switch {
	case f.NArg() > 0:
		return c.refuse(fmt.Errorf("unexpected argument %q: doctor takes only flags", f.Arg(0)))
	case len(o.configs) == 0:
		return c.refuse(errors.New("no configuration: use -config=FILE with the server's configuration"))
	case o.format != "" && o.format != "table" && o.format != "json":
		return c.refuse(fmt.Errorf("invalid output format: %q", o.format))
	case o.timeout <= 0:
		return c.refuse(errors.New("-timeout must be above zero"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r := doctor.Run(ctx, o.configs, doctor.Tools{Getenv: c.env.Getenv, Factories: providers, Open: peek,
		Targets:  func(s config.Snapshot) (target.Target, error) { return snapshotTarget(s, c.env.Getenv) },
		Deadline: o.timeout, Deep: o.deep})
	if o.format == "json" {
		enc := json.NewEncoder(c.env.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return c.refuse(err)
		}
		return r.ExitCode()
	}
	c.show(r, o.quiet)
	return r.ExitCode()
}

// refuse reports an invalid command line. The exit code is that of errors, because nothing was
// checked.
func (c *doctorCommand) refuse(err error) int {
	fmt.Fprintf(c.env.Stderr, "%v\nSee: sealgate doctor -help\n", err)
	return 2
}

// peek opens a storage for reading only.
func peek(ctx context.Context, s *config.Storage) (doctor.Reader, error) {
	log := slog.New(slog.DiscardHandler)
	switch s.Type {
	case "inmem":
		return nil, nil
	case "etcd":
		o := etcdOptions(s.Etcd, log)
		o.ReadOnly, o.DisableCompaction = true, true
		return etcd.Open(ctx, o)
	case "postgresql":
		o := postgresOptions(s.PostgreSQL, log)
		o.SkipCreateTable, o.ConnectRetries = true, 1
		store, err := postgres.Open(ctx, o)
		if errors.Is(err, postgres.ErrTables) && !s.PostgreSQL.SkipCreateTable {
			return nil, fmt.Errorf("%w: the tables do not exist yet", fs.ErrNotExist)
		}
		return store, err
	}
	return bbolt.Peek(ctx, s.Path)
}

func (c *doctorCommand) show(r *doctor.Report, quiet bool) {
	counts := map[doctor.Level]int{}
	area := ""
	for _, f := range r.Findings {
		counts[f.Level]++
		if quiet && f.Level == doctor.OK {
			continue
		}
		if f.Area != area {
			fmt.Fprintf(c.env.Stdout, "%s\n", f.Area)
			area = f.Area
		}
		fmt.Fprintf(c.env.Stdout, "  %-8s", f.Level)
		if f.About != "" {
			fmt.Fprintf(c.env.Stdout, "%s: ", f.About)
		}
		if f.Class != "" {
			fmt.Fprintf(c.env.Stdout, "%s: ", f.Class)
		}
		fmt.Fprint(c.env.Stdout, f.Text)
		if f.Place != "" {
			fmt.Fprintf(c.env.Stdout, " (%s)", f.Place)
		}
		fmt.Fprintln(c.env.Stdout)
		if f.Remedy != "" {
			fmt.Fprintf(c.env.Stdout, "          -> %s\n", f.Remedy)
		}
	}
	fmt.Fprintf(c.env.Stdout, "\n%d ok, %d warnings, %d errors\n", counts[doctor.OK], counts[doctor.Warning],
		counts[doctor.Error])
}
