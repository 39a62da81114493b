// Command sbom writes the software bill of materials of a Go program as CycloneDX 1.6 JSON. It
// reads what the linker recorded in the program, so that it lists what is in it, not what go.mod
// allows.
//
//	sbom PROGRAM > PROGRAM.cdx.json
//
// The output depends on the program alone: it has no time and no random serial number.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"runtime/debug"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// The parts of CycloneDX 1.6 that are used.
type (
	document struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version,omitempty"`
		PURL       string     `json:"purl,omitempty"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
)

func write(w io.Writer, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	sum, err := sha256Of(program)
	if err != nil {
		return err
	}
	doc := describe(info)
	doc.Metadata.Component.Hashes = []hash{{"SHA-256", sum}}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func sha256Of(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// describe lists the program, the standard library and the linked modules.
func describe(info *debug.BuildInfo) *document {
	main := component{Type: "application", Ref: info.Path, Name: path.Base(info.Path), Version: info.Main.Version}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision", "vcs.time", "vcs.modified", "-tags", "-trimpath", "CGO_ENABLED", "GOFIPS140", "GOOS", "GOARCH":
			main.Properties = append(main.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	library := component{Type: "library", Ref: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"), Name: "std",
		Version: strings.TrimPrefix(info.GoVersion, "go")}
	library.PURL = library.Ref
	doc := &document{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{main},
		Components: []component{library}}
	needs := []string{library.Ref}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Type: "library", Ref: purl(m), Name: m.Path, Version: m.Version, PURL: purl(m)}
		if m.Sum != "" {
			c.Properties = []property{{"go:sum", m.Sum}} // of the module's tree, not of a file
		}
		doc.Components = append(doc.Components, c)
		needs = append(needs, c.Ref)
	}
	doc.Dependencies = []dependency{{main.Ref, needs}}
	return doc
}

func purl(m *debug.Module) string { return "pkg:golang/" + m.Path + "@" + url.QueryEscape(m.Version) }
