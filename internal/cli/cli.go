package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Exit codes of the commands; status has its own reading of 2.
const (
	exitOK     = 0
	exitLocal  = 1 // usage, a missing nonce, no terminal, an unreadable file
	exitServer = 2 // the server's answer, no connection, nothing found
)

// Env is what a run may touch of the world around it.
type Env struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Getenv   func(string) string
	Home     string   // folder of .vault-token; "" for none
	Version  string   // "1.2.3"
	Revision string   // of the source, may be empty
	Terminal Terminal // nil: Stdin, where it is one

	Pause func(time.Duration) // waits before a request is sent anew; nil: time.Sleep
	Rand  io.Reader           // nil: the operating system's
	Now   func() time.Time    // nil: time.Now

	Browse func(address string) error // opens a browser; nil: as the desktop does

	Program string // path of this program, for shells to call it; "": what the operating system says

	// Extra are the commands of the program that need more than a client: "server", "softhsm init".
	Extra map[string]func() Command
}

// clientCommands are the commands of a client; kvCommands and snapshotCommands are beside their code.
var clientCommands = []func(*base) *command{
	statusCommand, sealStatusCommand, initCommand, unsealCommand, sealCommand, stepDownCommand,
	rekeyCommand, rotateKeysCommand, rotateCommand, keyStatusCommand, generateRootCommand,
	membersCommand, custodiansCommand, proveCommand, transcriptListCommand, transcriptShowCommand, transcriptExportCommand,
	transcriptVerifyCommand,
	readCommand, writeCommand, listCommand, deleteCommand,
	patchCommand, scanCommand, unwrapCommand, pathHelpCommand,
	loginCommand, tokenCreateCommand, tokenLookupCommand, tokenRenewCommand, tokenRevokeCommand, tokenCapabilitiesCommand,
	authHelpCommand,
	policyListCommand, policyReadCommand, policyWriteCommand, policyDeleteCommand, policyFmtCommand,
	auditListCommand, auditEnableCommand, auditDisableCommand,
	leaseLookupCommand, leaseRenewCommand, leaseRevokeCommand,
	debugCommand, monitorCommand, completionCommand,
	printTokenCommand, versionCommand,
}

// command is one command: its help is made of its parts.
type command struct {
	*base
	name     string
	args     string // "PATH [k=v...]"
	synopsis string
	about    string // a paragraph or two, wrapped by hand
	least    int    // number of arguments
	most     int    // -1 for any
	run      func(args []string) int
}

// Run parses the flags, wherever they stand, and runs the command.
func (c *command) Run(args []string) int {
	rest, err := c.parse(args)
	if err != nil {
		c.errorf("%v\nSee: sealgate %s -help", err, c.name)
		return exitLocal
	}
	if len(rest) < c.least {
		c.errorf("Not enough arguments (expected %d, got %d)\nUsage: sealgate %s [flags] %s", c.least, len(rest), c.name, c.args)
		return exitLocal
	}
	if c.most >= 0 && len(rest) > c.most {
		c.errorf("Too many arguments (expected %d, got %d)\nUsage: sealgate %s [flags] %s", c.most, len(rest), c.name, c.args)
		return exitLocal
	}
	return c.run(rest)
}

// Help is the whole help text.
func (c *command) Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: sealgate %s\n\n%s\n", strings.TrimSpace(c.name+" [flags] "+c.args), strings.TrimSpace(c.about))
	c.flagHelp(&b)
	return strings.TrimRight(b.String(), "\n")
}

// Synopsis is the line in the list of commands.
func (c *command) Synopsis() string { return c.synopsis }
