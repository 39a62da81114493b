//go:build scale

package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// report collects the measures of all tests. TestMain prints it.
var report table

type table struct {
	mu   sync.Mutex
	rows []row
}

type row struct{ store, measure, value, target, met string }

// add adds a measure; target "" is none.
func (t *table) add(store, measure, value, target string, met bool) {
	verdict := ""
	switch {
	case target != "" && met:
		verdict = "met"
	case target != "":
		verdict = "MISSED"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, row{store, measure, value, target, verdict})
	fmt.Println(store, "|", measure, "|", value, "|", target, verdict) // a long run may be stopped
}

// time adds a duration with an upper bound; 0 is none.
func (t *table) time(store, measure string, took, most time.Duration) {
	t.add(store, measure, millis(took), bound("<=", millis(most), most > 0), took <= most)
}

// bytes adds a size with an upper bound; 0 is none.
func (t *table) bytes(store, measure string, size, most int64) {
	t.add(store, measure, mega(size), bound("<=", mega(most), most > 0), size <= most)
}

// ratio adds a share with a lower bound; 0 is none.
func (t *table) ratio(store, measure string, share, least float64) {
	t.add(store, measure, fmt.Sprintf("%.2f", share), bound(">=", fmt.Sprintf("%.2f", least), least > 0), share >= least)
}

// atMost adds a ratio with an upper bound.
func (t *table) atMost(store, measure string, share, most float64) {
	t.add(store, measure, fmt.Sprintf("%.2f", share), fmt.Sprintf("<= %.2f", most), share <= most)
}

// note adds a value without a target.
func (t *table) note(store, measure, format string, args ...any) {
	t.add(store, measure, fmt.Sprintf(format, args...), "", true)
}

func bound(sign, value string, is bool) string {
	if !is {
		return ""
	}
	return sign + " " + value
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

func mega(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func (t *table) print() {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nstore\tmeasure\tvalue\ttarget\t")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.store, r.measure, r.value, r.target, r.met)
	}
	_ = w.Flush()
}

func TestMain(m *testing.M) {
	code := m.Run()
	report.print()
	if bin, err := built(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// median of several measures of one thing.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
