package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/cli"
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

	// Extra are commands of the program that are not a client's: "server", "softhsm init".
	Extra map[string]cli.CommandFactory
}

// Run runs one command line, without the program's name, and returns the exit code.
func Run(args []string, env Env) int {
	if code, meant := completions(args, env); meant {
		return code
	}
	c := cli.NewCLI("sealgate", versionLine(env))
	c.Args = args
	c.Autocomplete = false // [completions] does it, without the process's environment
	c.HelpWriter, c.ErrorWriter = env.Stdout, env.Stderr
	c.HelpFunc = help
	c.Commands = commands(env)
	if len(args) == 0 {
		c.HelpWriter = env.Stderr
	}
	code, err := c.Run()
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
		return cmp.Or(code, exitLocal)
	}
	return code
}

func versionLine(env Env) string {
	line := "Sealgate v" + cmp.Or(env.Version, "0.0.0")
	if env.Revision != "" {
		line += " (" + env.Revision + ")"
	}
	return line
}

// commands is the table of every command, the program's own included.
func commands(env Env) map[string]cli.CommandFactory {
	table := map[string]cli.CommandFactory{}
	for _, build := range append([]func(*base) *command{
		statusCommand, sealStatusCommand, initCommand, unsealCommand, sealCommand, stepDownCommand,
		rekeyCommand, rotateKeysCommand, rotateCommand, keyStatusCommand, generateRootCommand,
		membersCommand, custodiansCommand, proveCommand, transcriptListCommand, transcriptShowCommand, transcriptExportCommand,
		transcriptVerifyCommand,
		readCommand, writeCommand, listCommand, deleteCommand,
		patchCommand, scanCommand, unwrapCommand, pathHelpCommand,
		secretsListCommand, secretsEnableCommand, secretsDisableCommand, secretsTuneCommand, secretsMoveCommand,
		loginCommand, tokenCreateCommand, tokenLookupCommand, tokenRenewCommand, tokenRevokeCommand, tokenCapabilitiesCommand,
		authListCommand, authEnableCommand, authDisableCommand, authTuneCommand, authMoveCommand, authHelpCommand,
		policyListCommand, policyReadCommand, policyWriteCommand, policyDeleteCommand, policyFmtCommand,
		auditListCommand, auditEnableCommand, auditDisableCommand,
		leaseLookupCommand, leaseRenewCommand, leaseRevokeCommand,
		debugCommand, monitorCommand, completionCommand,
		printTokenCommand, versionCommand,
	}, slices.Concat(kvCommands, snapshotCommands)...) {
		name := build(newBase(env)).name
		table[name] = func() (cli.Command, error) { return build(newBase(env)), nil }
	}
	for _, between := range []group{
		{"operator transcript", "Show the record of ceremonies"}, {"kv metadata", "Show and change what is known of secrets"},
		{"operator snapshot", "Save all data to a file, and bring it back"}, {"operator raft", "What Vault's scripts call: snapshots"},
		{"operator raft snapshot", "Save all data to a file, and bring it back"},
	} {
		table[between.name] = func() (cli.Command, error) { return between, nil }
	}
	maps.Copy(table, env.Extra)
	return table
}

// group is a command below another that only holds others.
type group struct{ name, synopsis string }

func (g group) Synopsis() string { return g.synopsis }
func (g group) Help() string {
	return "Usage: sealgate " + g.name + " <subcommand> [flags] [arguments]"
}
func (group) Run([]string) int { return cli.RunResultHelp }

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

// help lists the top-level commands.
func help(table map[string]cli.CommandFactory) string {
	var b strings.Builder
	b.WriteString("Usage: sealgate <command> [flags] [arguments]\n\nCommands:\n")
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if strings.Contains(name, " ") {
			continue
		}
		text := groups[name]
		if text == "" {
			if c, err := table[name](); err == nil {
				text = c.Synopsis()
			}
		}
		fmt.Fprintf(&b, "    %-10s  %s\n", name, text)
	}
	b.WriteString("\nSee also: sealgate <command> -help, sealgate -version")
	return b.String()
}

// groups are the commands that only hold others.
var groups = map[string]string{
	"operator":   "Initialise, unseal, seal, and all that needs shares",
	"transcript": "Check the record of ceremonies",
	"audit":      "List, enable and disable audit devices",
	"auth":       "List, enable and change the ways to log in",
	"kv":         "Read, write and list secrets, and their versions",
	"lease":      "Look up, renew and revoke leases",
	"policy":     "List, read and write policies",
	"token":      "Create, look up, renew and revoke tokens",
	"secrets":    "List, enable and change secrets engines",
	"print":      "Show what this client would use",
	"softhsm":    "Throw-away SoftHSM tokens for tests",
}

func versionCommand(b *base) *command {
	return &command{base: b, name: "version", synopsis: "Print the version", about: "Prints the version of this program.",
		run: func([]string) int {
			b.printf("%s\n", versionLine(b.env))
			return exitOK
		}}
}
