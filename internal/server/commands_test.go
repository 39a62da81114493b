package server

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/cli"
)

// TestCommandsAreReached: each command of the program prints its own help.
func TestCommandsAreReached(t *testing.T) {
	for name := range Commands(cli.Env{}) {
		var out bytes.Buffer
		env := cli.Env{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
		env.Extra = Commands(env)
		_ = cli.Run(append(strings.Fields(name), "-help"), env)
		if !strings.Contains(out.String(), "Usage: sealgate "+name) {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}
