package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/licenseclassifier/v2/assets"
)

// text returns a licence as the classifier has it.
func text(t *testing.T, name string) string {
	t.Helper()
	b, err := assets.ReadLicenseFile("License/" + name + "/license.txt")
	if errors.Is(err, fs.ErrNotExist) {
		b, err = assets.ReadLicenseFile("License/" + name + "/pristine.txt")
	}
	if err != nil {
		t.Fatal(err)
	}
	return tidy(b)
}

func TestLicencesThatAreAllowed(t *testing.T) {
	t.Parallel()
	c, err := newChecker()
	if err != nil {
		t.Fatal(err)
	}
	apache, mpl, gpl, agpl := text(t, "Apache-2.0"), text(t, "MPL-2.0"), text(t, "GPL-3.0"), text(t, "AGPL-3.0")
	busl := text(t, "Business-Source-License-1.1")
	for name, v := range map[string]struct {
		module, file, text string
		want               string // the licences
		fails              string // or part of the error
	}{
		"a choice": {"kernel.org/pub/linux/libs/security/libcap/psx", "License",
			"SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only\n" + gpl, "BSD-3-Clause", ""},
		"a choice that the file does not offer": {"kernel.org/pub/linux/libs/security/libcap/psx", "License", gpl, "", "GPL"},
		"Apache":                                {"example.org/a", "LICENSE", apache, "Apache-2.0", ""},
		"MPL of HashiCorp":                      {"github.com/hashicorp/a", "LICENSE", mpl, "MPL-2.0", ""},
		"MPL of others":                         {"example.org/a", "LICENSE", mpl, "", "MPL-2.0 in LICENSE is not allowed"},
		"a name like it":                        {"github.com/hashicorporation/a", "LICENSE", mpl, "", "is not allowed"},
		"BUSL of HashiCorp": {"github.com/hashicorp/a", "LICENSE", busl, "",
			"Business-Source-License-1.1 in LICENSE"},
		"GPL 2":           {"example.org/a", "COPYING", text(t, "GPL-2.0"), "", "GPL-2.0 in COPYING is not allowed"},
		"GPL 3":           {"example.org/a", "LICENSE.md", gpl, "", "GPL-3.0 in LICENSE.md is not allowed"},
		"AGPL":            {"example.org/a", "LICENSE", agpl, "", "AGPL-3.0 in LICENSE is not allowed"},
		"GPL below":       {"example.org/a", "b/LICENSE", gpl, "", "GPL-3.0 in b/LICENSE is not allowed"},
		"two in one file": {"example.org/a", "LICENSE", apache + "\n" + agpl, "", "AGPL-3.0 in LICENSE is not allowed"},
		"unknown":         {"example.org/a", "LICENSE", "All rights reserved.\n", "", "is not recognised"},
		"a notice alone":  {"example.org/a", "NOTICE", apache, "", "has no licence"},
	} {
		m := &module{path: v.module, version: "v1.0.0", files: map[string]string{v.file: v.text}}
		err := c.check([]*module{m})
		switch {
		case v.fails == "" && (err != nil || strings.Join(m.licences, ", ") != v.want):
			t.Errorf("%s: %v, %v, want %s", name, m.licences, err, v.want)
		case v.fails != "" && (err == nil || !strings.Contains(err.Error(), v.fails)):
			t.Errorf("%s: error %v, want %q", name, err, v.fails)
		}
	}
}

// TestCollect reads the legal files between a package and the top of its module, and no others.
func TestCollect(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	for name, text := range map[string]string{
		"LICENSE": "top\r\n", "a/NOTICE.txt": "\ufeffnotice\n", "a/b/COPYING": "b\n\n", "a/license.go": "package a",
		"c/LICENSE": "beside", "licensed": "no", "README": "no",
	} {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := &module{files: map[string]string{}}
	if err := m.collect(top, filepath.Join(top, "a", "b")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"LICENSE": "top\n", "a/NOTICE.txt": "notice\n", "a/b/COPYING": "b\n"}
	for name, text := range want {
		if m.files[name] != text {
			t.Errorf("%s: %q, want %q", name, m.files[name], text)
		}
	}
	if len(m.files) != len(want) {
		t.Errorf("files: %q", m.files)
	}
}

func TestRenderWritesEachTextOnce(t *testing.T) {
	t.Parallel()
	first := &module{path: "example.org/a", version: "v1.0.0", licences: []string{"MIT"},
		files: map[string]string{"LICENSE": "same\n"}}
	second := &module{path: "example.org/b", version: "v1.2.0", licences: []string{"ISC", "MIT"},
		files: map[string]string{"LICENSE": "same\n", "NOTICE": "other\n"}}
	got := string(render([]*module{first, second}))
	rule := strings.Repeat("=", 80)
	want := "example.org/a v1.0.0\n    MIT\n    example.org/a/LICENSE\n" +
		"example.org/b v1.2.0\n    ISC, MIT\n    example.org/a/LICENSE\n    example.org/b/NOTICE\n" +
		"\n" + rule + "\nexample.org/a/LICENSE\n\nsame\n\n" + rule + "\nexample.org/b/NOTICE\n\nother\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("%s", got)
	}
}
