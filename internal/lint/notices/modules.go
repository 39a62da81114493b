package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// platforms are those that the program is built for. What is linked differs between them.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/arm64"}

// module is one whose packages are linked.
type module struct {
	path, version string
	files         map[string]string // the texts of licences and notices, by their paths in the module
	licences      []string          // by SPDX's names, or the classifier's
}

var (
	legalFile   = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents)s?([-_.].*)?$`)
	licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)s?([-_.].*)?$`)
)

// linked returns the modules of the packages that a program is made of, by path. The standard
// library is not among them.
func linked(program string) ([]*module, error) {
	modules := map[string]*module{}
	for _, platform := range platforms {
		if err := list(program, platform, modules); err != nil {
			return nil, fmt.Errorf("%s: %w", platform, err)
		}
	}
	return slices.SortedFunc(maps.Values(modules), func(a, b *module) int { return cmp.Compare(a.path, b.path) }), nil
}

func list(program, platform string, modules map[string]*module) error {
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Module", program)
	system, processor, _ := strings.Cut(platform, "/")
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir    string
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.Module == nil || p.Module.Main {
			continue
		}
		m := modules[p.Module.Path]
		if m == nil {
			m = &module{path: p.Module.Path, version: p.Module.Version, files: map[string]string{}}
			modules[m.path] = m
		}
		if err := m.collect(p.Module.Dir, p.Dir); err != nil {
			return err
		}
	}
}

// collect reads the legal files of the folder of a package, and of those above it in the module:
// code that was taken from elsewhere keeps its licence beside it.
func (m *module) collect(top, dir string) error {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !legalFile.MatchString(e.Name()) || filepath.Ext(e.Name()) == ".go" {
				continue
			}
			path := filepath.Join(dir, e.Name())
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			m.files[filepath.ToSlash(name)] = tidy(text)
		}
		if dir == top || len(dir) <= len(top) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// tidy takes away what differs between copies of the same text and is not part of it.
func tidy(text []byte) string {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimRight(line, " \t\r\n"))
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n") + "\n"
}
