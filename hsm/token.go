package hsm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
	"github.com/sealgate/sealgate/hsm/internal/worker"
)

// Token is one token of one library, with one login and a bounded pool of sessions. It is safe for
// concurrent use.
type Token struct {
	cfg     Config
	pin     pin
	workers pool

	mu        sync.Mutex
	mod       *ck.Module    // nil before first use
	current   *loginSession // nil before first use, and after Close
	flight    *flight       // the login in progress
	granted   int           // session workers that exist
	known     *ck.Slot      // the token's last description
	refused   error         // why the PIN must not be sent again
	closed    bool
	dismissed bool // dismiss has collected the workers
	stats     Stats
}

// Stats counts what a Token has done since New.
type Stats struct {
	Logins   int // C_Login calls, successful or not
	Attached int // times that the token was found and logged in to
	Opened   int // sessions opened for work
	Stuck    int // sessions in a call that has passed its deadline
}

// loginSession is one login: a slot found by label and serial number, and a session that does no
// work, because the login ends with the last session.
type loginSession struct {
	generation uint64
	slot       ck.Slot
	quirk      quirk
	anchor     ck.Session
}

// flight is a login in progress, which all callers that need it share.
type flight struct {
	done chan struct{}
	err  error
}

func newToken(cfg Config, p pin) *Token {
	t := &Token{cfg: cfg, pin: p, granted: cfg.Sessions}
	for range cfg.Sessions {
		t.workers.put(&sessionWorker{t: t})
	}
	return t
}

// Info is the token's description of itself.
type Info struct {
	Slot                                uint
	Label, Serial, Manufacturer, Model  string
	Firmware                            string
	PINCountLow, PINFinalTry, PINLocked bool
	PINToBeChanged                      bool
	MaxSessions                         uint // 0: no limit, or an unknown one
}

func infoOf(s ck.Slot) Info {
	return Info{
		Slot: s.ID, Label: s.Label, Serial: s.Serial, Manufacturer: s.Manufacturer, Model: s.Model,
		Firmware:    s.Firmware,
		PINCountLow: s.Flags&ck.TokenPINCountLow != 0, PINFinalTry: s.Flags&ck.TokenPINFinalTry != 0,
		PINLocked: s.Flags&ck.TokenPINLocked != 0, PINToBeChanged: s.Flags&ck.TokenPINToBeChanged != 0,
		MaxSessions: s.MaxSessions,
	}
}

// Info reads the token's current flags. It finds the token and logs in if necessary.
func (t *Token) Info(ctx context.Context) (Info, error) {
	var now ck.Slot
	err := t.do(ctx, func(c *call) error {
		slots, err := c.library.Slots()
		if err != nil {
			return err
		}
		for _, s := range slots {
			if s.ID == c.at.slot.ID && s.Serial == c.at.slot.Serial {
				now = s
				return nil
			}
		}
		return ck.TokenNotPresent
	})
	if err != nil {
		return Info{}, err
	}
	return infoOf(now), nil
}

// Stats returns the counters.
func (t *Token) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// closing is how long Close waits for calls inside the library.
const closing = 1500 * time.Millisecond

// Close closes every session and logs out. If a call hangs in the library, Close leaves it there
// and returns ErrStuck.
func (t *Token) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	mod, fl := t.mod, t.flight
	t.mu.Unlock()
	defer t.pin.destroy()
	ctx, cancel := context.WithTimeout(context.Background(), min(t.cfg.Deadline, closing))
	defer cancel()
	if mod != nil && mod.Isolated() {
		defer context.AfterFunc(ctx, mod.Kill)() // a hanging call ends with its process
	}
	if fl != nil {
		select {
		case <-fl.done:
		case <-ctx.Done():
			if mod == nil || !mod.Isolated() {
				return ErrStuck
			}
		}
	}
	stuck := t.dismiss(ctx, mod)
	if mod == nil {
		return nil
	}
	if mod.Isolated() {
		stuck = false
	}
	t.detach(ctx, mod)
	if err := mod.Release(); err != nil || stuck {
		return errors.Join(err, t.stuckError(stuck))
	}
	return nil
}

func (t *Token) stuckError(stuck bool) error {
	if stuck {
		return fmt.Errorf("hsm: close: %w", ErrStuck)
	}
	return nil
}

// detach closes the anchor session, which logs out.
func (t *Token) detach(ctx context.Context, mod *ck.Module) {
	t.mu.Lock()
	at := t.current
	t.current = nil
	t.mu.Unlock()
	if at == nil || mod.Enter(ctx, at.generation) != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer mod.Exit()
		hangUp(at.anchor)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// module loads the library at first use.
func (t *Token) module() (*ck.Module, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	if t.mod != nil {
		return t.mod, nil
	}
	if t.cfg.module != nil {
		t.mod = t.cfg.module.Retain()
		return t.mod, nil
	}
	if t.cfg.Isolation == Process {
		t.mod = ck.NewModule(worker.New(t.workerConfig())).Retain()
		return t.mod, nil
	}
	mod, err := ck.Acquire(t.cfg.Lib)
	if err != nil {
		return nil, err
	}
	t.mod = mod
	return mod, nil
}

// workerConfig describes the library's process.
func (t *Token) workerConfig() worker.Config {
	return worker.Config{
		Lib: t.cfg.Lib, Deadline: t.cfg.Deadline, Network: !t.cfg.NoNetwork, Memory: t.cfg.Memory,
		Paths: t.cfg.Paths, PIN: t.pin.kept, Log: t.cfg.Log,
	}
}

// logIn returns a login session other than bad, made in at least the given generation: the current
// one, or a new one that concurrent callers share.
func (t *Token) logIn(ctx context.Context, mod *ck.Module, bad *loginSession, least uint64) (*loginSession, error) {
	for own := false; ; {
		t.mu.Lock()
		switch at := t.current; {
		case t.closed:
			t.mu.Unlock()
			return nil, ErrClosed
		case t.refused != nil:
			defer t.mu.Unlock()
			return nil, t.refused
		case at != nil && at != bad && at.generation >= least:
			t.mu.Unlock()
			return at, nil
		}
		fl := t.flight
		if fl == nil {
			own = true
			fl = &flight{done: make(chan struct{})}
			t.flight = fl
			go t.runLogin(mod, fl)
		}
		t.mu.Unlock()
		select {
		case <-fl.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if fl.err != nil && own {
			return nil, fl.err // a login that another caller started may predate this caller's recovery
		}
	}
}

// runLogin runs a login in a goroutine of its own, so that one that hangs costs its callers no more
// than their deadline.
func (t *Token) runLogin(mod *ck.Module, fl *flight) {
	at, err := t.enter(mod)
	t.mu.Lock()
	old := t.current
	switch {
	case err == nil:
		t.current, t.known = at, &at.slot
		t.stats.Attached++
		t.limit(at.slot.MaxSessions)
	case errors.Is(err, ErrPIN), errors.Is(err, ErrPINLocked), errors.Is(err, ErrPINFinalTry):
		t.refused = err
	}
	t.flight, fl.err = nil, err
	t.mu.Unlock()
	if err == nil && old != nil && old.generation == at.generation &&
		mod.Enter(context.Background(), old.generation) == nil {
		hangUp(old.anchor)
		mod.Exit()
	}
	close(fl.done)
}

// hangUp closes a session. An error is ignored: the session ends with the library at the latest.
func hangUp(s ck.Session) {
	var err error
	defer recovered(&err)
	_ = s.Close()
}

// enter starts the library, finds the token, opens the anchor session and logs in.
func (t *Token) enter(mod *ck.Module) (at *loginSession, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), t.cfg.Deadline, ErrDeadline)
	defer cancel()
	generation, err := mod.Start(ctx)
	if err != nil {
		return nil, t.explain(err)
	}
	if err := mod.Enter(ctx, generation); err != nil {
		return nil, err
	}
	defer mod.Exit()
	defer recovered(&err)
	slots, err := mod.Library().Slots()
	if err != nil {
		return nil, fmt.Errorf("listing the slots: %w", err)
	}
	slot, err := t.choose(slots)
	if err != nil {
		return nil, err
	}
	anchor, err := mod.Library().Open(slot.ID, false)
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	if err := t.login(anchor, slot); err != nil {
		_ = anchor.Close()
		return nil, err
	}
	return &loginSession{generation: generation, slot: slot, quirk: quirkOf(slot), anchor: anchor}, nil
}

// recovered turns a panic of the binding into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the PKCS#11 library panicked: %v", p)
	}
}

// choose selects the configured token.
func (t *Token) choose(slots []ck.Slot) (ck.Slot, error) {
	var fits []ck.Slot
	for _, s := range slots {
		if t.fits(s) {
			fits = append(fits, s)
		}
	}
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0:
		return ck.Slot{}, t.absent(slots)
	}
	var serials []string
	for _, s := range fits {
		serials = append(serials, s.Serial)
	}
	return ck.Slot{}, fmt.Errorf("%w: %s; the serial numbers are %s", ErrTokenAmbiguous, t.wanted(),
		strings.Join(serials, ", "))
}

// fits compares a slot with the configuration and, once the token was seen, with its serial number:
// a slot that now holds another token does not fit.
func (t *Token) fits(s ck.Slot) bool {
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	switch {
	case t.cfg.TokenLabel != "" && s.Label != t.cfg.TokenLabel,
		t.cfg.TokenSerial != "" && s.Serial != t.cfg.TokenSerial:
		return false
	case known != nil:
		return s.Serial == known.Serial && s.Label == known.Label
	}
	return t.cfg.Slot == nil || s.ID == *t.cfg.Slot
}

func (t *Token) wanted() string {
	var parts []string
	if t.cfg.TokenLabel != "" {
		parts = append(parts, fmt.Sprintf("label %q", t.cfg.TokenLabel))
	}
	if t.cfg.TokenSerial != "" {
		parts = append(parts, "serial number "+t.cfg.TokenSerial)
	}
	if t.cfg.Slot != nil {
		parts = append(parts, fmt.Sprintf("slot %d", *t.cfg.Slot))
	}
	return strings.Join(parts, ", ")
}

func (t *Token) absent(slots []ck.Slot) error {
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	present := "the library lists no token"
	if hint := softHSMHint(t.cfg.Lib, t.cfg.Paths); hint != "" {
		present += "; " + hint
	}
	if len(slots) > 0 {
		var names []string
		for _, s := range slots {
			names = append(names, fmt.Sprintf("%q (serial %s, slot %d)", s.Label, s.Serial, s.ID))
		}
		present = "the library lists " + strings.Join(names, ", ")
	}
	if known != nil {
		return fmt.Errorf("%w: %q, serial number %s; %s", ErrTokenGone, known.Label, known.Serial, present)
	}
	return fmt.Errorf("%w: %s; %s", ErrTokenNotFound, t.wanted(), present)
}

// limit removes workers if the token allows fewer sessions than configured. The anchor session
// counts. The caller holds t.mu.
func (t *Token) limit(most uint) {
	for most != 0 && t.granted > 1 && uint(t.granted)+1 > most {
		w := t.workers.take()
		if w == nil {
			return // all are busy: the next login tries again
		}
		w.retire()
		t.granted--
	}
}
