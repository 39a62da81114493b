package gcpckms_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	tlscreds "google.golang.org/grpc/credentials"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
)

// BenchmarkWrapUnwrap compares the seal with Google's client as its documentation shows it,
// alternately in the same run, against the emulator over TLS. ratio is the seal's round trips per
// second to the client's.
func BenchmarkWrapUnwrap(b *testing.B) {
	r := newHarness(b, gcpkms.Options{})
	seal, bare := r.open(), bareClient(b, r)
	plain, aad := make([]byte, 32), []byte("cluster, seal, generation")
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			compare(b, workers, func() error {
				blob, err := seal.Encrypt(b.Context(), plain, wrapping.WithAad(aad))
				if err != nil {
					return err
				}
				_, err = seal.Decrypt(b.Context(), blob, wrapping.WithAad(aad))
				return err
			}, func() error {
				e, err := bare.Encrypt(b.Context(), &kmspb.EncryptRequest{Name: ring + "root", Plaintext: plain,
					AdditionalAuthenticatedData: aad})
				if err != nil {
					return err
				}
				_, err = bare.Decrypt(b.Context(), &kmspb.DecryptRequest{
					Name: ring + "root", Ciphertext: e.GetCiphertext(), AdditionalAuthenticatedData: aad})
				return err
			})
		})
	}
}

func bareClient(b *testing.B, r *harness) *kms.KeyManagementClient {
	b.Helper()
	ca, err := os.ReadFile(r.ca)
	must(b, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	file, err := os.ReadFile(r.account)
	must(b, err)
	creds, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, file, &credentials.DetectOptions{
		Scopes: kms.DefaultAuthScopes(), UseSelfSignedJWT: true,
	})
	must(b, err)
	c, err := kms.NewKeyManagementClient(b.Context(), option.WithEndpoint(r.server.Endpoint()),
		option.WithAuthCredentials(creds),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(tlscreds.NewTLS(&tls.Config{RootCAs: pool,
			MinVersion: tls.VersionTLS12}))))
	must(b, err)
	b.Cleanup(func() { must(b, c.Close()) })
	return c
}

// compare runs both alternately for 50 ms and reports the median of the ratios: other load affects
// single rounds, not the median.
func compare(b *testing.B, workers int, ours, bare func() error) {
	var rates [2][]float64
	var ratios []float64
	var failed int64
	for b.Loop() {
		for i, f := range []func() error{ours, bare} {
			rate, bad := turn(workers, f)
			rates[i] = append(rates[i], rate)
			failed += bad
		}
		n := len(ratios)
		ratios = append(ratios, rates[0][n]/rates[1][n])
	}
	for name, list := range map[string][]float64{"ours/s": rates[0], "bare/s": rates[1], "ratio": ratios} {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name)
	}
	b.ReportMetric(float64(failed), "errors")
	b.ReportMetric(0, "ns/op")
}

func turn(workers int, f func() error) (rate float64, failed int64) {
	var wg sync.WaitGroup
	var done, bad atomic.Int64
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for time.Since(start) < 50*time.Millisecond {
				if f() != nil {
					bad.Add(1)
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds(), bad.Load()
}
