//go:build !windows

package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// reply is a response to one call.
type reply struct {
	status  uint8
	payload []byte
}

// line carries the calls of one session, one at a time.
type line struct {
	number uint32
	busy   bool     // the child has a call; guarded by the process's mu
	left   bool     // no caller waits for it; likewise
	then   []func() // run when a call that was left has returned; likewise
	answer chan reply
	since  time.Time // of the call; likewise
	slot   int       // of the ring; -1: none
}

// process is a running child. Three goroutines belong to it and end with it: one reads responses,
// one watches deadlines, one waits for its end.
type process struct {
	cfg      Config
	cmd      *exec.Cmd
	conn     net.Conn
	out      *batch
	polling  *poller       // nil: there is no ring
	exited   chan struct{} // closed after the end was collected
	drained  chan struct{} // closed after the last response was read
	finished chan struct{} // closed when the goroutine that reads has ended

	mu    sync.Mutex
	lines map[uint32]*line
	next  uint32
	err   error         // why it ended or was ended
	down  chan struct{} // closed with err
}

// start runs the executable again as a worker and has it load the library.
func start(cfg Config) (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("%w: making a socket pair: %w", ck.ErrWorker, err)
	}
	defer theirs.Close()
	shared, err := newRing()
	if err != nil {
		cfg.Log.Debug("the HSM worker has no shared memory; its calls take longer", "error", err)
	}
	cmd, done, err := command(cfg, theirs, shared)
	if err == nil {
		err = cmd.Start()
		done()
	}
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("%w: it does not start: %w", ck.ErrWorker, err)
	}
	p := newProcess(cfg, cmd, ours, shared)
	return p, p.load()
}

// newProcess starts the goroutines of a child that runs.
func newProcess(cfg Config, cmd *exec.Cmd, conn net.Conn, shared *ring) *process {
	p := &process{
		cfg: cfg, cmd: cmd, conn: conn, out: &batch{w: conn}, polling: newPoller(shared), lines: map[uint32]*line{},
		exited: make(chan struct{}), finished: make(chan struct{}), drained: make(chan struct{}), down: make(chan struct{}),
	}
	go p.wait()
	go p.watch()
	go func() {
		defer close(p.finished)
		p.read()
	}()
	return p
}

// load sends the setup. A library that cannot be loaded ends the process.
func (p *process) load() error {
	c := setup{lib: p.cfg.Lib, network: p.cfg.Network, memory: p.cfg.Memory, paths: p.cfg.Paths}
	payload, err := p.once(opLoad, c.encode)
	if err != nil {
		p.fail(err)
		<-p.exited
		return err
	}
	d := &decoder{b: payload}
	confinement := d.string()
	p.cfg.Log.Info("the HSM library runs in a child process", "pid", p.cmd.Process.Pid, "confinement", confinement)
	return p.check(d)
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	f := os.NewFile(uintptr(fds[0]), "hsm worker")
	defer f.Close()
	theirs := os.NewFile(uintptr(fds[1]), "hsm worker")
	conn, err := net.FileConn(f)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// command prepares the child. done closes what only the child needs.
func command(cfg Config, socket *os.File, shared *ring) (cmd *exec.Cmd, done func(), err error) {
	exe := "/proc/self/exe" // the running file, even if an upgrade replaced it
	if runtime.GOOS != "linux" {
		if exe, err = os.Executable(); err != nil {
			return nil, nil, err
		}
	}
	cmd = exec.Command(exe)
	cmd.Args = []string{"hsm-worker", cfg.Lib}
	// The work is the library's. Calls into it that last do not count, and with one processor for
	// the Go code short calls need no change of threads: with two, the rate is lower.
	cmd.Env = append(environ(os.Environ()), "GOMAXPROCS=1", marker+"=1")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	done = shared.sent
	if shared != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, shared.file)
		cmd.Env = append(cmd.Env, ringMarker+"=4")
	}
	if cfg.PIN != nil {
		f, err := cfg.PIN.file()
		if err != nil {
			shared.sent()
			return nil, nil, fmt.Errorf("passing the PIN: %w", err)
		}
		done = func() {
			_ = f.Close()
			shared.sent()
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", pinMarker, 2+len(cmd.ExtraFiles)))
	}
	return cmd, done, nil
}

// credentials are parts of the names of variables that the child does not get.
var credentials = []string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "API_KEY", "ACCESS_KEY",
	"_PIN"}

// environ drops variables that look like credentials, and Sealgate's, Vault's and OpenBao's own.
func environ(all []string) []string {
	var keep []string
next:
	for _, v := range all {
		name, _, _ := strings.Cut(v, "=")
		name = strings.ToUpper(name)
		for _, prefix := range []string{"SEALGATE_", "VAULT_", "BAO_"} {
			if strings.HasPrefix(name, prefix) {
				continue next
			}
		}
		for _, part := range credentials {
			if strings.Contains(name, part) {
				continue next
			}
		}
		keep = append(keep, v)
	}
	return keep
}

func (p *process) alive() bool {
	select {
	case <-p.down:
		return false
	default:
		return true
	}
}

// fail ends the process, once, for a reason.
func (p *process) fail(why error) {
	p.mu.Lock()
	first := p.err == nil
	if first {
		p.err = why
		close(p.down)
	}
	p.mu.Unlock()
	if !first {
		return
	}
	_ = p.conn.Close()
	_ = p.cmd.Process.Kill()
	p.mu.Lock()
	var then []func()
	for _, l := range p.lines {
		then = append(then, l.then...)
		l.then = nil
	}
	p.mu.Unlock()
	runAll(then)
}

// leave gives up waiting for the line's call. It reports false if the response has just arrived.
func (p *process) leave(l *line) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.left = l.busy
	return l.busy
}

// after runs f when the line's abandoned call has returned or the process has ended, and reports
// whether there is such a call.
func (p *process) after(l *line, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !l.left || p.err != nil {
		return false
	}
	l.then = append(l.then, f)
	return true
}

func runAll(list []func()) {
	for _, f := range list {
		f()
	}
}

// wait collects the child's end.
func (p *process) wait() {
	defer close(p.exited)
	err := p.cmd.Wait()
	if err == nil {
		err = errors.New("it exited")
	}
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-p.drained: // its last responses count
	case <-t.C:
	}
	p.fail(err)
}

// ended is the error of calls of a process that ended.
func (p *process) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(p.err, ck.ErrClosed) {
		return p.err
	}
	return fmt.Errorf("%w: %w", ck.ErrWorker, p.err)
}

// read passes responses from the socket to their lines.
func (p *process) read() {
	in := bufio.NewReaderSize(p.conn, 64<<10)
	for {
		number, status, payload, err := readFrame(in)
		if err != nil {
			close(p.drained)
			p.readEnded(err)
			return
		}
		if !p.deliver(number, status, payload) {
			close(p.drained)
			p.fail(fmt.Errorf("%w: a response without a request", errProtocol))
			return
		}
	}
}

// deliver passes a response to its line. It reports false if the line expects none.
func (p *process) deliver(number uint32, status uint8, payload []byte) bool {
	p.mu.Lock()
	l := p.lines[number]
	if l == nil || !l.busy {
		p.mu.Unlock()
		clear(payload)
		return false
	}
	left, then := l.left, l.then
	l.busy, l.left, l.then = false, false, nil
	p.mu.Unlock()
	if left {
		clear(payload)
		runAll(then)
	} else {
		l.answer <- reply{status, payload} // buffered
	}
	return true
}

// watch ends a process in which a call passes its deadline. Every other call at that moment fails
// too: it is retried in a new process.
func (p *process) watch() {
	t := time.NewTicker(max(p.cfg.Deadline/20, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-p.down:
			return
		case now := <-t.C:
			if p.overdue(now) {
				p.fail(fmt.Errorf("a call did not return within %s", p.cfg.Deadline))
				return
			}
		}
	}
}

func (p *process) overdue(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l.busy && now.Sub(l.since) >= p.cfg.Deadline {
			return true
		}
	}
	return false
}

// readEnded lets the child's exit status name the reason, which arrives shortly after the
// connection's end.
func (p *process) readEnded(err error) {
	if errors.Is(err, errProtocol) {
		p.fail(err)
		return
	}
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
		p.fail(err)
	}
}

func (p *process) newLine() *line {
	l := &line{answer: make(chan reply, 1), slot: -1}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	l.number = p.next
	p.lines[l.number] = l
	return l
}

func (p *process) drop(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lines, l.number)
	p.polling.release(l)
}

// newSessionLine makes a line that has a slot of the ring, if one is free.
func (p *process) newSessionLine() *line {
	l := p.newLine()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polling.assign(l)
	return l
}

// once makes a call that belongs to no session.
func (p *process) once(op operation, body func(*encoder)) ([]byte, error) {
	l := p.newLine()
	defer p.drop(l)
	return p.call(context.Background(), l, op, body)
}

// call sends a request and waits for its response, the end of the process or the end of ctx. In the
// last case the line stays busy until the response arrives.
func (p *process) call(ctx context.Context, l *line, op operation, body func(*encoder)) ([]byte, error) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return nil, p.ended()
	}
	l.busy, l.since = true, time.Now()
	p.mu.Unlock()
	if p.polling.send(l, op, body) {
		if r, ok := p.await(ctx, l); ok {
			return p.result(r)
		}
		return p.response(ctx, l)
	}
	p.out.add(l.number, uint8(op), body)
	runtime.Gosched() // callers that are ready add their requests to the same write
	if err := p.out.flush(); err != nil {
		p.fail(err)
		return nil, p.ended()
	}
	return p.response(ctx, l)
}

// response waits for the response of a line.
func (p *process) response(ctx context.Context, l *line) ([]byte, error) {
	select {
	case r := <-l.answer:
		return p.result(r)
	case <-p.down:
	case <-ctx.Done():
		if p.leave(l) {
			return nil, context.Cause(ctx)
		}
	}
	// The response has arrived, or the process has ended, perhaps after its response.
	select {
	case r := <-l.answer:
		return p.result(r)
	default:
	}
	select {
	case r := <-l.answer:
		return p.result(r)
	case <-p.down:
		return nil, p.ended()
	}
}

// result decodes a response's status.
func (p *process) result(r reply) ([]byte, error) {
	d := &decoder{b: r.payload}
	switch r.status {
	case statusDone:
		return r.payload, nil
	case statusCKR:
		rv := ck.CKR(d.u64())
		if err := p.check(d); err != nil || rv == 0 {
			return nil, errors.Join(err, ck.GeneralError)
		}
		return nil, rv
	case statusText:
		kind, text := d.u8(), d.string()
		if err := p.check(d); err != nil {
			return nil, err
		}
		return nil, textError(kind, text)
	}
	d.bad = true
	return nil, p.check(d)
}

// textError restores an error of the child.
func textError(kind uint8, text string) error {
	kinds := map[uint8]error{textNotLibrary: ck.ErrNotLibrary, textNoCgo: ck.ErrNoCgo}
	known := kinds[kind]
	if known == nil {
		return errors.New(text)
	}
	rest, cut := strings.CutPrefix(text, known.Error()+": ")
	if !cut {
		return known
	}
	return fmt.Errorf("%w: %s", known, rest)
}

// check ends a process whose response was malformed.
func (p *process) check(d *decoder) error {
	if d.done() {
		return nil
	}
	p.fail(errProtocol)
	return p.ended()
}
