package server

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/doctor"
)

// doctorXKSCommand is `sealgate doctor xks`.
type doctorXKSCommand struct{ env cli.Env }

func (c *doctorXKSCommand) Synopsis() string {
	return "Check an external key store proxy as AWS KMS reaches it"
}

func (c *doctorXKSCommand) Help() string {
	return `Usage: sealgate doctor xks [flags] URL

Connects to an external key store proxy as AWS KMS does, and checks name, port, certificate chain, clock and
latency, and whether a store answers at the address. It needs no credential and changes nothing.

  $ sealgate doctor xks https://xks.example.com/store-prod

Run it on a machine in the AWS region: it measures from where it runs. AWS trusts the CAs of its own list, this
machine those of its system. The exit code is 0 without findings, 1 with warnings, 2 with errors.

Flags:
  -connect=<host:port>   connect there instead of to the name's addresses
  -timeout=<time>        deadline of each call, 10s by default
  -format=<format>       table or json [SEALGATE_FORMAT]`
}

// Run runs the checks and prints the findings.
func (c *doctorXKSCommand) Run(args []string) int {
	f := flag.NewFlagSet("doctor xks", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	connect := f.String("connect", "", "")
	timeout := f.Duration("timeout", 10*time.Second, "")
	format := f.String("format", config.Env(c.env.Getenv, "FORMAT"), "")
	if err := f.Parse(args); err != nil || f.NArg() != 1 || *timeout <= 0 {
		fmt.Fprintln(c.env.Stderr, c.Help())
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r := doctor.XKS(ctx, f.Arg(0), doctor.XKSTools{Connect: *connect, Deadline: *timeout})
	if *format == "json" {
		enc := json.NewEncoder(c.env.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			fmt.Fprintf(c.env.Stderr, "Error: %v\n", err)
			return 2
		}
		return r.ExitCode()
	}
	(&doctorCommand{env: c.env}).show(r, false)
	return r.ExitCode()
}
