// Command notices writes testdata/THIRD_PARTY_NOTICES: the licences and notices of the modules that
// are linked into sealgate, on every platform it is built for. With -check it writes nothing and
// fails if the file is not current.
//
// In both modes it fails if a module has no licence, one that it cannot recognise, or one that is
// not allowed: see allowed.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	check := flag.Bool("check", false, "fail if the file is not current, and write nothing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	modules, err := linked("github.com/sealgate/sealgate/cmd/sealgate")
	if err != nil {
		return err
	}
	c, err := newChecker()
	if err != nil {
		return err
	}
	if err := c.check(modules); err != nil {
		return err
	}
	file := filepath.Join("testdata", "THIRD_PARTY_NOTICES")
	want := render(modules)
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is not current: the modules that are linked have changed; run `make notices` and commit it",
			file)
	}
	return nil
}
