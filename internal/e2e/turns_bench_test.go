package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// party is one of the servers that a benchmark loads by turns, with what its turns added up to.
type party struct {
	addr    string
	pid     int
	code    int // of every answer
	request func(conn, i int) string

	rate     float64 // sum of the turns' requests per second
	requests int
	cpu      time.Duration // of the process and its children
}

// same is a request that every connection repeats.
func same(request string) func(conn, i int) string { return func(int, int) string { return request } }

// turn loads the server for a while, on 16 kept connections.
func (p *party) turn(b *testing.B, d time.Duration) {
	b.Helper()
	before := cpuTime(b, p.pid)
	rate, latency := load(b, p.addr, 16, d, p.code, p.request)
	p.cpu += cpuTime(b, p.pid) - before
	p.rate += rate
	p.requests += len(latency)
}

// cost is the CPU time of one request in microseconds.
func (p *party) cost() float64 { return float64(p.cpu.Microseconds()) / float64(max(p.requests, 1)) }

// compare reports our rate in relation to another's, and the CPU time of a request at both. The
// load is on the same machine: where other work is too, the CPU times say more than the rates.
func compare(b *testing.B, what string, ours, theirs *party) (ratio float64) {
	b.Helper()
	ratio = ours.rate / theirs.rate
	b.ReportMetric(ratio, strings.ReplaceAll(what, " ", "-"))
	b.Logf("%s: %.2f; CPU time of a request: %.1f us and %.1f us, %.2f", what, ratio, ours.cost(), theirs.cost(),
		theirs.cost()/ours.cost())
	return ratio
}

// cpuTime is what a process and its living children have used, to 10 ms; 0 where there is no /proc.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // the name may contain blanks
	fields := strings.Fields(rest)
	var ticks int
	for _, field := range fields[11:13] { // utime and stime, proc(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	all := time.Duration(ticks) * 10 * time.Millisecond
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(task) // the thread may have ended
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				all += cpuTime(b, n)
			}
		}
	}
	return all
}
