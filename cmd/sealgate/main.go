// Command sealgate is the server, the gateway and the command-line client in one program.
package main

import (
	"os"

	"github.com/sealgate/sealgate/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	env := cli.OSEnv(version())
	env.Extra = commands(env)
	return cli.Run(os.Args[1:], env)
}
