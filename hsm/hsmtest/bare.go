//go:build cgo && !windows

package hsmtest

import (
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/sealgate/sealgate/hsm/softhsm"
)

// Compare alternates between ours and theirs every 50 ms and reports the median of the ratios, so
// that other load on the machine distorts single turns and not the result.
func Compare(b *testing.B, workers int, ours, theirs func(worker int) error) (ratio float64) {
	var rates [2][]float64
	var ratios []float64
	var errors int64
	for b.Loop() {
		for which, f := range []func(int) error{ours, theirs} {
			ops, failed, took := turn(workers, f)
			rates[which] = append(rates[which], float64(ops)/took.Seconds())
			errors += failed
		}
		n := len(ratios)
		ratios = append(ratios, rates[0][n]/rates[1][n])
	}
	b.ReportMetric(median(rates[0]), "ours/s")
	b.ReportMetric(median(rates[1]), "bare/s")
	ratio = median(ratios)
	b.ReportMetric(ratio, "ratio")
	b.ReportMetric(float64(errors), "errors")
	b.ReportMetric(0, "ns/op")
	return ratio
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

func turn(workers int, f func(int) error) (ops, failed int64, took time.Duration) {
	var wg sync.WaitGroup
	var done, bad atomic.Int64
	start := time.Now()
	for i := range workers {
		wg.Go(func() {
			for time.Since(start) < 50*time.Millisecond {
				if f(i) != nil {
					bad.Add(1)
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return done.Load(), bad.Load(), time.Since(start)
}

// Bare is the loop that Compare runs as theirs.
type Bare struct {
	ctx  *pkcs11.Ctx
	slot uint
}

// NewBare expects that the package under test has initialised the library and logged in: both
// belong to the process.
func NewBare(b *testing.B, tok *softhsm.Token) *Bare {
	ctx := pkcs11.New(tok.Lib)
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range slots {
		if info, err := ctx.GetTokenInfo(s); err == nil && info.SerialNumber == tok.Serial {
			return &Bare{ctx, s}
		}
	}
	b.Fatal("no slot has the token")
	return nil
}

// Session is a session and its key's handle.
type Session struct {
	h   pkcs11.SessionHandle
	key pkcs11.ObjectHandle
}

// Open opens n sessions and finds the key with the label in each.
func (p *Bare) Open(b *testing.B, n int, label string) []Session {
	var list []Session
	for range n {
		h, err := p.ctx.OpenSession(p.slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { p.ctx.CloseSession(h) })
		if err := p.ctx.FindObjectsInit(h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL,
			label)}); err != nil {
			b.Fatal(err)
		}
		found, _, err := p.ctx.FindObjects(h, 1)
		if err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
		if err := p.ctx.FindObjectsFinal(h); err != nil {
			b.Fatal(err)
		}
		list = append(list, Session{h, found[0]})
	}
	return list
}

// RoundTrip encrypts and decrypts with CKM_AES_GCM.
func (p *Bare) RoundTrip(s Session, plain, aad []byte) error {
	iv := make([]byte, 12)
	if _, err := rand.Read(iv); err != nil {
		return err
	}
	mech := func() ([]*pkcs11.Mechanism, *pkcs11.GCMParams) {
		params := pkcs11.NewGCMParams(iv, aad, 128)
		return []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, params
	}
	m, params := mech()
	defer params.Free()
	if err := p.ctx.EncryptInit(s.h, m, s.key); err != nil {
		return err
	}
	ct, err := p.ctx.Encrypt(s.h, plain)
	if err != nil {
		return err
	}
	m, again := mech()
	defer again.Free()
	if err := p.ctx.DecryptInit(s.h, m, s.key); err != nil {
		return err
	}
	_, err = p.ctx.Decrypt(s.h, ct)
	return err
}
