package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/hcl/printer"

	"github.com/sealgate/sealgate/internal/auth/policy"
)

func policyFmtCommand(b *base) *command {
	return &command{base: b, name: "policy fmt", args: "FILE|-", least: 1, most: 1, synopsis: "Format a policy file",
		about: `Checks a policy in a local file, as the server would, and formats the file in place; "-" reads standard
input and writes standard output. It makes no request.`,
		run: func(args []string) int {
			name := args[0]
			before, err := b.readAll(name)
			if err != nil {
				b.errorf("Error reading policy file: %v", err)
				return exitLocal
			}
			var after []byte
			if _, err = policy.Parse(string(before)); err == nil {
				after, err = printer.Format(before)
			}
			if err != nil {
				b.errorf("Error parsing policy: %v", err)
				return exitLocal
			}
			if name == "-" {
				exact(b, "%s", after)
				return exitOK
			}
			if err := replaceFile(name, after); err != nil {
				b.errorf("Error writing policy file: %v", err)
				return exitLocal
			}
			b.printf("Success! Formatted policy: %s\n", name)
			return exitOK
		}}
}

// replaceFile replaces the content of a file atomically and keeps its mode.
func replaceFile(name string, data []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file, and is not replaced", name)
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".sealgate-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(info.Mode().Perm())
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
