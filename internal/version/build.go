package version

import (
	"cmp"
	"crypto/fips140"
	"runtime"
	"runtime/debug"
)

// Build is the provenance of this program: what it was built from, and how. The JSON form stays
// compatible.
type Build struct {
	Version  string   `json:"version"`
	Revision string   `json:"revision,omitempty"` // of the source
	Time     string   `json:"revision_time,omitempty"`
	Modified bool     `json:"modified"` // the source had changes that were not committed
	Go       string   `json:"go"`
	OS       string   `json:"os"`
	Arch     string   `json:"arch"`
	Tags     string   `json:"tags,omitempty"`
	CGO      bool     `json:"cgo"`
	Trimpath bool     `json:"trimpath"` // required for a reproducible build
	FIPS     FIPS     `json:"fips"`
	Modules  []Module `json:"modules"` // that are linked, with the checksums of go.sum
}

// FIPS is the state of Go's FIPS 140-3 module in this process.
type FIPS struct {
	Enabled bool   `json:"enabled"`
	Module  string `json:"module"` // "latest" is the toolchain's own code, which is not validated
}

// Module is a linked module.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	Sum     string `json:"sum,omitempty"`
}

// Read returns the provenance that the linker recorded.
func Read() Build {
	b := Build{Version: Release, Revision: Revision, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		FIPS: FIPS{fips140.Enabled(), fips140.Version()}, Modules: []Module{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = cmp.Or(b.Revision, s.Value)
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "-tags":
			b.Tags = s.Value
		case "CGO_ENABLED":
			b.CGO = s.Value == "1"
		case "-trimpath":
			b.Trimpath = s.Value == "true"
		}
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Modules = append(b.Modules, Module{m.Path, m.Version, m.Sum})
	}
	return b
}
