package server

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/cli"
)

// softhsmCommand is `sealgate softhsm init`.
type softhsmCommand struct{ env cli.Env }

func (c *softhsmCommand) Synopsis() string { return "Make a throw-away SoftHSM token for tests" }

func (c *softhsmCommand) Help() string {
	return `Usage: sealgate softhsm init -dir DIR [-label LABEL]

Makes a SoftHSM token with its own configuration, directory and PINs in DIR, which must be empty or not exist, and
prints the environment variables by which PKCS#11 programs find it:

  $ eval "$(sealgate softhsm init -dir /tmp/token)"
  $ pkcs11-tool --module "$SEALGATE_HSM_LIB" --token-label "$SEALGATE_HSM_TOKEN_LABEL" --pin "$SEALGATE_HSM_PIN" --keygen --key-type aes:32 --label k

The PINs are printed and stored in DIR for your tests; a token made here must never protect a secret.`
}

// Run makes the token.
func (c *softhsmCommand) Run(args []string) int {
	f := flag.NewFlagSet("softhsm init", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	dir := f.String("dir", "", "")
	label := f.String("label", "sealgate-test", "")
	if err := f.Parse(args); err != nil || *dir == "" || f.NArg() > 0 {
		fmt.Fprintln(c.env.Stderr, c.Help())
		return 1
	}
	token, err := softhsm.Init(*dir, softhsm.Options{Label: *label})
	if err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\n", err)
		return 1
	}
	for _, v := range token.Environ() {
		fmt.Fprintf(c.env.Stdout, "export %s\n", shellQuote(v))
	}
	return 0
}

// shellQuote turns NAME=value into NAME='value'.
func shellQuote(assignment string) string {
	name, value, _ := strings.Cut(assignment, "=")
	return name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
