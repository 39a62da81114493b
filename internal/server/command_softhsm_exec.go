package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/cli"
)

// softhsmExecCommand is `sealgate softhsm exec`.
type softhsmExecCommand struct{ env cli.Env }

func (c *softhsmExecCommand) Synopsis() string {
	return "Run a command with a throw-away SoftHSM token"
}

func (c *softhsmExecCommand) Help() string {
	return `Usage: sealgate softhsm exec -- COMMAND [ARGUMENT...]

Makes a SoftHSM token in a temporary directory, runs COMMAND with the environment that finds it (SOFTHSM2_CONF,
SEALGATE_HSM_LIB, SEALGATE_HSM_TOKEN_LABEL, SEALGATE_HSM_PIN), and removes the token. The exit code is COMMAND's; 128
plus its number if a signal ended it.

  $ sealgate softhsm exec -- go test ./...
  $ sealgate softhsm exec -- sh -c 'pkcs11-tool --module "$SEALGATE_HSM_LIB" --list-slots'

Signals are passed on. A token made here must never protect a secret.`
}

// Run makes the token, runs the command, and removes the token.
func (c *softhsmExecCommand) Run(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(c.env.Stderr, c.Help())
		return 1
	}
	code, err := c.run(args)
	if err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\n", err)
		return 1
	}
	return code
}

func (c *softhsmExecCommand) run(args []string) (code int, err error) {
	dir, err := os.MkdirTemp("", "sealgate-softhsm-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	token, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{Label: "sealgate-test"})
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), token.Environ()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.env.Stdin, c.env.Stdout, c.env.Stderr
	cmd.WaitDelay = 5 * time.Second // for grandchildren that keep the output open
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("the command does not start: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended: the next turn sees it
		case err := <-ended:
			return exitCode(cmd, err)
		}
	}
}

// exitCode is the command's, as shells report it.
func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
