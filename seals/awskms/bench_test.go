//go:build unix

package awskms_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/testkit/localstack"
)

// BenchmarkWrapUnwrap compares the seal with Encrypt and Decrypt of the SDK for 32 bytes,
// alternately in the same run, on LocalStack. ratio is the seal's rate divided by the SDK's.
func BenchmarkWrapUnwrap(b *testing.B) {
	s := localstack.Shared(b)
	key := s.CreateKey(b)
	w := open(b, "kms_key_id", key, "endpoint", s.URL)
	bare := kms.New(kms.Options{Region: localstack.Region, BaseEndpoint: &s.URL, Credentials: aws.NewCredentialsCache(
		credentials.NewStaticCredentialsProvider("test", "test", ""))})
	plain, aad := make([]byte, 32), []byte("cluster=c\nseal=s\n")
	pairs := map[string]string{"cluster": "c", "seal": "s"}
	ours := func(ctx context.Context) error {
		blob, err := w.Encrypt(ctx, plain, wrapping.WithAad(aad))
		if err != nil {
			return err
		}
		_, err = w.Decrypt(ctx, blob, wrapping.WithAad(aad))
		return err
	}
	theirs := func(ctx context.Context) error {
		out, err := bare.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: plain, EncryptionContext: pairs})
		if err != nil {
			return err
		}
		_, err = bare.Decrypt(ctx, &kms.DecryptInput{KeyId: &key, CiphertextBlob: out.CiphertextBlob,
			EncryptionContext: pairs})
		return err
	}
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) { compare(b, workers, ours, theirs) })
	}
}

// compare runs both alternately, so that other load affects both.
func compare(b *testing.B, workers int, ours, theirs func(context.Context) error) {
	const rounds = 10
	var spent [2]time.Duration
	for range rounds {
		for i, f := range []func(context.Context) error{ours, theirs} {
			begun := time.Now()
			each(b, workers, max(workers, b.N/rounds), f)
			spent[i] += time.Since(begun)
		}
	}
	n := float64(rounds * max(workers, b.N/rounds))
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "ratio")
	b.ReportMetric(n/spent[0].Seconds(), "ops/s")
	b.ReportMetric(n/spent[1].Seconds(), "bare-ops/s")
}

func each(b *testing.B, workers, n int, f func(context.Context) error) {
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
