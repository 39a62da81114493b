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

// fakeKMS is a memoryWrapper whose key has versions. It records every call with its time.
type fakeKMS struct {
	memoryWrapper
	version    int
	noDescribe bool // the credentials may not read the state of the key
	deletion   time.Time
	calls      []call
	lock       sync.Mutex
}

type call struct {
	what string
	at   time.Time
}

func (c *fakeKMS) count(what string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.calls = append(c.calls, call{what, time.Now()})
}

func (c *fakeKMS) asked(what string) int {
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

func (c *fakeKMS) key() string { return fmt.Sprintf("v%d", c.version) }

func (c *fakeKMS) Encrypt(ctx context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	c.count("encrypt")
	blob, err := c.memoryWrapper.Encrypt(ctx, b, o...)
	if err == nil {
		blob.KeyInfo.KeyId = "arn:key"
	}
	return blob, err
}

func (c *fakeKMS) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	c.count("decrypt")
	return c.memoryWrapper.Decrypt(ctx, b, o...)
}

func (c *fakeKMS) KeyVersion(context.Context) (string, error) { return c.key(), nil }

func (c *fakeKMS) Describe(context.Context) (KeyState, error) {
	c.count("describe")
	if c.noDescribe {
		return KeyState{ID: "arn:key", Detail: map[string]string{"degraded": "kms:DescribeKey is not allowed"}}, nil
	}
	state := "enabled"
	if !c.deletion.IsZero() {
		state = "pending deletion"
	}
	return KeyState{
		ID:           "arn:key",
		Version:      c.key(),
		Latest:       c.key(),
		State:        state,
		DeletionDate: c.deletion,
		Protection:   "hsm",
		Region:       "eu-west-1",
	}, nil
}

func newFakeKMS(t *testing.T, kind string, c *fakeKMS) (*Set, *Record) {
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

var usual = Pace{Healthy: 10 * time.Second, Failing: 2 * time.Second, Describe: 10 * time.Minute}

// runChecks lets d pass as a node does.
func runChecks(t *testing.T, s *Set, r *Record, d time.Duration) {
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

// TestMeteredPace: a service that charges for calls is proven every 50 to 60 seconds, so that a
// disabled key is noticed within a minute, and the state of its key is read every ten minutes; a
// device is proven every ten seconds.
func TestMeteredPace(t *testing.T) {
	for _, kind := range []string{"awskms", "gcpckms", "azurekeyvault", "ocikms", "alicloudkms"} {
		for _, noDescribe := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, noDescribe), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := &fakeKMS{version: 1, noDescribe: noDescribe}
					s, r := newFakeKMS(t, kind, c)
					if runChecks(t, s, r, time.Second); !s.WouldUnseal() {
						t.Error("WouldUnseal is false right after the initialisation")
					}
					runChecks(t, s, r, 24*time.Hour)
					var last time.Time
					for _, one := range c.calls {
						if one.what != "decrypt" {
							continue
						}
						gap := one.at.Sub(last)
						if !last.IsZero() && (gap < 50*time.Second || gap > time.Minute) {
							t.Fatalf("%s between two proofs", gap)
						}
						last = one.at
					}
					if n := c.asked(""); n > 24*60*3/2 {
						t.Errorf("%d calls in a day", n)
					}
					if n := c.asked("describe"); n < 24*3 || n > 24*6 {
						t.Errorf("asked for the key's state %d times in a day", n)
					}
					if n := c.asked("encrypt"); noDescribe != (n > 0) || n > 24*6 {
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
		c := &fakeKMS{version: 1}
		s, r := newFakeKMS(t, "pkcs11", c)
		runChecks(t, s, r, time.Hour)
		if n := c.asked("decrypt"); n < 280 || n > 490 {
			t.Errorf("a device was proven %d times in an hour", n)
		}
		if n := c.asked("describe"); n < 5 || n > 8 {
			t.Errorf("the key of a device was described %d times in an hour", n)
		}
	})
}

// TestKeyOfAFailingSeal: the key of a seal that starts to fail is described at once, and then no
// more often than the seal is proven; the key of an unreachable seal is not.
func TestKeyOfAFailingSeal(t *testing.T) {
	for class, describes := range map[Class]bool{
		KeyDisabled: true, PendingDeletion: true, Denied: true, Unreachable: false, Throttled: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := &fakeKMS{version: 1}
			s, r := newFakeKMS(t, "awskms", c)
			runChecks(t, s, r, 3*time.Minute)
			c.set(func() { c.fail = Fail(class, errors.New("cause"), "remedy") })
			c.deletion = time.Now().Add(7 * 24 * time.Hour)
			c.calls = nil
			runChecks(t, s, r, 4*time.Minute)
			if got := c.asked("describe") == 1; got != describes {
				t.Errorf("%s: asked for the key %d times", class, c.asked("describe"))
			}
			st := s.StatusOf(r)[0]
			if st.WouldUnseal || st.Class != class || st.Failing == nil || time.Since(*st.Failing) < 2*time.Minute ||
				(st.Deletion != nil) != describes {
				t.Errorf("%s: %+v", class, st)
			}
			if n := c.asked("decrypt"); n < 2 || n > 17 {
				t.Errorf("%s: tried %d times in four minutes", class, n)
			}
		})
	}
}

// TestRewrapByOneSeal: only the part of that seal is wrapped again; the other blobs, the digest and
// the root key stay.
func TestRewrapByOneSeal(t *testing.T) {
	for _, threshold := range []int{1, 2} {
		for _, noDescribe := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c, other := &fakeKMS{version: 1, noDescribe: noDescribe}, &memoryWrapper{}
				s, err := NewSet([]Seal{{"other", "memoryWrapper", other}, {"sky", "awskms", c}},
					Options{Threshold: threshold})
				if err != nil {
					t.Fatal(err)
				}
				root := newRoot(t)
				r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				runChecks(t, s, r, 5*time.Minute)
				c.version = 2
				runChecks(t, s, r, 30*time.Minute)
				st := s.StatusOf(r)[1]
				if !st.RewrapDue || st.KeyVersion != "v1" || st.KeyNewest != "v2" || s.FullyWrapped(r) ||
					!slices.Equal(st.Needed, []KeyUse{{"arn:key", "v1", "root key"}}) {
					t.Fatalf("%+v", st)
				}
				other.set(func() { other.fail = Fail(Unreachable, errors.New("cable"), "plug it in") })
				next, moved, err := s.Rewrap(t.Context(), r, "sky")
				if err != nil || !moved {
					t.Fatal(moved, err)
				}
				if next.Parts[0].Blob != r.Parts[0].Blob || next.Parts[1].Digest != r.Parts[1].Digest ||
					next.Parts[1].KeyVersion != "v2" ||
					r.Parts[1].KeyVersion != "v1" {
					t.Errorf("%+v", next)
				}
				if _, err := next.Marshal(); err == nil {
					t.Error("a record without tags can be stored")
				}
				if err := next.Authenticate(root, RecordKeys{}); err != nil {
					t.Fatal(err)
				}
				other.set(func() { other.fail = nil })
				got, err := s.Unwrap(t.Context(), next, nil)
				if err != nil || !got.Equal(root) {
					t.Errorf("the rewrapped record unwraps to another root key: %v", err)
				}
				if st := s.StatusOf(next)[1]; st.RewrapDue || !s.FullyWrapped(next) || st.Needed[0].KeyVersion != "v2" {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// TestRewrapThatChangesNothing: a service may report a newest version that it does not wrap with.
// One rewrap finds that out for each reported version.
func TestRewrapThatChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &misreportingKMS{fakeKMS: fakeKMS{version: 1}, newest: "v8"}
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
			runChecks(t, s, r, 20*time.Minute)
			if !s.StatusOf(r)[0].RewrapDue {
				t.Fatal("a newer version is reported, and no rewrap is due")
			}
			if next, moved, err := s.Rewrap(t.Context(), r, "sky"); next != nil || moved || err != nil {
				t.Fatal(next, moved, err)
			}
			runChecks(t, s, r, 20*time.Minute)
			if s.StatusOf(r)[0].RewrapDue {
				t.Error("a rewrap that changes nothing is due again")
			}
		}
	})
}

type misreportingKMS struct {
	fakeKMS
	newest string
}

func (b *misreportingKMS) Describe(context.Context) (KeyState, error) {
	return KeyState{ID: "arn:key", Latest: b.newest, State: "enabled"}, nil
}

// TestRewrapRefuses: a seal that cannot decrypt its part does not replace it.
func TestRewrapRefuses(t *testing.T) {
	s, wrappers := newTestSet(t, 1, "a", "b")
	r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Rewrap(t.Context(), r, "c"); ClassOf(err) != Misconfigured {
		t.Error(err)
	}
	wrappers[0].set(func() { wrappers[0].fail = Fail(KeyGone, errors.New("no such key"), "restore it") })
	if _, _, err := s.Rewrap(t.Context(), r, "a"); ClassOf(err) != KeyGone {
		t.Error(err)
	}
	wrappers[0].set(func() { wrappers[0].fail, wrappers[0].spoil = nil, true })
	if _, _, err := s.Rewrap(t.Context(), r, "a"); ClassOf(err) != Corrupt {
		t.Error(err)
	}
}

// TestDeletion: FirstDeletion is the earliest date of all seals, and zero when the deletion is
// cancelled.
func TestDeletion(t *testing.T) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	early := &fakeKMS{version: 1, deletion: at}
	late := &fakeKMS{version: 1, deletion: at.Add(time.Hour)}
	safe := &fakeKMS{version: 1}
	s, err := NewSet([]Seal{{"late", "awskms", late}, {"early", "awskms", early}, {"safe", "awskms", safe}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := s.DescribeKeys(t.Context())
	if !s.FirstDeletion().Equal(at) || st[1].KeyState != "pending deletion" || !st[1].Deletion.Equal(at) ||
		st[2].Deletion != nil ||
		st[2].Region == "" {
		t.Errorf("%v %+v", s.FirstDeletion(), st)
	}
	early.deletion, late.deletion = time.Time{}, time.Time{}
	if st := s.DescribeKeys(t.Context()); !s.FirstDeletion().IsZero() || st[1].KeyState != "enabled" {
		t.Errorf("%+v", st)
	}
}

// TestLeftOverSeal: the status lists a seal that holds a part and is no longer configured.
func TestLeftOverSeal(t *testing.T) {
	s, _ := newTestSet(t, 1, "a", "b")
	r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s2, _ := newTestSet(t, 1, "a")
	st := s2.StatusOf(r)
	if len(st) != 2 || st[1].Name != "b" || st[1].Configured || len(st[1].Needed) != 1 || s2.FullyWrapped(r) ||
		!s.FullyWrapped(r) ||
		s.FullyWrapped(nil) {
		t.Errorf("%+v", st)
	}
}
