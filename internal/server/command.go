package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/harden"
)

// serverCommand is `sealgate server`.
type serverCommand struct{ env cli.Env }

func (c *serverCommand) Synopsis() string { return "Start a server" }

func (c *serverCommand) Help() string {
	var b strings.Builder
	b.WriteString(`Usage: sealgate server [flags]

Starts a server. It always starts: while a seal or the storage is unavailable it stays sealed, logs cause and
remedy, and unseals automatically when the seal or storage is available again.

  $ sealgate server -config=/etc/sealgate.hcl     storage, listener and seals from a file or a folder
  $ sealgate server -dev-hsm                      a throw-away SoftHSM token, unsealed, for trying things out
  $ sealgate server -dev                          the same without an HSM, in memory

Signals: SIGHUP reopens audit and log files and applies TLS settings, the log level and the seals; the log lists
what was applied and what needs a restart. SIGUSR2 writes the stacks of all goroutines to standard
error. SIGINT and SIGTERM stop it. Under systemd, Type=notify, Type=notify-reload and WatchdogSec are supported.

Flags:
`)
	f, _ := c.flags()
	f.SetOutput(&b)
	f.PrintDefaults()
	return b.String()
}

// serverFlags are the flags of the command line.
type serverFlags struct {
	configs             multi
	dev, devHSM         bool
	devRootToken        string
	devListen           string
	devNoStore, devKVv1 bool
	logLevel, logFormat string
	recovery            bool
	exitOnShutdown      bool
	acceptRollback      string
}

// multi is a repeatable flag.
type multi []string

func (m *multi) String() string     { return strings.Join(*m, ",") }
func (m *multi) Set(v string) error { *m = append(*m, v); return nil }

func (c *serverCommand) flags() (*flag.FlagSet, *serverFlags) {
	f, o := flag.NewFlagSet("server", flag.ContinueOnError), &serverFlags{}
	f.SetOutput(io.Discard)
	f.Var(&o.configs, "config", "configuration `file` or folder (*.hcl, *.json); may be repeated [SEALGATE_CONFIG_PATH]")
	f.BoolVar(&o.dev, "dev", false, "development server: in memory, unsealed, root token printed; never for secrets")
	f.BoolVar(&o.devHSM, "dev-hsm", false, "development server on a throw-away SoftHSM token, recovery shares printed; "+
		"never for secrets")
	f.StringVar(&o.devRootToken, "dev-root-token-id", "", "root `token` of a development server "+
		"[SEALGATE_DEV_ROOT_TOKEN_ID]")
	f.StringVar(&o.devListen, "dev-listen-address", "", "`address` of a development server, 127.0.0.1:8200 by default "+
		"[SEALGATE_DEV_LISTEN_ADDRESS]")
	f.BoolVar(&o.devNoStore, "dev-no-store-token", false, "do not write a development server's root token to "+
		"~/.vault-token")
	f.BoolVar(&o.devKVv1, "dev-kv-v1", false, "mount version 1 of kv at secret/")
	f.StringVar(&o.logLevel, "log-level", "", "trace, debug, info, warn or error [SEALGATE_LOG_LEVEL]")
	f.StringVar(&o.logFormat, "log-format", "", "standard or json [SEALGATE_LOG_FORMAT]")
	f.BoolVar(&o.recovery, "recovery", false, "recovery mode: a quorum of shares generates a token for raw storage; "+
		"nothing else is served")
	f.StringVar(&o.acceptRollback, "accept-rollback", "", "accept a storage that differs from the anchor: "+
		"`cluster id:generation` as the refusal names it; for one start")
	f.BoolVar(&o.exitOnShutdown, "exit-on-core-shutdown", false, "accepted for compatibility; the process always exits")
	return f, o
}

// Run parses the flags and serves until a signal comes.
func (c *serverCommand) Run(args []string) int {
	f, o := c.flags()
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(c.env.Stdout, c.Help())
			return 0
		}
		fmt.Fprintf(c.env.Stderr, "%v\nSee: sealgate server -help\n", err)
		return 1
	}
	o.environment(c.env.Getenv)
	if err := c.serve(o, f.Args()); err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\n", err)
		return 1
	}
	return 0
}

// environment sets the flags that were not given from the environment.
func (o *serverFlags) environment(getenv func(string) string) {
	fill := func(v *string, name string) {
		if *v == "" {
			*v = config.Env(getenv, name)
		}
	}
	if path := config.Env(getenv, "CONFIG_PATH"); len(o.configs) == 0 && path != "" && !o.dev && !o.devHSM {
		o.configs = multi{path}
	}
	fill(&o.devRootToken, "DEV_ROOT_TOKEN_ID")
	fill(&o.devListen, "DEV_LISTEN_ADDRESS")
	fill(&o.logLevel, "LOG_LEVEL")
	fill(&o.logFormat, "LOG_FORMAT")
}

func (c *serverCommand) serve(o *serverFlags, rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q: server takes only flags", rest[0])
	case o.recovery && (o.dev || o.devHSM):
		return errors.New("recovery mode repairs the storage of a real server: use that server's configuration, without -dev")
	case len(o.configs) == 0 && !o.dev && !o.devHSM:
		return errors.New("no configuration: use -config=FILE, or -dev-hsm to try the server on a throw-away SoftHSM token")
	}
	if err := harden.Process(); err != nil { // before the configuration, which has secrets
		fmt.Fprintf(c.env.Stderr, "Warning: other processes of this user can read the memory of this one: %v\n", err)
	}
	cfg, err := config.Load(o.configs, c.env.Getenv)
	if err != nil {
		return err
	}
	if cfg.AllowDebugging {
		if err := harden.AllowDebugging(); err != nil {
			return fmt.Errorf("unsafe_allow_debugging: %w", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dev, err := c.development(o, cfg)
	if err != nil {
		return err
	}
	if dev != nil {
		defer dev.remove()
	}
	if err := cfg.Complete(); err != nil {
		return err
	}
	p, err := c.assemble(o, cfg, dev)
	if err != nil {
		return err
	}
	return p.run(ctx, dev)
}
