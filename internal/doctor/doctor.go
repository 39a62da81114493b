// Package doctor tries everything that a server would need of its machine, before or while it runs, and says of each what is wrong, why,
// and what to do.
//
// It guarantees that nothing is changed: no file, key, record or configuration is made or written; no PIN is sent to a token that has a
// single try left; a missing key is not made, even where the configuration says that the server may. What it does beyond reading: it
// binds each address for a moment where that is free, wraps random bytes with each seal, unwraps them and throws them away, and decrypts
// the stored root key, which it does not keep. It guarantees that no finding holds a secret, and that every call has a deadline.
//
// It does not guarantee that what it saw stays so, and it sees with the rights of whoever runs it: as the server's user, to be right.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/seals"
)

// Level is how bad a finding is.
type Level string

// The levels, from good to bad.
const (
	OK      Level = "ok"
	Warning Level = "warning" // the server works; something protects less than it should, or will fail
	Error   Level = "error"   // the server does not start, or does not unseal, or is open to others
)

// Finding is what was found about one thing. The JSON form is the program's output.
type Finding struct {
	Area   string      `json:"area"`            // "configuration", "files", "tls", "listener", "storage", "seal", "audit", "clock", "process"
	About  string      `json:"about,omitempty"` // which of them: a seal's name, an address, a path
	Level  Level       `json:"level"`
	Place  string      `json:"place,omitempty"` // "file:line" of the configuration
	Text   string      `json:"text"`
	Class  seals.Class `json:"class,omitempty"`  // of a seal's failure
	Remedy string      `json:"remedy,omitempty"` // there wherever Level is not ok
	Took   float64     `json:"took_ms,omitempty"`
}

// Report is all findings, in the order in which they were made.
type Report struct {
	Result   Level     `json:"result"` // the worst
	Findings []Finding `json:"findings"`
}

// ExitCode is 0 where all is well, 1 where there are warnings, 2 where there are errors.
func (r *Report) ExitCode() int {
	switch r.Result {
	case OK:
		return 0
	case Warning:
		return 1
	}
	return 2
}

// Reader is a store that is only read.
type Reader interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Close() error
}

// Tools are what the world looks like, and how the server would open its parts.
type Tools struct {
	Getenv    func(string) string
	Now       func() time.Time
	Rand      io.Reader // nil: crypto/rand
	Factories map[string]seals.Factory
	// Open opens the storage without changing it; it fails with storage.ErrLocked where a server has it to itself, with
	// fs.ErrNotExist where there is none yet. A nil Reader without an error is a store that begins empty.
	Open     func(context.Context, *config.Storage) (Reader, error)
	Deadline time.Duration // of each call to something outside; 0: 10 s
}

// exam is one run.
type exam struct {
	Tools
	cfg     *config.Config
	report  Report
	running *running // a server of this configuration that answers; nil: none was seen
	locked  bool     // the storage is held by a server
	record  *seals.Record
	read    bool // the storage could be read
	dates   []dated
}

// Run tries everything that the files and folders at paths say, and the environment.
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
		e.seals(ctx)
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

// topic is what the next findings are about.
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
	t.e.add(Finding{Area: t.area, About: t.about, Level: Warning, Place: t.place, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (t topic) fail(remedy, format string, args ...any) {
	t.e.add(Finding{Area: t.area, About: t.about, Level: Error, Place: t.place, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

// seal tells of a seal's failure, with its class and remedy.
func (t topic) seal(doing string, err error) {
	f := seals.Classify(err)
	t.e.add(Finding{Area: t.area, About: t.about, Level: Error, Place: t.place, Class: f.Class, Text: fmt.Sprintf("%s: %v", doing, f.Err), Remedy: f.Remedy})
}

// configuration reads the files; without them there is nothing more to try.
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
			e.on("configuration", n.Key, n.Pos).warn("see whether that is meant", "%s", n.Text)
		}
	}
	on.ok("%s: %s, %s, %s", count(len(cfg.Files), "file"), count(len(cfg.Listeners), "listener"), count(max(1, len(cfg.Seals)), "seal"),
		"storage "+cfg.Storage.Type)
	return true
}

// mistakes makes a finding of each of the errors that are joined.
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
	e.on("configuration", "", config.Pos{}).fail("correct it, or name another file or folder with -config", "%v", err)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
