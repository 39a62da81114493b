package hsm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
	"github.com/sealgate/sealgate/internal/secret"
)

// fake is a PKCS#11 library in memory. It fails the test if a caller breaks a rule that crashes
// real libraries: a session in two goroutines, C_Finalize during a call, a session from before
// C_Initialize.
type fake struct {
	t *testing.T

	mu          sync.Mutex
	hook        func(op string) error // called in each call, without the lock; may block or panic
	slots       []ck.Slot
	pin         string
	objects     map[uint]ck.Object
	keys        map[uint][]byte
	mechanisms  []uint // none: all
	initialised bool
	epoch       int
	inside      int
	open, most  int // sessions
	loggedIn    bool
	count       map[string]int
	made        uint           // objects by Create
	spoil       []ck.Attribute // what Generate puts over the template
}

func newFake(t *testing.T) *fake {
	f := &fake{
		t: t, pin: "1234", objects: map[uint]ck.Object{}, keys: map[uint][]byte{}, count: map[string]int{},
		slots: []ck.Slot{{ID: 7, Label: "tok", Serial: "s1",
			Flags: ck.TokenLoginRequired | ck.TokenPINInitialized | ck.TokenInitialized}},
	}
	f.add(ck.KeyAES, "wrap")
	return f
}

// add makes a 32-byte secret key.
func (f *fake) add(kind uint, label string) uint {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := uint(len(f.objects) + 100)
	o := ck.Object{Handle: h, Attributes: map[uint][]byte{}}
	for _, a := range []ck.Attribute{
		ck.Ulong(ck.AttrClass, ck.ClassSecret), ck.Ulong(ck.AttrKeyType, kind), ck.String(ck.AttrLabel, label),
		{Type: ck.AttrID, Value: []byte{byte(h)}}, ck.Ulong(ck.AttrValueLen, 32),
	} {
		o.Attributes[a.Type] = a.Value
	}
	f.objects[h] = o
	f.keys[h] = make([]byte, 32)
	_, _ = rand.Read(f.keys[h])
	return h
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) counted(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[op]
}

// enter counts a call, runs the hook and checks the rules for every call.
func (f *fake) enter(op string) (leave func(), err error) {
	f.mu.Lock()
	f.count[op]++
	f.inside++
	hook := f.hook
	down := !f.initialised
	f.mu.Unlock()
	leave = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.inside--
	}
	if hook != nil {
		defer func() {
			if p := recover(); p != nil {
				leave()
				panic(p)
			}
		}()
		if err := hook(op); err != nil {
			return leave, err
		}
	}
	if down {
		return leave, ck.NotInitialized
	}
	return leave, nil
}

func (f *fake) alone(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[op]++
	if f.inside > 0 {
		f.t.Errorf("%s over %d calls", op, f.inside)
	}
	return nil
}

func (f *fake) Initialize() error {
	_ = f.alone("initialize")
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		if err := hook("initialize"); err != nil {
			return err
		}
	}
	f.set(func() { f.initialised, f.loggedIn, f.open = true, false, 0; f.epoch++ })
	return nil
}

func (f *fake) Finalize() error {
	_ = f.alone("finalize")
	f.set(func() { f.initialised = false })
	return nil
}

func (f *fake) Slots() ([]ck.Slot, error) {
	leave, err := f.enter("slots")
	defer leave()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.slots), nil
}

func (f *fake) Open(slot uint, write bool) (ck.Session, error) {
	leave, err := f.enter("open")
	defer leave()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.ContainsFunc(f.slots, func(s ck.Slot) bool { return s.ID == slot }) {
		return nil, ck.SlotIDInvalid
	}
	f.open++
	f.most = max(f.most, f.open)
	return &fakeSession{f: f, epoch: f.epoch}, nil
}

// fakeSession is a session of a fake.
type fakeSession struct {
	f     *fake
	epoch int
	busy  sync.Mutex
	dead  bool
}

func (s *fakeSession) enter(op string) (func(), error) {
	if !s.busy.TryLock() {
		s.f.t.Errorf("%s: a session in two goroutines", op)
		return func() {}, ck.OperationActive
	}
	s.f.mu.Lock()
	if s.epoch != s.f.epoch || s.dead {
		s.f.t.Errorf("%s: a session of before a restart, or closed", op)
	}
	s.f.mu.Unlock()
	panicked := true
	defer func() {
		if panicked {
			s.busy.Unlock()
		}
	}()
	leave, err := s.f.enter(op)
	panicked = false
	return func() { leave(); s.busy.Unlock() }, err
}

func (s *fakeSession) Login(user uint, pin []byte) error {
	leave, err := s.enter("login")
	defer leave()
	if err != nil {
		return err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	switch {
	case s.f.loggedIn:
		return ck.AlreadyLoggedIn
	case string(pin) != s.f.pin:
		return ck.PINIncorrect
	}
	s.f.loggedIn = true
	return nil
}

func (s *fakeSession) Find(template []ck.Attribute, want []uint, limit int) ([]ck.Object, error) {
	leave, err := s.enter("find")
	defer leave()
	if err != nil {
		return nil, err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	var out []ck.Object
	for _, h := range slices.Sorted(maps.Keys(s.f.objects)) {
		o := s.f.objects[h]
		fits := !slices.ContainsFunc(template, func(a ck.Attribute) bool {
			return !bytes.Equal(o.Attributes[a.Type],
				a.Value)
		})
		if fits && len(out) < limit {
			out = append(out, o)
		}
	}
	return out, nil
}

func (s *fakeSession) Mechanism(m uint) (uint, error) {
	leave, err := s.enter("mechanism")
	defer leave()
	if err != nil {
		return 0, err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if s.f.mechanisms != nil && !slices.Contains(s.f.mechanisms, m) {
		return 0, ck.MechanismInvalid
	}
	return ck.FlagEncrypt | ck.FlagDecrypt | ck.FlagSign, nil
}

func (s *fakeSession) Crypt(c ck.Call) ([]byte, error) {
	leave, err := s.enter(c.Operation.String())
	defer leave()
	if err != nil {
		return nil, err
	}
	s.f.mu.Lock()
	key, known := s.f.keys[c.Key]
	in := s.f.loggedIn
	s.f.mu.Unlock()
	switch {
	case !in:
		return nil, ck.NotLoggedIn
	case !known:
		return nil, ck.KeyHandleInvalid
	}
	return fakeCrypt(key, c)
}

func fakeCrypt(key []byte, c ck.Call) ([]byte, error) {
	block, _ := aes.NewCipher(key)
	switch c.Mechanism {
	case ck.MechSHA256HMAC:
		m := hmac.New(sha256.New, key)
		m.Write(c.Input)
		return m.Sum(nil), nil
	case ck.MechAESCBCPad: // a stream is enough: the padding is not what is tested
		out := make([]byte, len(c.Input)+16)
		if c.Operation == ck.Decrypt {
			out = out[:len(c.Input)-16]
		}
		cipher.NewCTR(block, c.IV).XORKeyStream(out[:min(len(out), len(c.Input))],
			c.Input[:min(len(out), len(c.Input))])
		return out, nil
	case ck.MechAESGCM:
		if len(c.IV) != 12 {
			return nil, ck.MechanismParamInvalid
		}
		gcm, _ := cipher.NewGCM(block)
		if c.Operation == ck.Encrypt {
			return gcm.Seal(nil, c.IV, c.Input, c.AAD), nil
		}
		out, err := gcm.Open(nil, c.IV, c.Input, c.AAD)
		if err != nil {
			return nil, ck.GeneralError // as SoftHSM
		}
		return out, nil
	}
	return nil, ck.MechanismInvalid
}

func (s *fakeSession) Generate(mechanism uint, template, public []ck.Attribute) (uint, error) {
	leave, err := s.enter("generate")
	defer leave()
	if err != nil {
		return 0, err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	h := uint(len(s.f.objects) + 100)
	o := ck.Object{Handle: h, Attributes: map[uint][]byte{}}
	for _, a := range append(slices.Clone(template), s.f.spoil...) {
		o.Attributes[a.Type] = a.Value
	}
	s.f.objects[h], s.f.keys[h] = o, make([]byte, 32)
	return h, nil
}

func (s *fakeSession) Alter(uint, ck.Attribute) error { return ck.FunctionNotSupported }

func (s *fakeSession) Destroy(h uint) error {
	leave, err := s.enter("destroy")
	defer leave()
	if err == nil {
		s.f.set(func() { delete(s.f.objects, h) })
	}
	return err
}

func (s *fakeSession) Close() error {
	leave, err := s.enter("close")
	defer leave()
	s.f.set(func() { s.f.open-- })
	s.dead = true
	return err
}

// token opens a Token on the fake.
func (f *fake) token(change func(*Config)) *Token {
	cfg := Config{TokenLabel: "tok", PIN: secret.Copy([]byte("1234")), Sessions: 4, Deadline: 5 * time.Second,
		module: ck.NewModule(f)}
	if change != nil {
		change(&cfg)
	}
	tok, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return tok
}

// key opens the fake's key.
func (f *fake) key(tok *Token, change func(*KeySpec)) *Key {
	spec := KeySpec{Label: "wrap"}
	if change != nil {
		change(&spec)
	}
	k, err := tok.Key(spec)
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

// once fails the first call of op, or the first n, with err.
func once(op string, n int, err error) func(string) error {
	var mu sync.Mutex
	return func(got string) error {
		mu.Lock()
		defer mu.Unlock()
		if got != op || n == 0 {
			return nil
		}
		n--
		return err
	}
}
