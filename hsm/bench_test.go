//go:build cgo && !windows

package hsm_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// BenchmarkWrapUnwrap compares wrapping and unwrapping 32 bytes through this package with a bare loop on
// miekg/pkcs11, one session for each goroutine, by turns in the same run. ratio is ours to theirs in operations per second.
func BenchmarkWrapUnwrap(b *testing.B) {
	tok := softhsm.New(b)
	tok.Key(b, hsm.AES256, "wrap")
	t, err := hsm.New(tok.Config())
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close()
	key, err := t.Key(hsm.KeySpec{Label: "wrap"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := key.Describe(context.Background()); err != nil {
		b.Fatal(err)
	}
	bare := newBare(b, tok)
	plain, aad := make([]byte, 32), []byte("cluster, seal, generation")
	for _, workers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			sessions := bare.open(b, workers)
			compare(b, workers, func(int) error {
				sealed, err := key.Encrypt(context.Background(), plain, aad)
				if err != nil {
					return err
				}
				_, err = key.Decrypt(context.Background(), sealed, aad)
				return err
			}, func(i int) error { return bare.roundTrip(sessions[i], plain, aad) })
		})
	}
}

// compare runs both in turns of 50 ms, so that what else the machine does hits both alike.
func compare(b *testing.B, workers int, ours, theirs func(worker int) error) {
	var n, errors [2]int64
	var spent [2]time.Duration
	for b.Loop() {
		for which, f := range []func(int) error{ours, theirs} {
			ops, failed, took := turn(workers, f)
			n[which] += ops
			errors[which] += failed
			spent[which] += took
		}
	}
	rate := func(i int) float64 { return float64(n[i]) / spent[i].Seconds() }
	b.ReportMetric(rate(0), "ours/s")
	b.ReportMetric(rate(1), "bare/s")
	b.ReportMetric(rate(0)/rate(1), "ratio")
	b.ReportMetric(float64(errors[0]), "errors")
	b.ReportMetric(0, "ns/op")
	if errors[1] > 0 {
		b.Fatalf("%d errors of the bare loop", errors[1])
	}
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

// bare is the loop to compare with.
type bare struct {
	ctx  *pkcs11.Ctx
	slot uint
}

// newBare relies on the library being initialised and logged in to by the package under test: both belong to the process.
func newBare(b *testing.B, tok *softhsm.Token) *bare {
	ctx := pkcs11.New(tok.Lib)
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range slots {
		if info, err := ctx.GetTokenInfo(s); err == nil && info.SerialNumber == tok.Serial {
			return &bare{ctx, s}
		}
	}
	b.Fatal("the token is not there")
	return nil
}

type bareSession struct {
	h   pkcs11.SessionHandle
	key pkcs11.ObjectHandle
}

func (p *bare) open(b *testing.B, n int) []bareSession {
	var list []bareSession
	for range n {
		h, err := p.ctx.OpenSession(p.slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { p.ctx.CloseSession(h) })
		if err := p.ctx.FindObjectsInit(h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, "wrap")}); err != nil {
			b.Fatal(err)
		}
		found, _, err := p.ctx.FindObjects(h, 1)
		if err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
		if err := p.ctx.FindObjectsFinal(h); err != nil {
			b.Fatal(err)
		}
		list = append(list, bareSession{h, found[0]})
	}
	return list
}

func (p *bare) roundTrip(s bareSession, plain, aad []byte) error {
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
