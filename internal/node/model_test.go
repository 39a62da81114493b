package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// model is what the holders of shares believe; the machine compares the node with it after every
// step.
type model struct {
	h      *harness
	target recovery.Target
	n      *Node
	stop   func()
	log    *syncBuffer

	generations [][]*secret.Bytes // every set of shares that was ever handed out; some never came to work
	current     int               // the one that works
	threshold   int

	running   bool
	started   int
	verify    bool
	nonce     string
	given     map[int]bool
	shares    int // of the rekey under way
	needs     int
	verifying bool
	vnonce    string
	proven    map[int]bool
	ends      time.Time

	errors []string // every text that a client was given
	nonces []string
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestModel plays random sequences of what several holders, operators and strangers do, crashes and
// restarts in between, against the model above: there is always exactly one generation of shares
// that works, no share counts twice, no client without a token changes another's ceremony, and no
// error and no line of the log shows a share or a nonce.
func TestModel(t *testing.T) {
	for _, target := range []recovery.Target{recovery.Recovery, recovery.Barrier} {
		t.Run(target.String(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { play(t, rt, target) })
		})
	}
}

func play(t *testing.T, rt *rapid.T, target recovery.Target) {
	m := &model{h: newHarness(t), target: target, log: &syncBuffer{}}
	m.h.store = inmem.New()
	defer func() { m.stop(); _ = m.h.store.Close() }()
	m.boot(rt)
	m.threshold = rapid.IntRange(2, 3).Draw(rt, "threshold")
	req := InitRequest{RecoveryShares: 4, RecoveryThreshold: m.threshold}
	if target == recovery.Barrier {
		req = InitRequest{SecretShares: 4, SecretThreshold: m.threshold}
	}
	res, err := m.n.Init(t.Context(), req)
	if err != nil {
		rt.Fatal(err)
	}
	m.generations = [][]*secret.Bytes{append(res.Keys, res.RecoveryKeys...)}
	m.unseal(rt)
	rt.Repeat(map[string]func(*rapid.T){
		"start":         m.start,
		"give":          m.give,
		"give again":    m.giveAgain,
		"give wrong":    m.giveWrong,
		"give previous": m.givePrevious,
		"wrong nonce":   m.wrongNonce,
		"prove new":     m.proveNew,
		"restart new":   m.restartVerification,
		"cancel":        m.cancel,
		"restart":       m.restart,
		"rotate":        func(rt *rapid.T) { m.must(rt, m.n.Rotate(context.Background())) },
		"rotate root":   func(rt *rapid.T) { m.must(rt, m.n.RotateRoot(context.Background())) },
		"time passes":   m.passTime,
		"seal, unseal":  m.sealUnseal,
		"":              m.check,
	})
	m.disclosesNothing(rt)
	m.transcriptIsWhole(rt)
}

// transcriptIsWhole: every ceremony that ended has a record in an unbroken chain.
func (m *model) transcriptIsWhole(rt *rapid.T) {
	m.n.ceremonies.EndLapsed(context.Background())
	file, err := m.n.Ceremonies().TranscriptExport(context.Background())
	m.must(rt, err)
	report, err := transcript.VerifyFile(bytes.NewReader(file), nil, nil)
	m.must(rt, err)
	names, err := m.n.Ceremonies().Transcripts(context.Background())
	m.must(rt, err)
	ended := m.started
	if m.running {
		ended--
	}
	if !report.OK() || len(names) != ended {
		rt.Fatalf("%d records for %d ceremonies that ended: %v", len(names), ended, report.Problems)
	}
}

func (m *model) boot(rt *rapid.T) {
	set := m.h.autoSeals()
	if m.target == recovery.Barrier {
		set = m.h.shamirSeals()
	}
	m.n, m.stop = m.h.startWith(set, slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

// unseal brings a node that was started or sealed back, by its seal or with current shares.
func (m *model) unseal(rt *rapid.T) {
	if isActive(m.n)() {
		return
	}
	for _, s := range m.generations[m.current][:m.threshold] {
		m.must(rt, m.n.Unseal(context.Background(), s, false))
	}
	if !isActive(m.n)() {
		rt.Fatal("a threshold of the current shares does not unseal")
	}
}

func (m *model) must(rt *rapid.T, err error) {
	if err != nil {
		rt.Fatalf("%v", err)
	}
}

// refused notes an error that must be there.
func (m *model) refused(rt *rapid.T, err error, what string) {
	if err == nil {
		rt.Fatalf("%s was accepted", what)
	}
	m.errors = append(m.errors, err.Error())
}

func (m *model) start(rt *rapid.T) {
	params := recovery.Params{Shares: rapid.IntRange(2, 5).Draw(rt, "shares"), Threshold: 2,
		Verification: rapid.Bool().Draw(rt, "verify")}
	st, _, err := m.n.Ceremonies().RekeyStart(context.Background(), m.target, params,
		ceremony.Starter{Accessor: "acc", DisplayName: "root", Root: true})
	if m.running {
		m.refused(rt, err, "a second rekey")
		return
	}
	m.must(rt, err)
	m.started++
	m.running, m.verify, m.nonce, m.given = true, params.Verification, st.Nonce, map[int]bool{}
	m.shares, m.needs, m.verifying, m.proven = params.Shares, params.Threshold, false, nil
	m.ends = m.h.clock().Add(recovery.DefaultExpiry)
	m.nonces = append(m.nonces, st.Nonce)
}

func (m *model) give(rt *rapid.T) {
	i := rapid.IntRange(0, len(m.generations[m.current])-1).Draw(rt, "share")
	_, res, err := m.n.Ceremonies().RekeyGive(context.Background(), m.target, m.nonce, m.generations[m.current][i])
	switch {
	case !m.running:
		if res != nil {
			rt.Fatal("a share was taken by no ceremony")
		}
		m.refused(rt, err, "a share for nothing")
		return
	case m.verifying:
		return // the kept answer, or a refusal: nothing changes
	case m.given[i]:
		m.refused(rt, err, "a share twice")
		return
	}
	m.must(rt, err)
	m.given[i] = true
	if (res != nil) != (len(m.given) == m.threshold) {
		rt.Fatalf("%d of %d shares given, result %v", len(m.given), m.threshold, res != nil)
	}
	if res == nil {
		return
	}
	if len(res.Keys) != m.shares || res.VerificationRequired != m.verify {
		rt.Fatalf("%d new shares, want %d", len(res.Keys), m.shares)
	}
	m.generations = append(m.generations, res.Keys)
	if m.verify {
		m.verifying, m.vnonce, m.proven = true, res.VerificationNonce, map[int]bool{}
		m.nonces = append(m.nonces, m.vnonce)
		return
	}
	m.installed()
}

// installed: the newest generation works from now on.
func (m *model) installed() {
	m.current, m.threshold, m.running, m.verifying = len(m.generations)-1, m.needs, false, false
}

func (m *model) giveAgain(rt *rapid.T) {
	for i := range m.given {
		if m.running && !m.verifying {
			_, _, err := m.n.Ceremonies().RekeyGive(context.Background(), m.target, m.nonce, m.generations[m.current][i])
			m.refused(rt, err, "a share twice")
		}
		return
	}
}

func (m *model) giveWrong(rt *rapid.T) {
	bad := m.generations[m.current][0].Clone()
	bad.Expose()[rapid.IntRange(0, 31).Draw(rt, "byte")] ^= 0x40
	_, _, err := m.n.Ceremonies().RekeyGive(context.Background(), m.target, m.nonce, bad)
	m.refused(rt, err, "a wrong share")
	_, err = m.n.Ceremonies().RekeyVerify(context.Background(), m.target, m.vnonce, bad)
	m.refused(rt, err, "a wrong share, to verify")
	_, err = m.n.Ceremonies().Prove(context.Background(), bad)
	m.refused(rt, err, "a wrong share, to prove")
}

// givePrevious: shares of other generations than the current one do nothing, but for the last share
// of a completed rekey.
func (m *model) givePrevious(rt *rapid.T) {
	k := rapid.IntRange(0, len(m.generations)-1).Draw(rt, "generation")
	if k == m.current || !m.running || m.verifying {
		return
	}
	_, _, err := m.n.Ceremonies().RekeyGive(context.Background(), m.target, m.nonce, m.generations[k][0])
	m.refused(rt, err, "a share of another generation")
}

func (m *model) wrongNonce(rt *rapid.T) {
	_, _, err := m.n.Ceremonies().RekeyGive(context.Background(), m.target, "00000000-0000-4000-8000-000000000000",
		m.generations[m.current][0])
	m.refused(rt, err, "a share with another nonce")
}

func (m *model) proveNew(rt *rapid.T) {
	if !m.verifying {
		return
	}
	fresh := m.generations[len(m.generations)-1]
	i := rapid.IntRange(0, len(fresh)-1).Draw(rt, "new share")
	st, err := m.n.Ceremonies().RekeyVerify(context.Background(), m.target, m.vnonce, fresh[i])
	if m.proven[i] {
		m.refused(rt, err, "a new share twice")
		return
	}
	m.must(rt, err)
	m.proven[i] = true
	if st.Complete != (len(m.proven) == m.needs) {
		rt.Fatalf("%d of %d proven, complete %v", len(m.proven), m.needs, st.Complete)
	}
	if st.Complete {
		m.installed()
	}
}

func (m *model) restartVerification(rt *rapid.T) {
	st, err := m.n.Ceremonies().RekeyVerifyRestart(context.Background(), m.target)
	if !m.verifying {
		m.refused(rt, err, "a restart of no verification")
		return
	}
	m.must(rt, err)
	m.vnonce, m.proven = st.Nonce, map[int]bool{}
	m.nonces = append(m.nonces, m.vnonce)
}

func (m *model) cancel(rt *rapid.T) {
	if m.running {
		m.refused(rt, m.n.Ceremonies().RekeyCancel(context.Background(), m.target, m.nonce, ceremony.Starter{}),
			"a stranger who cancels")
		m.refused(rt, m.n.Ceremonies().RekeyCancel(context.Background(), m.target, "another",
			ceremony.Starter{Accessor: "acc", DisplayName: "root", Root: true}), "cancelling another one")
	}
	m.must(rt, m.n.Ceremonies().RekeyCancel(context.Background(), m.target, "",
		ceremony.Starter{Accessor: "acc", DisplayName: "root", Root: true}))
	m.running, m.verifying = false, false
}

func (m *model) restart(rt *rapid.T) {
	m.stop()
	m.boot(rt)
	if m.target == recovery.Recovery {
		eventually(m.h.t, "unsealed by the device", isActive(m.n))
	}
	m.unseal(rt)
}

func (m *model) sealUnseal(rt *rapid.T) {
	m.must(rt, m.n.Seal(context.Background()))
	m.unseal(rt)
}

func (m *model) passTime(rt *rapid.T) {
	m.h.wait(time.Duration(rapid.IntRange(1, 600).Draw(rt, "minutes")) * time.Minute)
	m.n.ceremonies.WipeAnswers(context.Background())
	if rapid.Bool().Draw(rt, "looked after") {
		m.n.ceremonies.EndLapsed(context.Background())
	}
	if m.running && !m.h.clock().Before(m.ends) {
		m.running, m.verifying = false, false
	}
}

// check holds the node against the model: status, and which shares are good.
func (m *model) check(rt *rapid.T) {
	st, err := m.n.Ceremonies().RekeyStatus(context.Background(), m.target)
	m.must(rt, err)
	if st.Started != m.running || m.running && !m.verifying && st.Progress != len(m.given) ||
		(st.VerificationNonce != "") != m.verifying {
		rt.Fatalf("the node says %+v; the model: running %v, given %v, verifying %v", st, m.running, m.given, m.verifying)
	}
	var works []int
	for k, shares := range m.generations {
		if _, err := m.n.Ceremonies().Prove(context.Background(), shares[0]); err == nil {
			works = append(works, k)
		} else {
			m.errors = append(m.errors, err.Error())
		}
	}
	if len(works) != 1 || works[0] != m.current {
		rt.Fatalf("generations that work: %v; want %d alone", works, m.current)
	}
}

// disclosesNothing looks for the shares, and for nonces in errors, in every form.
func (m *model) disclosesNothing(rt *rapid.T) {
	said := strings.Join(m.errors, "\n")
	for _, nonce := range m.nonces {
		if strings.Contains(said, nonce) || strings.Contains(m.log.String(), nonce) {
			rt.Fatalf("a nonce was disclosed")
		}
	}
	said += m.log.String()
	for _, shares := range m.generations {
		for _, s := range shares {
			for _, text := range []string{
				string(s.Expose()), hex.EncodeToString(s.Expose()), base64.StdEncoding.EncodeToString(s.Expose()),
				base64.RawURLEncoding.EncodeToString(s.Expose()),
			} {
				if strings.Contains(said, text) {
					rt.Fatalf("a share was disclosed")
				}
			}
		}
	}
}
