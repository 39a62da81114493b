package server

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/server/sealtypes"
	"github.com/sealgate/sealgate/seals"
)

// kmipKeyCommand is `sealgate seal kmip create-key`.
type kmipKeyCommand struct{ env cli.Env }

func (c *kmipKeyCommand) Synopsis() string { return "Make a key at a KMIP server for a seal" }

func (c *kmipKeyCommand) Help() string {
	return `Usage: sealgate seal kmip create-key -config FILE [-seal NAME] -name KEY

Makes an AES-256 key at the KMIP server of a seal "kmip" stanza, activates it, and encrypts and decrypts with it. It
prints the unique identifier, which belongs into the stanza as kms_key_id; until then the stanza may lack that line.

  -config   file or folder of the server's configuration; may be repeated
  -seal     name of the stanza, if there are several of the type
  -name     name of the new key at the server`
}

// Run makes the key.
func (c *kmipKeyCommand) Run(args []string) int {
	f := flag.NewFlagSet("seal kmip create-key", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	var files multi
	f.Var(&files, "config", "")
	seal, name := f.String("seal", "", ""), f.String("name", "", "")
	if err := f.Parse(args); err != nil || len(files) == 0 || *name == "" || f.NArg() > 0 {
		fmt.Fprintln(c.env.Stderr, c.Help())
		return 1
	}
	id, err := c.create(files, *seal, *name)
	if err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\n", err)
		if id != "" {
			fmt.Fprintf(c.env.Stderr, "The key %s was made, and cannot be used yet.\n", id)
		}
		return 1
	}
	fmt.Fprintln(c.env.Stdout, id)
	return 0
}

func (c *kmipKeyCommand) create(files []string, seal, name string) (string, error) {
	cfg, err := config.Load(files, c.env.Getenv)
	if err != nil {
		return "", err
	}
	var found []config.Seal
	for _, s := range cfg.Seals {
		if s.Type == "kmip" && (seal == "" || s.Name == seal) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d seals of the type kmip fit in %s: name one by -seal", len(found), strings.Join(files, ", "))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(c.env.Stderr, nil))
	return sealtypes.CreateKMIPKey(ctx, seals.Config{Name: found[0].Name, Type: "kmip", Params: found[0].Params,
		Getenv: c.env.Getenv, Log: log}, name)
}
