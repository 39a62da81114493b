// Command lines reports Go lines that are too wide: more than 120 columns, or 100 for a line that
// is only a comment. It checks the files of its arguments, or all that git knows, and fails if it
// reports one. A tab counts as one column. With -w it first breaks what it can: read the result,
// not every break is the best one.
//
// These lines may be wider, because they cannot be broken:
//   - a line with a word of more than 60 columns in a literal or a comment: a URL, a key, a hash
//   - a line with a struct tag
//   - directives (//go:embed and the like), and the lines after "// Output:" in an example
//   - all lines but the first of a raw string, and generated files
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func main() {
	write := flag.Bool("w", false, "break lines that are too wide")
	flag.Parse()
	found, err := run(flag.Args(), *write)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lines:", err)
		os.Exit(2)
	}
	if found > 0 {
		fmt.Fprintf(os.Stderr, "%d lines are too wide; break them, or the words in them (see internal/lint/lines)\n", found)
		os.Exit(1)
	}
}

func run(files []string, write bool) (found int, err error) {
	if len(files) == 0 {
		out, err := exec.Command("git", "ls-files", "-z", "*.go").Output()
		if err != nil {
			return 0, fmt.Errorf("git ls-files: %w", err)
		}
		files = strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		} else if err != nil {
			return found, err
		}
		if write && len(check(src)) > 0 {
			src = wrap(breakCode(src))
			if err := os.WriteFile(file, src, 0o644); err != nil { // which keeps its mode
				return found, err
			}
		}
		for _, p := range check(src) {
			fmt.Printf("%s:%d: %d columns, at most %d\n", file, p.line, p.width, p.limit)
			found++
		}
	}
	return found, nil
}
