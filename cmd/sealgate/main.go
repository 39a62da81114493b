// Command sealgate is the server, the gateway and the command-line client in one program.
package main

import (
	"os"

	"github.com/sealgate/sealgate/internal/cli"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // then there is no token file, and the commands say so where they need it
	}
	env := cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Home: home,
		Version: release, Revision: revision,
	}
	env.Extra = commands(env)
	return cli.Run(args, env)
}
