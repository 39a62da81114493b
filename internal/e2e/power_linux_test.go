package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/testkit"
)

// sector is what a disk writes as a whole.
const sector = 512

// diskEvent is what the program did to the database file, or an acknowledgement that it sent.
type diskEvent struct {
	kind diskKind
	at   int64
	data []byte
	size int64 // of a truncation
}

type diskKind int

const (
	diskWrite diskKind = iota
	diskTruncate
	diskSync
	diskAck
)

// TestPowerLoss records every write and sync of the real program with strace, and rebuilds the file
// as it can be after a loss of power at every moment: any of the writes since the last sync lost,
// or torn at 512 bytes. Single losses are exhaustive, combinations are drawn with a fixed seed.
// Each file opens with the content before or after the commit that was under way; a sample is
// served by the real program, which has everything that was acknowledged.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	tracer := testkit.Require(t, "strace")
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.mustStop()
	base, err := os.ReadFile(r.dataFile())
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "trace")
	program := r.Bin
	r.Bin = traced(t, tracer, program, log)
	r.mustStart()
	r.until(patience, "unsealed under strace", unsealed)
	begun := len(readTrace(t, log, r.dataFile())) // acknowledgements before it do not count
	type put struct{ key, value string }
	var puts []put // with an empty one for each other request
	for i := range 14 {
		one := put{fmt.Sprintf("power%02d", i), strings.Repeat(fmt.Sprint(i), 10+i*i*40)}
		r.mustPut(one.key, one.value)
		puts = append(puts, one)
		if i%5 == 4 {
			r.must(204, "PUT", "sys/rotate", nil)
			puts = append(puts, put{})
		}
	}
	r.mustStop()
	r.Bin = program
	events := readTrace(t, log, r.dataFile())
	p := &powerLoss{t: t, dir: t.TempDir(), durable: base, random: rand.New(rand.NewPCG(1, 2)), seen: map[[32]byte]bool{}}
	p.run(events, begun)
	if p.acks != len(puts) {
		t.Errorf("the trace has %d acknowledgements of %d requests", p.acks, len(puts))
	}
	if p.states < 500 {
		t.Errorf("only %d states were rebuilt from %d events", p.states, len(events))
	}
	t.Logf("%d events, %d states opened: %d with the content before a commit, %d after it, %d refused",
		len(events), p.states, p.before, p.after, p.refused)
	if p.wrong > 0 || len(p.sample) == 0 {
		t.Errorf("%d files have neither the content before nor after a commit; %d are tried", p.wrong, len(p.sample))
	}
	careless := &powerLoss{t: t, careless: true, dir: p.dir, durable: base, random: rand.New(rand.NewPCG(1, 2)),
		seen: map[[32]byte]bool{}}
	careless.run(withoutDataSyncs(events), len(events))
	t.Logf("without the syncs before a meta page: %d states, %d refused, %d wrong", careless.states, careless.refused,
		careless.wrong)
	if careless.refused+careless.wrong == 0 {
		t.Error("a missing sync is not noticed: this test proves nothing")
	}
	for _, s := range p.sample {
		if err := os.WriteFile(r.dataFile(), s.file, 0o600); err != nil {
			t.Fatal(err)
		}
		r.mustStart()
		r.until(patience, "unsealed after a loss of power", unsealed)
		for _, put := range puts[:min(s.acks, len(puts))] {
			if put.key != "" {
				r.mustGet(put.key, put.value)
			}
		}
		r.mustPut("after", "it")
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

// traced returns a program that runs another one under strace, which leaves the process id to it.
func traced(t *testing.T, tracer, program, log string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "traced")
	text := fmt.Sprintf("#!/bin/sh\nexec %s -D -f -q -y -xx -s 33554432 --seccomp-bpf "+
		"-e trace=pwrite64,fdatasync,fsync,ftruncate,write -o %s %s \"$@\"\n", tracer, log, program)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return script
}

var traceLine = regexp.MustCompile(`^(\d+) +(pwrite64|fdatasync|fsync|ftruncate|write)` +
	`\(\d+<([^>]*)>(?:, (.*?))?(?:\)| <unf)`)

var resumedSync = regexp.MustCompile(`^(\d+) +<\.\.\. (?:fdatasync|fsync) resumed>\) += 0`)

// readTrace returns the events of the database file, and the answers 204.
func readTrace(t *testing.T, log, file string) (events []diskEvent) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syncing := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 256<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := resumedSync.FindStringSubmatch(line); m != nil && syncing[m[1]] {
			delete(syncing, m[1])
			events = append(events, diskEvent{kind: diskSync})
			continue
		}
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		call, path := m[2], string(unhex(t, m[3]))
		switch {
		case call == "write" && strings.HasPrefix(path, "socket:") || call == "write" && strings.HasPrefix(path, "TCP"):
			if bytes.HasPrefix(unhex(t, quoted(m[4])), []byte("HTTP/1.1 204")) {
				events = append(events, diskEvent{kind: diskAck})
			}
		case path != file:
		case call == "pwrite64":
			at, err := strconv.ParseInt(m[4][strings.LastIndex(m[4], " ")+1:], 10, 64)
			if err != nil {
				t.Fatalf("%v: %.200s", err, line)
			}
			events = append(events, diskEvent{kind: diskWrite, at: at, data: unhex(t, quoted(m[4]))})
		case call == "ftruncate":
			size, err := strconv.ParseInt(m[4], 10, 64)
			if err != nil {
				t.Fatalf("%v: %.200s", err, line)
			}
			events = append(events, diskEvent{kind: diskTruncate, size: size})
		case strings.Contains(line, "<unfinished"):
			syncing[m[1]] = true
		case strings.HasSuffix(line, "= 0"):
			events = append(events, diskEvent{kind: diskSync})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

// quoted returns the first string of a call's arguments.
func quoted(args string) string {
	_, rest, _ := strings.Cut(args, `"`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// unhex decodes \x61\x62, which strace -xx writes.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		t.Fatalf("%v: %.80s", err, text)
	}
	return b
}

// powerLoss rebuilds files.
type powerLoss struct {
	t        *testing.T
	careless bool // syncs are missing, so that files are damaged
	dir      string
	random   *rand.Rand
	durable  []byte      // with all writes up to the last sync
	open     []diskEvent // writes since
	seen     map[[32]byte]bool

	metaSyncs, metaAtAck, acks     int
	states, before, after, refused int
	wrong                          int // neither the content before the commit nor that after it
	sample                         []served
}

// served is a file for the real program, and how many requests were acknowledged before it.
type served struct {
	file []byte
	acks int
}

// run goes through the events; acknowledgements count from the given one on.
func (p *powerLoss) run(events []diskEvent, from int) {
	for i, e := range events {
		switch e.kind {
		case diskWrite, diskTruncate:
			p.open = append(p.open, e)
		case diskAck:
			if i < from {
				continue
			}
			p.acks++
			if p.metaSyncs == p.metaAtAck {
				p.t.Errorf("request %d was acknowledged, and no commit was synced since the one before", p.acks)
			}
			p.metaAtAck = p.metaSyncs
		case diskSync:
			p.lose()
			for _, o := range p.open {
				if o.kind == diskWrite && o.at < 2*4096 {
					p.metaSyncs++
				}
			}
			p.durable, p.open = apply(p.durable, p.open, nil), nil
		}
	}
	p.lose()
}

// withoutDataSyncs leaves out each sync that comes directly before the write of a meta page.
func withoutDataSyncs(events []diskEvent) (out []diskEvent) {
	for i, e := range events {
		if e.kind == diskSync && i+1 < len(events) && events[i+1].kind == diskWrite && events[i+1].at < 2*4096 {
			continue
		}
		out = append(out, e)
	}
	return out
}

// lose rebuilds the files that a loss of power before the next sync can leave.
func (p *powerLoss) lose() {
	if len(p.open) == 0 {
		return
	}
	before := p.content(p.durable)
	after := p.content(apply(p.durable, p.open, nil))
	check := func(keep func(write, sector int) bool) {
		p.check(apply(p.durable, p.open, keep), before, after)
	}
	check(func(int, int) bool { return false })
	for i, e := range p.open {
		check(func(w, _ int) bool { return w != i }) // it alone is lost
		check(func(w, _ int) bool { return w == i }) // it alone is there
		check(func(w, _ int) bool { return w <= i }) // it is the last one
		for s := range min(len(e.data)/sector, 16) {
			check(func(w, at int) bool { return w != i || at != s }) // torn: a sector is lost
			check(func(w, at int) bool { return w < i || w == i && at <= s })
		}
	}
	for range 20 {
		chance := p.random.Float64()
		lost := map[[2]int]bool{}
		check(func(w, at int) bool {
			drawn, known := lost[[2]int{w, at}]
			if !known {
				drawn = p.random.Float64() < chance
				lost[[2]int{w, at}] = drawn
			}
			return !drawn
		})
	}
}

// apply returns the file after those sectors of the writes that keep tells; nil keeps all.
func apply(file []byte, writes []diskEvent, keep func(write, sector int) bool) []byte {
	out := bytes.Clone(file)
	for i, e := range writes {
		if e.kind == diskTruncate {
			if keep == nil || keep(i, 0) {
				out = slices.Grow(out, max(0, int(e.size)-len(out)))
				for int64(len(out)) < e.size {
					out = append(out, make([]byte, e.size-int64(len(out)))...)
				}
				out = out[:e.size]
			}
			continue
		}
		for s := 0; s*sector < len(e.data); s++ {
			if keep != nil && !keep(i, s) {
				continue
			}
			part := e.data[s*sector : min((s+1)*sector, len(e.data))]
			at := int(e.at) + s*sector
			if n := at + len(part); n > len(out) {
				out = append(out, make([]byte, n-len(out))...)
			}
			copy(out[at:], part)
		}
	}
	return out
}

// check opens a file.
func (p *powerLoss) check(file []byte, before, after string) {
	p.t.Helper()
	sum := sha256.Sum256(file)
	if p.seen[sum] {
		return
	}
	p.seen[sum] = true
	p.states++
	got := p.content(file)
	switch {
	case got == before:
		p.before++
	case got == after:
		p.after++
	case strings.HasPrefix(got, "refused: "):
		p.refused++
		if !p.careless && !strings.Contains(got, "restore it from a snapshot") {
			p.t.Errorf("a file is refused without a way back: %s", got)
		}
	default:
		p.wrong++
	}
	if p.states%250 == 100 && !strings.HasPrefix(got, "refused: ") {
		p.sample = append(p.sample, served{file, p.acks})
	}
}

// content returns a digest of all entries in a file.
func (p *powerLoss) content(file []byte) string {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, bbolt.FileName), file, 0o600); err != nil {
		p.t.Fatal(err)
	}
	s, err := bbolt.Open(context.Background(), p.dir, bbolt.Options{})
	if err == nil {
		sum := sha256.New()
		err = s.(storage.Snapshotter).Snapshot(context.Background(), func(key string, value []byte) error {
			_, err := fmt.Fprintf(sum, "%d %d %s%s", len(key), len(value), key, value)
			return err
		})
		if err = errors.Join(err, s.Close()); err == nil {
			return hex.EncodeToString(sum.Sum(nil))
		}
	}
	if !p.careless && !errors.Is(err, storage.ErrCorrupt) {
		p.t.Errorf("opening a file: %v", err)
	}
	return "refused: " + err.Error()
}
