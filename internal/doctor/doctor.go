// Package doctor checks everything that a server needs from its machine, before the server starts
// or while it runs. Each finding says what is wrong, why, and what to do.
//
// It guarantees that it changes nothing: it writes no file, key, record or configuration; it sends
// no PIN to a token that has a single try left; it makes no missing key, even if the configuration
// allows the server to. Apart from reading, it binds each free address for a moment, wraps random
// bytes with each seal, unwraps and discards them, and decrypts the stored root key, which it does
// not keep. No finding has a secret, and every call has a deadline.
//
// It has the permissions of the user who runs it: run it as the server's user.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
	"github.com/sealgate/sealgate/seals"
)

// Level is the severity of a finding.
type Level string

// The levels, in order of severity.
const (
	OK      Level = "ok"
	Warning Level = "warning" // the server works, but something is insecure or will fail
	Error   Level = "error"   // the server does not start or unseal, or is open to attackers
)

// Finding is the result of one check. The JSON form is part of the program's output.
type Finding struct {
	// "configuration", "files", "tls", "listener", "storage", "snapshot", "seal", "audit", "clock",
	// "process"
	Area   string      `json:"area"`
	About  string      `json:"about,omitempty"` // a seal's name, an address, a path
	Level  Level       `json:"level"`
	Place  string      `json:"place,omitempty"` // "file:line" of the configuration
	Text   string      `json:"text"`
	Class  seals.Class `json:"class,omitempty"`  // of a seal's failure
	Remedy string      `json:"remedy,omitempty"` // set unless Level is ok
	Took   float64     `json:"took_ms,omitempty"`
}

// Report has all findings, in the order of the checks.
type Report struct {
	Result   Level     `json:"result"` // the highest level
	Findings []Finding `json:"findings"`
}

// ExitCode is 0 without findings, 1 with warnings, 2 with errors.
func (r *Report) ExitCode() int {
	switch r.Result {
	case OK:
		return 0
	case Warning:
		return 1
	}
	return 2
}

// Reader is a store for reading only.
type Reader interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Close() error
}

// Tools are the environment of a run, and the constructors of the server's parts.
type Tools struct {
	Getenv    func(string) string
	Now       func() time.Time
	Rand      io.Reader // nil: crypto/rand
	Factories map[string]seals.Factory
	// Open opens the storage without changing it. It returns storage.ErrLocked if a server holds the
	// storage's lock, and fs.ErrNotExist if the storage does not exist yet. A nil Reader without an
	// error is an in-memory store.
	Open     func(context.Context, *config.Storage) (Reader, error)
	Targets  func(config.Snapshot) (target.Target, error) // makes that of a schedule; nil: buckets are not checked
	Deadline time.Duration                                // of each remote call; 0: 10 s
	Deep     bool                                         // read every entry of the storage
}

// exam is one run of the checks.
type exam struct {
	Tools
	cfg     *config.Config
	report  Report
	running *running // the running server of this configuration; nil: none was found
	locked  bool     // a server holds the storage's lock
	record  *seals.Record
	read    bool // the storage was read
	dates   []dated
}

// Run checks the configuration in the files and folders at paths and the environment.
func Run(ctx context.Context, paths []string, t Tools) *Report {
	if t.Deadline == 0 {
		t.Deadline = 10 * time.Second
	}
	if t.Now == nil {
		t.Now = time.Now
	}
	if t.Getenv == nil {
		t.Getenv = func(string) string { return "" }
	}
	e := &exam{Tools: t, report: Report{Result: OK, Findings: []Finding{}}}
	if e.configuration(paths) {
		e.files()
		e.listeners(ctx)
		e.storage(ctx)
		e.snapshots(ctx)
		would := e.seals(ctx)
		e.verify(ctx, would)
		e.audit(ctx)
		e.clock(ctx)
	}
	e.process()
	return &e.report
}

func (e *exam) add(f Finding) {
	e.report.Findings = append(e.report.Findings, f)
	if f.Level == Error || f.Level == Warning && e.report.Result == OK {
		e.report.Result = f.Level
	}
}

// topic is the subject of findings.
type topic struct {
	e                  *exam
	area, about, place string
}

func (e *exam) on(area, about string, p config.Pos) topic {
	t := topic{e: e, area: area, about: about}
	if p != (config.Pos{}) {
		t.place = p.String()
	}
	return t
}

func (t topic) ok(format string, args ...any) {
	t.e.add(Finding{Area: t.area, About: t.about, Level: OK, Text: fmt.Sprintf(format, args...)})
}

func (t topic) warn(remedy, format string, args ...any) {
	t.e.add(Finding{Area: t.area, About: t.about, Level: Warning, Place: t.place, Text: fmt.Sprintf(format, args...),
		Remedy: remedy})
}

func (t topic) fail(remedy, format string, args ...any) {
	t.e.add(Finding{Area: t.area, About: t.about, Level: Error, Place: t.place, Text: fmt.Sprintf(format, args...),
		Remedy: remedy})
}

// seal reports a seal's failure with its class and remedy.
func (t topic) seal(doing string, err error) {
	f := seals.Classify(err)
	t.e.add(Finding{Area: t.area, About: t.about, Level: Error, Place: t.place, Class: f.Class,
		Text: fmt.Sprintf("%s: %v", doing, f.Err), Remedy: f.Remedy})
}

// configuration reads the files. Without a valid configuration the other checks are skipped.
func (e *exam) configuration(paths []string) bool {
	on := e.on("configuration", "", config.Pos{})
	cfg, err := config.Load(paths, e.Getenv)
	if err == nil {
		err = cfg.Complete()
	}
	if err != nil {
		e.mistakes(err)
		return false
	}
	e.cfg = cfg
	for _, n := range cfg.Notes {
		if n.Warn {
			e.on("configuration", n.Key, n.Pos).warn("check whether this is intended", "%s", n.Text)
		}
	}
	on.ok("%s: %s, %s, %s", count(len(cfg.Files), "file"), count(len(cfg.Listeners), "listener"),
		count(max(1, len(cfg.Seals)), "seal"),
		"storage "+cfg.Storage.Type)
	return true
}

// mistakes adds a finding for each of the joined errors.
func (e *exam) mistakes(err error) {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, one := range several.Unwrap() {
			e.mistakes(one)
		}
		return
	}
	var mistake *config.Error
	if errors.As(err, &mistake) {
		e.on("configuration", "", mistake.Pos).fail("correct the line", "%s", mistake.Text)
		return
	}
	e.on("configuration", "", config.Pos{}).fail("correct it, or use -config with another file or folder", "%v", err)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
