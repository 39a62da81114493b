package server

import (
	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/sidecar"
)

// theSidecar is the plugin as a command of this program.
const theSidecar = sidecar.Name("sealgate kms-plugin")

func sidecarEnv(env cli.Env) sidecar.Env {
	return sidecar.Env{Stdout: env.Stdout, Stderr: env.Stderr, Getenv: env.Getenv}
}

// pluginCommand is `sealgate kms-plugin`.
type pluginCommand struct{ env cli.Env }

func (c *pluginCommand) Synopsis() string {
	return "Serve Kubernetes KMS v2 over a transit key of a cluster"
}

func (c *pluginCommand) Help() string { return theSidecar.Help() }

func (c *pluginCommand) Run(args []string) int { return theSidecar.Run(args, sidecarEnv(c.env)) }

// pluginCheckCommand is `sealgate kms-plugin check`.
type pluginCheckCommand struct{ env cli.Env }

func (c *pluginCheckCommand) Synopsis() string {
	return "Check whether a KMS v2 plugin keeps its contract"
}

func (c *pluginCheckCommand) Help() string { return theSidecar.HelpCheck() }

func (c *pluginCheckCommand) Run(args []string) int {
	return theSidecar.RunCheck(args, sidecarEnv(c.env))
}
