package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sinkStub is a sink that waits or fails on request.
type blockingSink struct {
	mu      sync.Mutex
	open    chan struct{} // writes wait for it; nil: they do not
	err     error
	lines   []string
	batches []int
	entered chan struct{} // has one for each write that has begun
}

func newBlockingSink() *blockingSink {
	return &blockingSink{entered: make(chan struct{}, 2*maxWaiting)}
}

func (g *blockingSink) write(lines []byte, ends []int) (int, error) {
	g.mu.Lock()
	wait, err := g.open, g.err
	g.mu.Unlock()
	g.entered <- struct{}{}
	if wait != nil {
		<-wait
	}
	if err != nil {
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.batches = append(g.batches, len(ends))
	begin := 0
	for _, end := range ends {
		g.lines = append(g.lines, string(lines[begin:end]))
		begin = end
	}
	return len(ends), nil
}

func (g *blockingSink) reopen() error { return nil }
func (g *blockingSink) close() error  { return nil }

func (g *blockingSink) set(open chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.err = open, err
}

func (g *blockingSink) count() (lines, batches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lines), len(g.batches)
}

// through adds a device with such a sink to a trail.
func (b *bench) through(path string, g *blockingSink, deadline time.Duration) {
	b.t.Helper()
	d := newDevice(path, g, deadline, b.trail.o.Log)
	before := b.trail.now.Load()
	a := &attached{Config: Config{Path: path}, formatter: &formatter{hash: newHasher("salt")}, device: d}
	b.trail.now.Store(&set{devices: append(before.devices[:len(before.devices):len(before.devices)], a), active: true})
}

// TestGroups: what comes while a write is under way goes out together, in one write.
func TestGroups(t *testing.T) {
	t.Parallel()
	b, g := active(t), newBlockingSink()
	b.through("g/", g, time.Minute)
	held := make(chan struct{})
	g.set(held, nil)
	var wg sync.WaitGroup
	ask := func(id string) {
		wg.Go(func() {
			if err := b.trail.Begin(request(id), nil).Request(""); err != nil {
				t.Error(err)
			}
		})
	}
	ask("first")
	<-g.entered
	const n = 50
	for i := range n {
		ask(fmt.Sprint(i))
	}
	d := b.trail.now.Load().devices[0].device
	eventually(t, "all wait", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.queue.ends) == n
	})
	close(held)
	wg.Wait()
	if lines, batches := g.count(); lines != n+1 || batches != 2 {
		t.Errorf("%d entries in %d writes", lines, batches)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestOneIsEnough: with two devices a request passes as long as one takes its entries; with none it
// does not.
func TestOneIsEnough(t *testing.T) {
	t.Parallel()
	b, one, two := active(t), newBlockingSink(), newBlockingSink()
	b.through("one/", one, time.Minute)
	b.through("two/", two, time.Minute)
	b.must("both")
	broken := errors.New("broken")
	one.set(nil, broken)
	b.must("one is broken")
	two.set(nil, broken)
	if err := b.once("none"); !errors.Is(err, ErrUnwritten) || !errors.Is(err, broken) {
		t.Errorf("without a device: %v", err)
	}
	one.set(nil, nil)
	b.must("one is back")
	two.set(nil, nil)
	b.must("both are back")
	if !strings.Contains(b.log.String(), "recovered") {
		t.Error("the recovery was not logged")
	}
}

// TestHanging: a device that hangs costs its deadline once. Then no request waits for it where
// there is another; where there is none requests are refused at once. When it continues, it takes
// entries again.
func TestHanging(t *testing.T) {
	t.Parallel()
	b, g := active(t), newBlockingSink()
	const deadline = time.Second
	b.through("g/", g, deadline)
	held := make(chan struct{})
	g.set(held, nil)
	begin := time.Now()
	if err := b.once("first"); !errors.Is(err, errLate) {
		t.Errorf("hanging: %v", err)
	}
	if took := time.Since(begin); took < deadline || took > 50*deadline {
		t.Errorf("a deadline of %s took %s", deadline, took)
	}
	begin = time.Now()
	for range 100 {
		if err := b.once("refused"); !errors.Is(err, ErrUnwritten) {
			t.Fatalf("while it hangs: %v", err)
		}
	}
	if took := time.Since(begin); took > 50*deadline {
		t.Errorf("100 refusals took %s", took)
	}
	file := b.file("log")
	b.enable("file", "file", "file_path", file)
	b.must("by the other")
	close(held)
	g.set(nil, nil)
	eventually(t, "it takes entries again", func() bool { return b.trail.now.Load().devices[0].device.healthy() })
	b.must("by both")
}

// TestFullQueue: what waits for a device that hangs is bounded.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	b, g := active(t), newBlockingSink()
	b.through("g/", g, 100*time.Millisecond)
	b.enable("discard", "file", "file_path", "discard")
	held := make(chan struct{})
	g.set(held, nil)
	for range maxWaiting {
		b.must("x")
	}
	d := b.trail.now.Load().devices[0].device
	d.mu.Lock()
	waiting, missing := len(d.queue.ends), d.missing
	d.mu.Unlock()
	if waiting != maxWaiting || missing == 0 {
		t.Errorf("%d wait, %d are missing", waiting, missing)
	}
	close(held)
	eventually(t, "it has taken all that waited", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.queue.ends) == 0 && !d.writing && !d.failed
	})
}

// TestRemovedFile: a file that was removed is created again, and no entry is lost; where its folder
// is gone too, nothing happens.
func TestRemovedFile(t *testing.T) {
	t.Parallel()
	b := active(t)
	dir := b.file("logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.enable("file", "file", "file_path", filepath.Join(dir, "log"), "skip_test", "true")
	b.must("1")
	if err := os.Remove(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	b.must("2")
	if got := b.read("logs/log"); len(b.entries(got)) != 2 || strings.Contains(got, "secret/1") {
		t.Errorf("created again: %s", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := b.once("3"); !errors.Is(err, ErrUnwritten) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its folder: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.must("4")
}

// TestTornLine: behind half a line of a process that was killed the log continues with a line of
// its own.
func TestTornLine(t *testing.T) {
	t.Parallel()
	b := active(t)
	if err := os.WriteFile(b.file("log"), []byte(`{"half":`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.enable("file", "file", "file_path", b.file("log"), "skip_test", "true")
	b.must("1")
	half, rest, _ := strings.Cut(b.read("log"), "\n")
	if half != `{"half":` || len(b.entries(rest)) != 2 {
		t.Errorf("behind half a line: %q", b.read("log"))
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	b := active(t)
	for option, want := range map[string]os.FileMode{"": 0o600, "0640": 0o640, "0777": 0o666, "0000": 0o604} {
		name := "mode" + option
		if err := os.WriteFile(b.file(name), nil, 0o604); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(b.file(name), 0o604); err != nil {
			t.Fatal(err)
		}
		b.enable(name, "file", "file_path", b.file(name), "mode", option)
		if info, err := os.Stat(b.file(name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode %q: %v, want %v; %v", option, info.Mode(), want, err)
		}
	}
}

// TestReopen: after a rotation the log continues in a new file, and not one entry is missing.
func TestReopen(t *testing.T) {
	t.Parallel()
	b := active(t)
	b.enable("file", "file", "file_path", b.file("log"))
	const writers, each = 8, 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				b.must(fmt.Sprint(w, "-", i))
			}
		})
	}
	for i := range 5 {
		if err := os.Rename(b.file("log"), b.file(fmt.Sprint("log.", i))); err != nil {
			t.Error(err)
		}
		b.trail.Reopen()
		eventually(t, "the new file", func() bool { _, err := os.Stat(b.file("log")); return err == nil })
	}
	wg.Wait()
	total := len(b.entries(b.read("log")))
	for i := range 5 {
		total += len(b.entries(b.read(fmt.Sprint("log.", i))))
	}
	if total != 2*writers*each+1 {
		t.Errorf("%d entries of %d", total, 2*writers*each+1)
	}
}

// BenchmarkRecord is one request through a file device, by sixteen at once.
func BenchmarkRecord(b *testing.B) {
	x := active(b)
	x.enable("file", "file", "file_path", x.file("log"))
	req, auth, resp := full()
	req.Headers = nil
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := x.trail.Begin(req, auth)
			if err := errors.Join(r.Request(""), r.Response(resp, "")); err != nil {
				b.Error(err)
			}
		}
	})
}
