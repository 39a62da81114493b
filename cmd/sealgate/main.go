// Command sealgate is the server, the gateway and the command-line client in one program.
package main

import (
	"os"
	"path/filepath"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/server"
	"github.com/sealgate/sealgate/internal/version"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // no token file; the commands that need one say so
	}
	env := cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Home: home,
		Name: filepath.Base(os.Args[0]), Version: version.Release, Revision: version.Revision,
	}
	env.Extra = server.Commands(env)
	return cli.Run(args, env)
}
