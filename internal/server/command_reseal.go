package server

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// resealCommand is `sealgate operator snapshot reseal`: it wraps the root key of a snapshot by
// other seals, without a server.
type resealCommand struct{ env cli.Env }

func (c *resealCommand) Synopsis() string { return "Seal an old snapshot to other seals" }

func (c *resealCommand) Help() string {
	return `Usage: sealgate operator snapshot reseal [-config=FILE] -to=FILE [flags] SNAPSHOT RESULT

Makes a snapshot that the seals of another configuration open, from one that the seals of the first still open: before
an HSM or a KMS key is given up that old snapshots need. It uses no server and no storage, and leaves SNAPSHOT as it is.
The root key and the data stay the same: what opened SNAPSHOT before still opens it. Destroy it if that matters.

The command checks SNAPSHOT first: checksums, signature, and the records that it attests. RESULT must not exist; it gets
its name once every entry of it was decrypted by the new seals.

A snapshot under a Shamir seal takes its unseal shares, by -shares. If the new seals unseal automatically, the same
shares become recovery shares of the result.

Where no seal opens SNAPSHOT any more, recovery shares that were enrolled for break-glass at its time do, by -shares and
without -config: "operator snapshot inspect" shows them. The result opens by the new seals, and by the same shares.

Flags:
  -config=FILE   configuration with the seals that open SNAPSHOT; its other stanzas are not used
  -to=FILE       configuration with the seals that are to open RESULT
  -shares=FILE   shares of the snapshot's time, one in each line; "-" for standard input`
}

type resealFlags struct{ config, to, shares, in, out string }

func (c *resealCommand) parse(args []string) (*resealFlags, error) {
	var o resealFlags
	f := flag.NewFlagSet("operator snapshot reseal", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.config, "config", "", "")
	f.StringVar(&o.to, "to", "", "")
	f.StringVar(&o.shares, "shares", "", "")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.config == "" && o.shares == "" || o.to == "" || f.NArg() != 2 {
		return nil, errors.New("-config (or -shares of break-glass), -to, SNAPSHOT and RESULT are needed")
	}
	o.in, o.out = f.Arg(0), f.Arg(1)
	if _, err := os.Lstat(o.out); err == nil {
		return nil, fmt.Errorf("%s exists; name another file", o.out)
	}
	return &o, nil
}

// Run returns 1 for an invalid command line or file, 2 if the snapshot could not be resealed.
func (c *resealCommand) Run(args []string) int {
	o, err := c.parse(args)
	if err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\nSee: sealgate operator snapshot reseal -help\n", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	info, err := c.reseal(ctx, o)
	if err != nil {
		fmt.Fprintf(c.env.Stderr, "Error resealing the snapshot: %s\n", strings.TrimSpace(err.Error()))
		return 2
	}
	fmt.Fprintf(c.env.Stdout, "Success! %s opens by the new seals: all %d entries were verified.\n", o.out, info.Entries)
	return 0
}

func (c *resealCommand) reseal(ctx context.Context, o *resealFlags) (info *snapshot.Info, err error) {
	r := node.Resealer{Now: time.Now, Rand: rand.Reader}
	if r.Shares, err = c.readShares(o.shares); err != nil {
		return nil, err
	}
	defer func() {
		for _, s := range r.Shares {
			s.Destroy()
		}
	}()
	for _, side := range []struct {
		file string
		set  **seals.Set
	}{{cmp.Or(o.config, o.to), &r.From}, {o.to, &r.To}} {
		if *side.set, err = c.seals(side.file); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, (*side.set).Close()) }()
	}
	in, err := os.Open(o.in)
	if err != nil {
		return nil, err
	}
	defer in.Close()                                                              //nolint:errcheck // it was read
	out, err := os.CreateTemp(filepath.Dir(o.out), "."+filepath.Base(o.out)+"-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close(), os.Remove(out.Name())) }()
	if err := r.Reseal(ctx, in, out); err != nil {
		return nil, err
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if info, err = r.Check(ctx, out); err != nil {
		return nil, fmt.Errorf("the result does not verify: %w", err)
	}
	if err := out.Sync(); err != nil {
		return nil, err
	}
	return info, os.Link(out.Name(), o.out) // fails where it exists by now
}

// seals makes the seals of a configuration.
func (c *resealCommand) seals(file string) (*seals.Set, error) {
	cfg, err := config.Load([]string{file}, c.env.Getenv)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(c.env.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return sealMaker{c.env.Getenv, log, nil}.set(cfg)
}

func (c *resealCommand) readShares(name string) (shares []*secret.Bytes, err error) {
	if name == "" {
		return nil, nil
	}
	in := c.env.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // it was read
		in = f
	}
	if in == nil {
		return nil, errors.New("standard input is closed")
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		share, err := recovery.ParseShare(text)
		if err != nil {
			return nil, fmt.Errorf("-shares: line %d is no share", len(shares)+1)
		}
		shares = append(shares, share)
	}
	return shares, lines.Err()
}
