package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Exit codes of the commands. `status` uses 2 for a sealed server.
const (
	exitOK     = 0
	exitLocal  = 1 // local: usage, a missing nonce, no terminal, an unreadable file
	exitServer = 2 // remote: an error response, no connection, nothing found
)

// Env is the environment of one run: everything outside the package that it may use.
type Env struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Getenv   func(string) string
	Home     string   // home folder, with .vault-token; "" for none
	Name     string   // base name that the program was started with; "vault" changes the version line
	Version  string   // "1.2.3"
	Revision string   // of the source, may be empty
	Terminal Terminal // nil: Stdin, if it is a terminal

	Pause func(time.Duration) // waits before a retry; nil: time.Sleep
	Rand  io.Reader           // nil: crypto/rand
	Now   func() time.Time    // nil: time.Now

	Browse func(address string) error // opens a browser; nil: the desktop's

	Program string // path of this program, for shell completion; "": os.Executable

	// Extra are the commands of the program that need more than a client: "server", "softhsm init".
	Extra map[string]func() Command
}

// clientCommands are the commands of a client; kvCommands and snapshotCommands are beside their
// code.
var clientCommands = []func(*base) *command{
	statusCommand, sealStatusCommand, initCommand, unsealCommand, sealCommand, stepDownCommand,
	rekeyCommand, rotateKeysCommand, rotateCommand, keyStatusCommand, generateRootCommand, compactCommand,
	authorizeCommand, breakGlassCommand, breakGlassStatusCommand, breakGlassEnrollCommand, breakGlassRemoveCommand,
	tenantAddCommand, tenantListCommand, tenantSuspendCommand, tenantResumeCommand,
	xksStoreCreateCommand, xksStoreRotateCommand, xksStoreDownloadCommand,
	membersCommand, custodiansCommand, proveCommand, transcriptListCommand, transcriptShowCommand, transcriptExportCommand,
	transcriptVerifyCommand, transcriptSignCommand, transcriptSignerCommand,
	readCommand, writeCommand, listCommand, deleteCommand,
	patchCommand, scanCommand, unwrapCommand, pathHelpCommand,
	loginCommand, tokenCreateCommand, tokenLookupCommand, tokenRenewCommand, tokenRevokeCommand, tokenCapabilitiesCommand,
	authHelpCommand,
	policyListCommand, policyReadCommand, policyWriteCommand, policyDeleteCommand, policyFmtCommand, policyTemplateCommand,
	doctorClientCommand,
	auditListCommand, auditEnableCommand, auditDisableCommand,
	leaseLookupCommand, leaseRenewCommand, leaseRevokeCommand,
	debugCommand, monitorCommand, completionCommand,
	printTokenCommand, versionCommand,
}

// command is a client command. Its help is built from its fields.
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

// Run parses the flags, which may stand anywhere, and runs the command.
func (c *command) Run(args []string) int {
	rest, err := c.parse(args)
	if err != nil {
		c.errorf("%v\nSee: sealgate %s -help", err, c.name)
		return exitLocal
	}
	if len(rest) < c.least {
		c.errorf("Not enough arguments (expected %d, got %d)\nUsage: sealgate %s [flags] %s", c.least, len(rest), c.name,
			c.args)
		return exitLocal
	}
	if c.most >= 0 && len(rest) > c.most {
		c.errorf("Too many arguments (expected %d, got %d)\nUsage: sealgate %s [flags] %s", c.most, len(rest), c.name, c.args)
		return exitLocal
	}
	return c.run(rest)
}

// Help is the help text with all flags.
func (c *command) Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: sealgate %s\n\n%s\n", strings.TrimSpace(c.name+" [flags] "+c.args), reflow(c.about))
	c.flagHelp(&b)
	return strings.TrimRight(b.String(), "\n")
}

// helpWidth is the width of prose in help texts.
const helpWidth = 100

// reflow wraps the paragraphs of a help text; indented lines stay as they are.
func reflow(text string) string {
	var out []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(paragraph, " ") {
			out = append(out, paragraph)
			continue
		}
		line, lines := "", []string{}
		for word := range strings.FieldsSeq(paragraph) {
			if line != "" && len(line)+1+len(word) > helpWidth {
				lines, line = append(lines, line), ""
			}
			line = strings.TrimSpace(line + " " + word)
		}
		out = append(out, strings.Join(append(lines, line), "\n"))
	}
	return strings.Join(out, "\n\n")
}

// Synopsis is the command's line in a list of commands.
func (c *command) Synopsis() string { return c.synopsis }
