package main

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// anywhere are the licences that every module may have.
var anywhere = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "UPL-1.0"}

// weak are owners whose modules may be under MPL-2.0: its copyleft ends at the file, and none of
// theirs is changed here.
var weak = []string{"github.com/hashicorp/", "github.com/openbao/"}

// choice is a module under one of several licences: the expression in its licence file, and the
// licence that this program uses.
type choice struct{ expression, licence string }

var choices = map[string]choice{
	"kernel.org/pub/linux/libs/security/libcap/psx": {
		"SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only", "BSD-3-Clause",
	},
}

func allowed(module, licence string) bool {
	if licence == "MPL-2.0" {
		return slices.ContainsFunc(weak, func(owner string) bool { return strings.HasPrefix(module, owner) })
	}
	return slices.Contains(anywhere, licence)
}

// checker recognises licences by their texts.
type checker struct {
	classifier *classifier.Classifier
	known      map[string][]string // by text
}

func newChecker() (*checker, error) {
	texts, err := assets.DefaultClassifier()
	return &checker{texts, map[string][]string{}}, err
}

// check sets the licences of the modules, and fails if one has none or one that is not allowed.
func (c *checker) check(modules []*module) error {
	var all []error
	for _, m := range modules {
		if err := c.checkOne(m); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (c *checker) checkOne(m *module) error {
	m.licences = nil
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if !licenceFile.MatchString(path.Base(name)) {
			continue
		}
		found := c.recognise(m.files[name])
		if c, ok := choices[m.path]; ok && strings.Contains(m.files[name], c.expression) {
			found = []string{c.licence}
		}
		if len(found) == 0 {
			return fmt.Errorf("%s %s: the licence in %s is not recognised; do not link the module", m.path, m.version, name)
		}
		for _, licence := range found {
			if !allowed(m.path, licence) {
				return fmt.Errorf("%s %s: the licence %s in %s is not allowed; do not link the module",
					m.path, m.version, licence, name)
			}
		}
		m.licences = append(m.licences, found...)
	}
	slices.Sort(m.licences)
	if m.licences = slices.Compact(m.licences); len(m.licences) == 0 {
		return fmt.Errorf("%s %s has no licence; do not link the module", m.path, m.version)
	}
	return nil
}

func (c *checker) recognise(text string) []string {
	if found, ok := c.known[text]; ok {
		return found
	}
	var found []string
	for _, match := range c.classifier.Match([]byte(text)).Matches {
		// A header names a licence without repeating it.
		names := match.MatchType == "License" || match.MatchType == "Header"
		if names && !slices.Contains(found, match.Name) {
			found = append(found, match.Name)
		}
	}
	c.known[text] = found
	return found
}
