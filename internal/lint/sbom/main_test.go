package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestSBOM describes the test's own program: every module that is linked is listed once, with a
// package URL, and the main component depends on it.
func TestSBOM(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := write(w, self); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs differ")
	}
	var doc document
	if err := json.Unmarshal(first.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Format != "CycloneDX" || doc.Spec != "1.6" || len(doc.Metadata.Component.Hashes) != 1 ||
		len(doc.Metadata.Component.Hashes[0].Content) != 64 || len(doc.Dependencies) != 1 {
		t.Errorf("%+v", doc)
	}
	listed := map[string]bool{}
	for _, c := range doc.Components {
		if listed[c.Ref] || !strings.HasPrefix(c.PURL, "pkg:golang/") || c.Version == "" || c.Name == "" {
			t.Errorf("%+v", c)
		}
		listed[c.Ref] = true
	}
	for _, ref := range doc.Dependencies[0].DependsOn {
		if !listed[ref] {
			t.Errorf("%s is not listed", ref)
		}
	}
	if !listed[doc.Components[0].Ref] || doc.Components[0].Name != "std" {
		t.Errorf("no standard library: %+v", doc.Components)
	}
}
