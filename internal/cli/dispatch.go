package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/internal/version"
)

// exitUnknown is the exit code of a command line that names no command, as shells have it.
const exitUnknown = 127

// Command is one command of the program.
type Command interface {
	// Run takes the arguments after the command's name and returns the exit code.
	Run(args []string) int
	// Synopsis is the command's line in a list of commands.
	Synopsis() string
	// Help is the whole help text, without a final newline.
	Help() string
}

// commandTable holds a constructor for each command, by its full name ("operator rekey").
type commandTable map[string]func() Command

// Run runs one command line, without the program's name, and returns the exit code.
func Run(args []string, env Env) int {
	if code, ok := completions(args, env); ok {
		return code
	}
	l := parseLine(args)
	all := commands(env)
	name, rest := longest(l.words, all)
	switch {
	case l.version:
		fmt.Fprintln(env.Stdout, versionLine(env))
		return exitOK
	case name == "" && l.help:
		fmt.Fprintln(env.Stdout, programHelp(all))
		return exitOK
	case name == "":
		fmt.Fprintln(env.Stderr, programHelp(all))
		return exitUnknown
	}
	c := all[name]()
	switch {
	case l.help:
		fmt.Fprintln(env.Stdout, commandHelp(name, c, all))
		return exitOK
	case len(l.flags) > 0:
		fmt.Fprintf(env.Stderr, "%s stands before the command: flags of a command follow its name.\n\n%s\n",
			l.flags[0], commandHelp(name, c, all))
		return exitLocal
	}
	if _, ok := c.(group); ok {
		fmt.Fprintln(env.Stderr, commandHelp(name, c, all))
		return exitLocal
	}
	return c.Run(append(rest, l.tail...))
}

// line is a command line before its command is known.
type line struct {
	flags         []string // before the first word
	words         []string // up to the first flag, empty word or word with a space: the command's name, then arguments
	tail          []string // everything after words
	help, version bool
}

func parseLine(args []string) line {
	var l line
	for i, arg := range args {
		if arg == "--" {
			break
		}
		switch {
		case arg == "-h" || arg == "-help" || arg == "--help":
			l.help = true
		case l.words != nil:
		case arg == "-v" || arg == "-version" || arg == "--version":
			l.version = true
		case strings.HasPrefix(arg, "-"):
			l.flags = append(l.flags, arg)
		case arg != "":
			end := i
			for end < len(args) && args[end] != "" && args[end][0] != '-' && !strings.Contains(args[end], " ") {
				end++
			}
			l.words, l.tail = slices.Clone(args[i:end]), args[end:]
			if end == i { // a word with a space names no command
				return l
			}
		}
	}
	return l
}

// longest finds the command that the words name, and the words after it.
func longest(words []string, all commandTable) (name string, rest []string) {
	for i := range words {
		next := strings.Join(words[:i+1], " ")
		if _, ok := all[next]; !ok {
			return name, words[i:]
		}
		name = next
	}
	return name, nil
}

// subcommands are the words that can follow a command's name.
func subcommands(name string, all commandTable) []string {
	prefix := ""
	if name != "" {
		prefix = name + " "
	}
	var found []string
	for full := range all {
		if after, ok := strings.CutPrefix(full, prefix); ok && !strings.Contains(after, " ") {
			found = append(found, after)
		}
	}
	slices.Sort(found)
	return found
}

// group is a command that only holds others.
type group struct{ name, synopsis string }

func (g group) Synopsis() string { return g.synopsis }

func (g group) Help() string {
	return "Usage: sealgate " + g.name + " <subcommand> [flags] [arguments]"
}

// Run is never called: [Run] prints the help of a group.
func (group) Run([]string) int { return exitLocal }

var groups = []group{
	{"audit", "List, enable and disable audit devices"},
	{"auth", "List, enable and tune auth methods"},
	{"import", "Bring what another system holds over"},
	{"kv", "Read, write and list secrets and their versions"},
	{"kv metadata", "Read and change the metadata of secrets"},
	{"lease", "Look up, renew and revoke leases"},
	{"operator", "Initialise, unseal, seal, and ceremonies that need key shares"},
	{"operator raft", "Snapshots, under the names that scripts for Vault use"},
	{"operator raft snapshot", "Save and restore all data"},
	{"operator seals", "Show and change the seals that hold the root key"},
	{"operator rewrap", "Encrypt all data again by the newest key"},
	{"operator snapshot", "Save, restore and inspect snapshots of all data"},
	{"operator tenant", "Systems that use a key of this server"},
	{"operator xks", "External key stores of AWS KMS"},
	{"operator xks store", "Make external key stores, and rotate their credentials"},
	{"operator transcript", "Show and export the transcript of ceremonies"},
	{"policy", "List, read and write policies"},
	{"print", "Print what this client would use"},
	{"secrets", "List, enable and tune secrets engines"},
	{"token", "Create, look up, renew and revoke tokens"},
	{"transcript", "Verify the transcript of ceremonies"},
}

// commands is the table of every command, the program's own included.
func commands(env Env) commandTable {
	all := commandTable{}
	for _, build := range slices.Concat(clientCommands, mountCommands, kvCommands, snapshotCommands, sealCommands,
		importCommands, rewrapCommands) {
		all[build(newBase(env)).name] = func() Command { return build(newBase(env)) }
	}
	for _, g := range groups {
		all[g.name] = func() Command { return g }
	}
	for _, name := range slices.Sorted(maps.Keys(env.Extra)) {
		make := env.Extra[name]
		words := strings.Fields(name)
		for i := 1; i < len(words); i++ {
			if part := strings.Join(words[:i], " "); all[part] == nil {
				all[part] = func() Command { return group{part, make().Synopsis()} }
			}
		}
		all[name] = make
	}
	return all
}

// programHelp lists the top-level commands.
func programHelp(all commandTable) string {
	return "Usage: sealgate <command> [flags] [arguments]\n\nCommands:\n" + commandList("", all) +
		"\n\nSee also: sealgate <command> -help, sealgate -version"
}

// commandHelp is a command's help, followed by the list of its subcommands.
func commandHelp(name string, c Command, all commandTable) string {
	if list := commandList(name, all); list != "" {
		return c.Help() + "\n\nSubcommands:\n" + list
	}
	return c.Help()
}

func commandList(name string, all commandTable) string {
	words := subcommands(name, all)
	width := 0
	for _, w := range words {
		width = max(width, len(w))
	}
	var lines []string
	for _, w := range words {
		full := strings.TrimSpace(name + " " + w)
		lines = append(lines, fmt.Sprintf("    %-*s    %s", width, w, all[full]().Synopsis()))
	}
	return strings.Join(lines, "\n")
}

// versionLine is the version for readers. A program that was started as "vault" answers as Vault
// does, because tools take the second word of the line as Vault's version.
func versionLine(env Env) string {
	if env.Name == "vault" {
		return vaultVersion(env)
	}
	line := "Sealgate v" + cmp.Or(env.Version, "0.0.0")
	if env.Revision != "" {
		line += " (" + env.Revision + ")"
	}
	if mode := fips.Mode(); mode != "off" {
		line += ", FIPS 140-3 " + mode
	}
	return line
}

// vaultVersion is the version line in Vault's form.
func vaultVersion(env Env) string {
	return "Vault v" + version.APILevel + " (Sealgate v" + cmp.Or(env.Version, "0.0.0") + ")"
}

func versionCommand(b *base) *command {
	b.formatted("vault")
	return &command{base: b, name: "version", synopsis: "Print the version",
		about: `Prints the version of this program. With -format=json or yaml it prints the provenance of the build: the
source, the toolchain and its settings, the FIPS module, and the linked modules with their checksums.

Tools that parse the version of Vault get it with -format=vault: the API level that a server reports by
default. A link to this program with the name "vault" prints that form, too.`,
		run: func([]string) int {
			if b.conn.format == "vault" {
				b.printf("%s\n", vaultVersion(b.env))
				return exitOK
			}
			if b.conn.format == "" || b.format() == "table" { // FORMAT of the environment does not count, as with Vault
				b.printf("%s\n", versionLine(b.env))
				return exitOK
			}
			build := version.Read()
			build.Version = cmp.Or(b.env.Version, build.Version)
			return b.encode(build)
		}}
}
