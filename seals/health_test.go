package seals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// cloud is a book whose key has versions, which counts and dates what it is asked.
type cloud struct {
	book
	version      int
	unresponsive bool // may not be asked for the state of its key
	deletion     time.Time
	calls        []call
	lock         sync.Mutex
}

type call struct {
	what string
	at   time.Time
}

func (c *cloud) count(what string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.calls = append(c.calls, call{what, time.Now()})
}

func (c *cloud) asked(what string) int {
	c.lock.Lock()
	defer c.lock.Unlock()
	n := 0
	for _, one := range c.calls {
		if what == "" || one.what == what {
			n++
		}
	}
	return n
}

func (c *cloud) key() string { return fmt.Sprintf("v%d", c.version) }

func (c *cloud) Encrypt(ctx context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	c.count("encrypt")
	blob, err := c.book.Encrypt(ctx, b, o...)
	if err == nil {
		blob.KeyInfo.KeyId = "arn:key"
	}
	return blob, err
}

func (c *cloud) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	c.count("decrypt")
	return c.book.Decrypt(ctx, b, o...)
}

func (c *cloud) KeyVersion(context.Context) (string, error) { return c.key(), nil }

func (c *cloud) Describe(context.Context) (KeyState, error) {
	c.count("describe")
	if c.unresponsive {
		return KeyState{ID: "arn:key", Detail: map[string]string{"degraded": "kms:DescribeKey is not allowed"}}, nil
	}
	state := "enabled"
	if !c.deletion.IsZero() {
		state = "pending deletion"
	}
	return KeyState{ID: "arn:key", Version: c.key(), Latest: c.key(), State: state, DeletionDate: c.deletion, Protection: "hsm", Region: "eu-west-1"}, nil
}

func newCloud(t *testing.T, kind string, c *cloud) (*Set, *Record) {
	t.Helper()
	s, err := NewSet([]Seal{{Name: "sky", Type: kind, Wrapper: c}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.calls = nil
	return s, r
}

var usual = Pace{Sound: 10 * time.Second, Failing: 2 * time.Second, Look: 10 * time.Minute}

// tend lets d pass as a node does.
func tend(t *testing.T, s *Set, r *Record, d time.Duration) {
	t.Helper()
	end := time.Now().Add(d)
	for {
		wait := s.RunHealthChecks(t.Context(), r, usual)
		if time.Now().Add(wait).After(end) {
			time.Sleep(time.Until(end))
			return
		}
		time.Sleep(wait)
	}
}

// TestProbesCost: a service that takes money is called at most once in any minute while nothing changes, whatever it is asked, and its
// key's state is nevertheless known; a device is proven every ten seconds.
func TestProbesCost(t *testing.T) {
	for _, kind := range []string{"awskms", "gcpckms", "azurekeyvault", "ocikms", "alicloudkms"} {
		for _, unresponsive := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, unresponsive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := &cloud{version: 1, unresponsive: unresponsive}
					s, r := newCloud(t, kind, c)
					if tend(t, s, r, time.Second); !s.WouldUnseal() {
						t.Error("just initialised, and it is not known that the seal works")
					}
					tend(t, s, r, 24*time.Hour)
					for i := 1; i < len(c.calls); i++ {
						if gap := c.calls[i].at.Sub(c.calls[i-1].at); gap < time.Minute {
							t.Fatalf("%s came %s after %s", c.calls[i].what, gap, c.calls[i-1].what)
						}
					}
					if n := c.asked("") + c.asked("describe"); n < 24*60*2/3 || n > 24*60 { // some services tell of a key in two calls
						t.Errorf("%d calls in a day", n)
					}
					if n := c.asked("describe"); n < 24*3 || n > 24*6 {
						t.Errorf("asked for the key's state %d times in a day", n)
					}
					if n := c.asked("encrypt"); unresponsive != (n > 0) || n > 24*6 {
						t.Errorf("%d encryptions", n)
					}
					if st := s.StatusOf(r)[0]; st.KeyNewest != "v1" || st.RewrapDue || !st.WouldUnseal {
						t.Errorf("%+v", st)
					}
				})
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{version: 1}
		s, r := newCloud(t, "pkcs11", c)
		tend(t, s, r, time.Hour)
		if n := c.asked("decrypt"); n < 280 || n > 490 {
			t.Errorf("a device was proven %d times in an hour", n)
		}
		if n := c.asked("describe"); n < 5 || n > 8 {
			t.Errorf("a device was asked for its key %d times in an hour", n)
		}
	})
}

// TestOwnPace: a provider that knows its pace keeps it.
func TestOwnPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &paced{cloud: cloud{version: 1}}
		s, err := NewSet([]Seal{{Name: "sky", Type: "sky", Wrapper: c}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.calls = nil
		tend(t, s, r, 10*time.Hour)
		if n := c.asked(""); n < 6 || n > 14 { // every hour, give or take a quarter; after a look, which counts twice, two hours later
			t.Errorf("%d calls in ten hours", n)
		}
	})
}

type paced struct{ cloud }

func (*paced) Pace() Pace {
	return Pace{Sound: time.Hour, Failing: time.Hour, Look: 5 * time.Hour, Metered: true}
}

// TestKeyOfAFailingSeal: a seal that fails is asked what became of its key at once, and then no more often than it is proven; one that is
// away is not.
func TestKeyOfAFailingSeal(t *testing.T) {
	for class, looks := range map[Class]bool{KeyDisabled: true, PendingDeletion: true, Denied: true, Unreachable: false, Throttled: false} {
		synctest.Test(t, func(t *testing.T) {
			c := &cloud{version: 1}
			s, r := newCloud(t, "awskms", c)
			tend(t, s, r, 3*time.Minute)
			c.set(func() { c.fail = Fail(class, errors.New("cause"), "remedy") })
			c.deletion = time.Now().Add(7 * 24 * time.Hour)
			c.calls = nil
			tend(t, s, r, 4*time.Minute)
			if got := c.asked("describe") == 1; got != looks {
				t.Errorf("%s: asked for the key %d times", class, c.asked("describe"))
			}
			st := s.StatusOf(r)[0]
			if st.WouldUnseal || st.Class != class || st.Failing == nil || time.Since(*st.Failing) < 2*time.Minute || (st.Deletion != nil) != looks {
				t.Errorf("%s: %+v", class, st)
			}
			if n := c.asked("decrypt"); n < 2 || n > 17 {
				t.Errorf("%s: tried %d times in four minutes", class, n)
			}
		})
	}
}

// TestRewrapByOneSeal: the part alone is wrapped again; the others' blobs, the digest and the root key stay.
func TestRewrapByOneSeal(t *testing.T) {
	for _, threshold := range []int{1, 2} {
		for _, unresponsive := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c, other := &cloud{version: 1, unresponsive: unresponsive}, &book{}
				s, err := NewSet([]Seal{{"other", "book", other}, {"sky", "awskms", c}}, Options{Threshold: threshold})
				if err != nil {
					t.Fatal(err)
				}
				root := newRoot(t)
				r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				tend(t, s, r, 5*time.Minute)
				c.version = 2
				tend(t, s, r, 30*time.Minute)
				st := s.StatusOf(r)[1]
				if !st.RewrapDue || st.KeyVersion != "v1" || st.KeyNewest != "v2" || s.FullyWrapped(r) || !slices.Equal(st.Needed, []KeyUse{{"arn:key", "v1", "root key"}}) {
					t.Fatalf("%+v", st)
				}
				other.set(func() { other.fail = Fail(Unreachable, errors.New("cable"), "plug it in") })
				next, moved, err := s.Rewrap(t.Context(), r, "sky")
				if err != nil || !moved {
					t.Fatal(moved, err)
				}
				if next.Parts[0].Blob != r.Parts[0].Blob || next.Parts[1].Digest != r.Parts[1].Digest || next.Parts[1].KeyVersion != "v2" || r.Parts[1].KeyVersion != "v1" {
					t.Errorf("%+v", next)
				}
				other.set(func() { other.fail = nil })
				got, err := s.Unwrap(t.Context(), next, nil)
				if err != nil || !got.Equal(root) {
					t.Errorf("the root key came back otherwise: %v", err)
				}
				if st := s.StatusOf(next)[1]; st.RewrapDue || !s.FullyWrapped(next) || st.Needed[0].KeyVersion != "v2" {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// TestRewrapThatChangesNothing: what a service calls its newest version may be none that it wraps by. That is found out once, and again
// when the newest is another.
func TestRewrapThatChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &boastful{cloud: cloud{version: 1}, newest: "v8"}
		s, err := NewSet([]Seal{{"sky", "awskms", c}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, newest := range []string{"v8", "v9"} {
			c.newest = newest
			tend(t, s, r, 20*time.Minute)
			if !s.StatusOf(r)[0].RewrapDue {
				t.Fatal("another version is said to wrap, and nobody sees it")
			}
			if next, moved, err := s.Rewrap(t.Context(), r, "sky"); next != nil || moved || err != nil {
				t.Fatal(next, moved, err)
			}
			tend(t, s, r, 20*time.Minute)
			if s.StatusOf(r)[0].RewrapDue {
				t.Error("it is tried again although it changes nothing")
			}
		}
	})
}

type boastful struct {
	cloud
	newest string
}

func (b *boastful) Describe(context.Context) (KeyState, error) {
	return KeyState{ID: "arn:key", Latest: b.newest, State: "enabled"}, nil
}

// TestRewrapRefuses: a seal that cannot open its part does not wrap anything in its place.
func TestRewrapRefuses(t *testing.T) {
	s, books := newTestSet(t, 1, "a", "b")
	r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Rewrap(t.Context(), r, "c"); ClassOf(err) != Misconfigured {
		t.Error(err)
	}
	books[0].set(func() { books[0].fail = Fail(KeyGone, errors.New("no such key"), "restore it") })
	if _, _, err := s.Rewrap(t.Context(), r, "a"); ClassOf(err) != KeyGone {
		t.Error(err)
	}
	books[0].set(func() { books[0].fail, books[0].spoil = nil, true })
	if _, _, err := s.Rewrap(t.Context(), r, "a"); ClassOf(err) != Corrupt {
		t.Error(err)
	}
}

// TestDeletion: the first date of all seals is the one that counts, and it goes when the deletion is cancelled.
func TestDeletion(t *testing.T) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	early, late, safe := &cloud{version: 1, deletion: at}, &cloud{version: 1, deletion: at.Add(time.Hour)}, &cloud{version: 1}
	s, err := NewSet([]Seal{{"late", "awskms", late}, {"early", "awskms", early}, {"safe", "awskms", safe}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := s.Look(t.Context())
	if !s.FirstDeletion().Equal(at) || st[1].KeyState != "pending deletion" || !st[1].Deletion.Equal(at) || st[2].Deletion != nil || st[2].Region == "" {
		t.Errorf("%v %+v", s.FirstDeletion(), st)
	}
	early.deletion, late.deletion = time.Time{}, time.Time{}
	if st := s.Look(t.Context()); !s.FirstDeletion().IsZero() || st[1].KeyState != "enabled" {
		t.Errorf("%+v", st)
	}
}

// TestLeftOverSeal: a record tells of a seal that is configured no more.
func TestLeftOverSeal(t *testing.T) {
	s, _ := newTestSet(t, 1, "a", "b")
	r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s2, _ := newTestSet(t, 1, "a")
	st := s2.StatusOf(r)
	if len(st) != 2 || st[1].Name != "b" || st[1].Configured || len(st[1].Needed) != 1 || s2.FullyWrapped(r) || !s.FullyWrapped(r) || s.FullyWrapped(nil) {
		t.Errorf("%+v", st)
	}
}
