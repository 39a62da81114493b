package importer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outcomes of an item.
const (
	Created = "created" // in a dry run: would be created
	Updated = "updated" // replaced, with Options.Overwrite
	Same    = "same"    // there already
	Differs = "differs" // there, with another content: not changed
	Left    = "left"    // cannot be brought over
	Failed  = "failed"  // refused by one of the servers
)

// Item is the result for one object of the source.
type Item struct {
	Kind    string   `json:"kind"` // "secret", "policy", ...
	Path    string   `json:"path"`
	Outcome string   `json:"outcome"`
	Reason  string   `json:"reason,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what of it is not kept
}

// ServerInfo names a server in the report.
type ServerInfo struct {
	Address   string `json:"address"`
	Namespace string `json:"namespace,omitempty"`
	ClusterID string `json:"cluster_id"`
	Version   string `json:"version"`
}

// Report is the result of a run. It names things and has no secret values.
type Report struct {
	Source      ServerInfo                `json:"source"`
	Destination ServerInfo                `json:"destination"`
	DryRun      bool                      `json:"dry_run"`
	Started     time.Time                 `json:"started"`
	Ended       time.Time                 `json:"ended"`
	Error       string                    `json:"error,omitempty"` // why the run ended early
	Complete    bool                      `json:"complete"`        // nothing differs, was left, or failed
	Counts      map[string]map[string]int `json:"counts"`          // by kind and outcome
	Items       []Item                    `json:"items"`
}

func (r *Report) finish(now time.Time, err error) {
	r.Ended, r.Counts, r.Complete = now, map[string]map[string]int{}, err == nil
	if err != nil {
		r.Error = err.Error()
	}
	slices.SortStableFunc(r.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Path, b.Path))
	})
	for _, i := range r.Items {
		if r.Counts[i.Kind] == nil {
			r.Counts[i.Kind] = map[string]int{}
		}
		r.Counts[i.Kind][i.Outcome]++
		r.Complete = r.Complete && !i.open()
	}
}

// open reports whether the item needs somebody's attention.
func (i Item) open() bool { return i.Outcome == Differs || i.Outcome == Left || i.Outcome == Failed }

// Open returns how many items differ, were left, or failed.
func (r *Report) Open() (n int) {
	for _, i := range r.Items {
		if i.open() {
			n++
		}
	}
	return n
}

// Text is the report for readers: a table of counts, then what needs attention, then what is not
// kept.
func (r *Report) Text() string {
	var b strings.Builder
	outcomes := []string{Created, Updated, Same, Differs, Left, Failed}
	fmt.Fprintf(&b, "%-22s", "Kind")
	for _, o := range outcomes {
		fmt.Fprintf(&b, "%10s", o)
	}
	b.WriteByte('\n')
	for _, kind := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "%-22s", kind)
		for _, o := range outcomes {
			fmt.Fprintf(&b, "%10d", r.Counts[kind][o])
		}
		b.WriteByte('\n')
	}
	section(&b, "Needs attention", r.Items, func(i Item) []string {
		if !i.open() {
			return nil
		}
		return []string{i.Outcome + ": " + i.Reason}
	})
	section(&b, "Brought over with a difference", r.Items, func(i Item) []string { return i.Notes })
	return b.String()
}

func section(b *strings.Builder, title string, items []Item, lines func(Item) []string) {
	first := true
	for _, i := range items {
		for _, line := range lines(i) {
			if first {
				fmt.Fprintf(b, "\n%s:\n", title)
				first = false
			}
			fmt.Fprintf(b, "  %s %s: %s\n", i.Kind, printable(i.Path), line)
		}
	}
}
