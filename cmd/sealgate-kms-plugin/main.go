// Command sealgate-kms-plugin is `sealgate kms-plugin` as a small program of its own, for control
// planes: it serves Kubernetes KMS v2 by a transit key of a Sealgate, OpenBao or Vault cluster.
package main

import (
	"fmt"
	"os"

	"github.com/sealgate/sealgate/internal/sidecar"
	"github.com/sealgate/sealgate/internal/version"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	const name = sidecar.Name("sealgate-kms-plugin")
	env := sidecar.Env{Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	switch first {
	case "check":
		return name.RunCheck(args[1:], env)
	case "version", "-version", "--version", "-v":
		fmt.Println("Sealgate KMS plugin v" + version.Release)
		return 0
	case "help", "-help", "--help", "-h":
		fmt.Println(name.Help())
		return 0
	}
	return name.Run(args, env)
}
