package cli

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Flags of the program itself, by the names that Vault's have.
const (
	installFlag   = "autocomplete-install"
	uninstallFlag = "autocomplete-uninstall"
)

// completions handles a shell's request for completions (COMP_LINE) and the flags that install
// completion. ok is false for any other command line.
func completions(args []string, env Env) (code int, ok bool) {
	if env.Getenv != nil && env.Getenv("COMP_LINE") != "" {
		line := env.Getenv("COMP_LINE")
		if point, err := strconv.Atoi(env.Getenv("COMP_POINT")); err == nil && point >= 0 && point < len(line) {
			line = line[:point]
		}
		for _, word := range complete(line, env) {
			fmt.Fprintln(env.Stdout, word)
		}
		return exitOK, true
	}
	if len(args) == 0 {
		return 0, false
	}
	change := install
	switch strings.TrimLeft(args[0], "-") {
	case installFlag:
	case uninstallFlag:
		change = uninstall
	default:
		return 0, false
	}
	if !strings.HasPrefix(args[0], "-") {
		return 0, false
	}
	if err := change(env); err != nil {
		fmt.Fprintf(env.Stderr, "Error: %v\n", err)
		return exitLocal, true
	}
	return exitOK, true
}

// complete returns the words that complete the line. It uses the table of commands alone: a request
// at each key press would be slow, and audited.
func complete(line string, env Env) []string {
	words := strings.Fields(line)
	last := ""
	if len(words) > 0 && !strings.HasSuffix(line, " ") {
		last, words = words[len(words)-1], words[:len(words)-1]
	}
	if len(words) > 0 {
		words = words[1:] // the program
	}
	all := commands(env)
	name, rest := longest(words, all)
	if flagName, value, pair := strings.Cut(last, "="); pair { // for shells, = ends a word
		return matching(flagValues(name, flagName, env), value)
	}
	if len(rest) > 0 {
		if values := flagValues(name, rest[len(rest)-1], env); values != nil {
			return matching(values, last)
		}
	}
	if strings.HasPrefix(last, "-") {
		return matching(flagNames(name, env), last)
	}
	if len(rest) > 0 {
		return nil
	}
	below := subcommands(name, all)
	if len(below) == 0 {
		below = argumentValues[name]
	}
	return matching(below, last)
}

// argumentValues are the possible first arguments of commands, as far as they are known without a
// server.
var argumentValues = map[string][]string{
	"audit enable": {"file", "socket", "syslog"},
	"auth enable":  {"approle", "cert", "jwt", "kubernetes", "userpass"},
	"auth help":    {"approle", "cert", "jwt", "kubernetes", "token", "userpass"},
	"completion":   shellNames,
}

// builtCommand returns a client command by its name, or nil.
func builtCommand(name string, env Env) *command {
	factory, ok := commands(env)[name]
	if !ok {
		return nil
	}
	c, _ := factory().(*command)
	return c
}

func flagNames(name string, env Env) []string {
	c := builtCommand(name, env)
	if c == nil {
		if name == "" {
			return []string{"-" + installFlag, "-" + uninstallFlag, "-help", "-version"}
		}
		return []string{"-help"}
	}
	names := []string{"-help"}
	c.flags.VisitAll(func(f *flag.Flag) { names = append(names, "-"+f.Name) })
	return names
}

var oneOf = regexp.MustCompile(`[:;] ([a-z0-9-]+(?:, [a-z0-9-]+)+)`)

// flagValues are the values of a flag whose usage lists them, such as "format: table, json, yaml";
// nil if the word is no flag that takes a value.
func flagValues(name, word string, env Env) []string {
	c := builtCommand(name, env)
	if c == nil || !strings.HasPrefix(word, "-") {
		return nil
	}
	f := c.flags.Lookup(strings.TrimLeft(word, "-"))
	if f == nil {
		return nil
	}
	if one, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && one.IsBoolFlag() {
		return nil
	}
	_, usage := flag.UnquoteUsage(f)
	if found := oneOf.FindStringSubmatch(usage); found != nil {
		return strings.Split(found[1], ", ")
	}
	return []string{}
}

func matching(words []string, prefix string) []string {
	return slices.DeleteFunc(slices.Sorted(slices.Values(words)),
		func(w string) bool { return !strings.HasPrefix(w, prefix) })
}
