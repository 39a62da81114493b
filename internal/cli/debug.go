package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// bundleTime is the time format of names in a bundle; leastPeriod is the shortest interval.
const (
	bundleTime  = "2006-01-02T15-04-05Z"
	leastPeriod = 5 * time.Second
)

type debugFlags struct {
	compress                    bool
	duration, interval, metrics time.Duration
	output, logFormat           string
	targets                     list
}

func debugCommand(b *base) *command {
	f := &debugFlags{duration: 2 * time.Minute, interval: 30 * time.Second, metrics: 10 * time.Second}
	b.flags.BoolVar(&f.compress, "compress", true, "write one .tar.gz instead of a folder")
	b.flags.Var((*seconds)(&f.duration), "duration", "`time` to collect; 2m by default")
	b.flags.Var((*seconds)(&f.interval), "interval", "`time` between two samples; 30s by default")
	b.flags.Var((*seconds)(&f.metrics), "metrics-interval", "`time` between two samples of the metrics; 10s by default")
	b.flags.StringVar(&f.output, "output", "", "`path` to write to; sealgate-debug-<time> in this folder by default")
	b.flags.Var(&f.targets, "target", "`target` to collect, all by default; may be repeated: "+strings.Join(allTargets(),
		", "))
	b.flags.StringVar(&f.logFormat, "log-format", "standard", "`format` of the log: "+strings.Join(logFormats, ", "))
	b.own("compress", "duration", "interval", "metrics-interval", "output", "target", "log-format")
	return &command{base: b, name: "debug", synopsis: "Collect diagnostics of a server in a bundle",
		about: `Collects the state of one server over some time and writes it to one file, to help diagnose a problem.
Anything that the token may not read or the server does not have is left out and noted.

Secrets are redacted: values whose names are those of secrets, or that look like tokens, keys or passwords.
Names of hosts, mounts, paths and users remain: review the bundle before you pass it on.`,
		run: func([]string) int {
			if problem := b.settle(f); problem != "" {
				b.errorf("Error during validation: %s", problem)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int { return b.debug(client, f) })
		}}
}

// settle adjusts flags that contradict each other and prints what it changed.
func (b *base) settle(f *debugFlags) string {
	for _, t := range []struct {
		name        string
		value       *time.Duration
		least, most time.Duration
	}{
		{"duration", &f.duration, leastPeriod, 1<<63 - 1},
		{"interval", &f.interval, leastPeriod, max(f.duration, leastPeriod)},
		{"metrics interval", &f.metrics, leastPeriod, max(f.duration, leastPeriod)},
	} {
		if fits := min(max(*t.value, t.least), t.most); fits != *t.value {
			b.errorf("Overwriting %s value %q to %q", t.name, *t.value, fits)
			*t.value = fits
		}
	}
	if !slices.Contains(logFormats, f.logFormat) {
		return fmt.Sprintf("%s is an unknown log format", f.logFormat)
	}
	var unknown []string
	f.targets = slices.DeleteFunc(f.targets, func(t string) bool {
		if slices.Contains(allTargets(), t) {
			return false
		}
		unknown = append(unknown, t)
		return true
	})
	if len(unknown) > 0 {
		b.errorf("Ignoring invalid targets: %s", strings.Join(unknown, ", "))
		if len(f.targets) == 0 {
			return "no valid target"
		}
	}
	if len(f.targets) == 0 {
		f.targets = allTargets()
	}
	return ""
}

func (b *base) now() time.Time {
	if b.env.Now != nil {
		return b.env.Now().UTC()
	}
	return time.Now().UTC()
}

func (b *base) debug(client *api.Client, f *debugFlags) int {
	started := b.now()
	client.SetWrappingLookupFunc(unwrapped)
	if f.output == "" {
		f.output = "sealgate-debug-" + started.Format(bundleTime)
	}
	f.output = strings.TrimSuffix(strings.TrimSuffix(filepath.Clean(f.output), ".tar.gz"), ".tgz")
	w := &watch{base: b, client: client, flags: f, clean: newRedactor(client.Token()),
		bundle: newBundle(f.output, f.compress, started),
		gone:   map[string]bool{}, noted: map[string]string{}, frames: map[string][]map[string]any{}}
	if err := w.bundle.free(); err != nil {
		b.errorf("Error during validation: %v", err)
		return exitLocal
	}
	answer, err := w.get(context.Background(), healthPath)
	if err != nil {
		return b.fail("connecting to the server", err)
	}
	var health struct {
		Version string `json:"version"`
		Release string `json:"sealgate_version"`
	}
	_ = json.Unmarshal(answer, &health) // a server with another response is worth diagnosing, too
	health.Version = cmp.Or(health.Release, health.Version)
	var head pairs
	head = append(head, []string{"Address", client.Address()}, []string{"Client Version", b.env.Version},
		[]string{"Server Version", health.Version},
		[]string{"Duration", f.duration.String()}, []string{"Interval", f.interval.String()},
		[]string{"Metrics Interval", f.metrics.String()},
		[]string{"Targets", strings.Join(f.targets, ", ")}, []string{"Output", w.bundle.name()})
	b.printf("==> Starting debug capture...\n%s\n", columns(head))
	w.run()
	b.printf("Finished capturing information, bundling files...\n")
	w.index(started, health.Version)
	if err := w.bundle.write(); err != nil {
		b.errorf("Error writing the bundle: %v", err)
		return exitLocal
	}
	b.printf("Success! Bundle written to: %s\n", w.bundle.name())
	return exitOK
}

// index adds index.json: how the bundle was made, its content, and errors; not the command line,
// which may hold secrets.
func (w *watch) index(started time.Time, serverVersion string) {
	f := w.flags
	names := w.bundle.names()
	w.store("index.json", map[string]any{
		"version": 1, "vault_address": w.clean.text(w.client.Address()), "client_version": w.env.Version,
		"server_version": serverVersion,
		"timestamp":      started.Format(time.RFC3339), "duration_seconds": int(f.duration.Seconds()),
		"interval_seconds":         int(f.interval.Seconds()),
		"metrics_interval_seconds": int(f.metrics.Seconds()), "compress": f.compress, "targets": f.targets,
		"output": map[string]any{"files": names}, "errors": w.errors,
	})
}

func (w *watch) store(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		w.note(name, err)
		return
	}
	w.bundle.add(name, append(text, '\n'))
}

// wait returns after d or when ctx ends.
func (b *base) wait(ctx context.Context, d time.Duration) {
	if b.env.Pause != nil {
		b.env.Pause(d)
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
