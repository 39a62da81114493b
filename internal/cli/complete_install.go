package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var shellNames = []string{"bash", "fish", "zsh"}

// shellScript makes a shell call this program for completions. The lines are those that Vault's
// installer writes.
func shellScript(shell, program string) []string {
	switch shell {
	case "bash":
		return []string{"complete -C " + program + " sealgate"}
	case "zsh":
		return []string{"autoload -U +X bashcompinit && bashcompinit", "complete -o nospace -C " + program + " sealgate"}
	}
	return []string{"function __complete_sealgate", "    set -lx COMP_LINE (commandline -cp)",
		"    test -z (commandline -ct)",
		`    and set COMP_LINE "$COMP_LINE "`, "    " + program, "end", `complete -f -c sealgate -a "(__complete_sealgate)"`}
}

func completionCommand(b *base) *command {
	return &command{base: b, name: "completion", args: strings.Join(shellNames, "|"), least: 1, most: 1,
		synopsis: "Print the completion script of a shell",
		about: `Prints lines for a shell's start-up file that complete the commands and flags of this program:

  $ source <(sealgate completion bash)

"sealgate -autocomplete-install" adds them to the start-up files, "-autocomplete-uninstall" removes them.`,
		run: func(args []string) int {
			if !slices.Contains(shellNames, args[0]) {
				b.errorf("Error: unknown shell %s: use one of %s", args[0], strings.Join(shellNames, ", "))
				return exitLocal
			}
			program, err := programOf(b.env)
			if err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			exact(b, "%s\n", strings.Join(shellScript(args[0], program), "\n"))
			return exitOK
		}}
}

// programOf is the path at which a shell finds this program.
func programOf(env Env) (string, error) {
	program := env.Program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return "", err
		}
	}
	if strings.ContainsAny(program, " \t\n'\"\\$`;&|<>()*?[]{}~#") {
		return "", fmt.Errorf("the path of this program has characters that shells interpret: %q; move it to another path",
			program)
	}
	return program, nil
}

// startupFiles are the start-up files of the user's shells; for bash, the first that exists.
func startupFiles(home string) map[string]string {
	files := map[string]string{}
	there := func(name string) bool { _, err := os.Stat(filepath.Join(home, name)); return err == nil }
	for _, name := range []string{".bashrc", ".bash_profile", ".bash_login", ".profile"} {
		if there(name) {
			files["bash"] = filepath.Join(home, name)
			break
		}
	}
	if there(".zshrc") {
		files["zsh"] = filepath.Join(home, ".zshrc")
	}
	if there(".config/fish") {
		files["fish"] = filepath.Join(home, ".config/fish/completions/sealgate.fish")
	}
	return files
}

// eachShell passes the start-up file of each shell to change and writes back the result; nil
// removes the file.
func eachShell(env Env, change func(shell, program string, lines []string) ([]string, error)) error {
	program, err := programOf(env)
	if err != nil {
		return err
	}
	if env.Home == "" {
		return errors.New("no home folder: set HOME")
	}
	files := startupFiles(env.Home)
	if len(files) == 0 {
		return errors.New("found no start-up file of bash, zsh or fish in the home folder; see: sealgate completion -help")
	}
	var errs []error
	for _, shell := range shellNames {
		file, ok := files[shell]
		if !ok {
			continue
		}
		before, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		var lines []string
		if len(before) > 0 {
			lines = strings.Split(strings.TrimSuffix(string(before), "\n"), "\n")
		}
		after, err := change(shell, program, lines)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w in %s", err, file))
			continue
		}
		errs = append(errs, writeStartup(file, before, after))
	}
	return errors.Join(errs...)
}

func writeStartup(file string, before []byte, lines []string) error {
	if lines == nil {
		return os.Remove(file)
	}
	after := []byte(strings.Join(append(lines, ""), "\n"))
	if bytes.Equal(before, after) {
		return nil
	}
	if _, err := os.Stat(file); err == nil {
		return replaceFile(file, after)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, after, 0o644)
}

var (
	errInstalled    = errors.New("completion is already installed")
	errNotInstalled = errors.New("completion is not installed")
)

func install(env Env) error {
	return eachShell(env, func(shell, program string, lines []string) ([]string, error) {
		script := shellScript(shell, program)
		if slices.Contains(lines, script[len(script)-1]) {
			return nil, errInstalled
		}
		for _, l := range script {
			if shell != "zsh" || !slices.Contains(lines, l) {
				lines = append(lines, l)
			}
		}
		return lines, nil
	})
}

func uninstall(env Env) error {
	return eachShell(env, func(shell, program string, lines []string) ([]string, error) {
		script := shellScript(shell, program)
		call := script[len(script)-1]
		if !slices.Contains(lines, call) {
			return nil, errNotInstalled
		}
		if shell == "fish" { // the file holds nothing else
			return nil, nil
		}
		return slices.DeleteFunc(lines, func(l string) bool { return l == call }), nil // other programs may need bashcompinit
	})
}
