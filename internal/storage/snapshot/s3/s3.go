// Package s3 keeps scheduled snapshots in a bucket of Amazon S3, or of a service with its API.
//
// It guarantees that every call has a deadline, and that a transfer which stalls ends; that no
// redirect is followed; that an object appears entirely or not at all, since a multipart upload is
// completed by its last call; that memory holds one part; and that no error has a credential or an
// answer of unbounded length.
//
// It does not guarantee that the service keeps or returns what was written: the caller reads it
// back and verifies it.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
)

// Options configure a bucket. Zero values are the defaults.
type Options struct {
	Bucket    string
	Prefix    string // of the names, such as "backup/"
	Region    string // "": of the environment or profile
	Endpoint  string // URL; "": of AWS
	PathStyle bool   // the bucket is in the path of the URL, not in its host
	CAFile    string // certificates of the endpoint in PEM; "": the system's
	// Keys returns the access key of now; nil: the SDK's chain (environment, profile, web identity,
	// container, instance).
	Keys func() (Keys, error)

	PartSize int           // of a multipart upload; 16 MiB
	Call     time.Duration // deadline of a call without content; 30 s
	Stall    time.Duration // without progress of a transfer for so long, it ends; 1 min
}

// Keys are an access key.
type Keys struct{ ID, Secret, Session string }

const (
	minPart = 5 << 20 // S3 refuses smaller ones, except for the last
	maxKeys = 100_000 // bounds a list
)

// bucket is the target. It makes its client for each run, so that changed credentials are seen.
type bucket struct {
	o    Options
	http *http.Client
}

// New returns a target. It makes no call.
func New(o Options) (target.Target, error) {
	o.PartSize = max(minPart, cmp.Or(o.PartSize, 16<<20))
	o.Call, o.Stall = cmp.Or(o.Call, 30*time.Second), cmp.Or(o.Stall, time.Minute)
	transport := awshttp.NewBuildableClient().GetTransport()
	transport.DisableKeepAlives = true // hours pass between two runs
	transport.ResponseHeaderTimeout = o.Stall
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("s3: the file of ca_file cannot be read: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("s3: the file of ca_file holds no certificate in PEM")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &bucket{o, &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}, nil
}

func retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, 5*time.Second })
}

// client returns a client with the credentials of now.
func (b *bucket) client(ctx context.Context) (*s3.Client, error) {
	cfg := aws.Config{Region: b.o.Region, HTTPClient: b.http, Retryer: retryer}
	if b.o.Keys != nil {
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			k, err := b.o.Keys()
			return aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret, SessionToken: k.Session}, err
		})
	} else {
		options := []func(*config.LoadOptions) error{config.WithHTTPClient(b.http), config.WithRetryer(retryer)}
		if b.o.Region != "" {
			options = append(options, config.WithRegion(b.o.Region))
		}
		var err error
		if cfg, err = config.LoadDefaultConfig(ctx, options...); err != nil {
			return nil, errors.New("s3: no usable AWS configuration: set region, access_key and secret_key in the stanza")
		}
	}
	if cfg.Region == "" {
		return nil, errors.New("s3: the region of the bucket is unknown; set region in the stanza")
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle, o.Logger = b.o.PathStyle, logging.Nop{}
		o.DisableLogOutputChecksumValidationSkipped = true
		if b.o.Endpoint != "" {
			o.BaseEndpoint = &b.o.Endpoint
		}
	}), nil
}

// call makes one call within its deadline. Content of size bytes gets a stall time for each MiB.
func call[In, Out any](ctx context.Context, b *bucket, doing string, size int,
	f func(context.Context, In, ...func(*s3.Options)) (Out, error), in In) (Out, error) {
	within := b.o.Call
	if size > 0 {
		within += time.Duration(1+size>>20) * b.o.Stall
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	out, err := f(ctx, in)
	return out, failure(doing, err)
}

func (b *bucket) key(name string) *string { return aws.String(b.o.Prefix + name) }

// Create implements target.Target.
func (b *bucket) Create(ctx context.Context, name string) (target.Object, error) {
	if err := target.CheckName(name); err != nil {
		return nil, err
	}
	c, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	return &upload{ctx: ctx, b: b, c: c, name: name, part: make([]byte, 0, b.o.PartSize)}, nil
}

// upload is an object that is being written: one call if it fits into a part, else several.
type upload struct {
	ctx  context.Context
	b    *bucket
	c    *s3.Client
	name string
	part []byte // not sent yet
	id   *string
	done []types.CompletedPart
}

// Write implements io.Writer.
func (u *upload) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(u.part) == cap(u.part) {
			if err := u.flush(); err != nil {
				return n, err
			}
		}
		k := min(len(p), cap(u.part)-len(u.part))
		u.part = append(u.part, p[:k]...)
		p, n = p[k:], n+k
	}
	return n, nil
}

// flush sends one part.
func (u *upload) flush() error {
	if u.id == nil {
		out, err := call(u.ctx, u.b, "starting an upload", 0, u.c.CreateMultipartUpload,
			&s3.CreateMultipartUploadInput{Bucket: &u.b.o.Bucket, Key: u.b.key(u.name)})
		if err != nil {
			return err
		}
		u.id = out.UploadId
	}
	number := aws.Int32(int32(len(u.done) + 1))
	out, err := call(u.ctx, u.b, "uploading a part", len(u.part), u.c.UploadPart, &s3.UploadPartInput{
		Bucket: &u.b.o.Bucket, Key: u.b.key(u.name), UploadId: u.id, PartNumber: number, Body: bytes.NewReader(u.part)})
	if err != nil {
		return err
	}
	u.done = append(u.done, types.CompletedPart{PartNumber: number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	u.part = u.part[:0]
	return nil
}

// Commit implements target.Object.
func (u *upload) Commit() error {
	if u.id == nil {
		_, err := call(u.ctx, u.b, "uploading", len(u.part), u.c.PutObject, &s3.PutObjectInput{
			Bucket: &u.b.o.Bucket, Key: u.b.key(u.name), Body: bytes.NewReader(u.part)})
		return err
	}
	if len(u.part) > 0 {
		if err := u.flush(); err != nil {
			u.Abort()
			return err
		}
	}
	_, err := call(u.ctx, u.b, "completing an upload", 1, u.c.CompleteMultipartUpload, &s3.CompleteMultipartUploadInput{
		Bucket: &u.b.o.Bucket, Key: u.b.key(u.name), UploadId: u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.done}})
	if err != nil {
		u.Abort()
	}
	return err
}

// Abort implements target.Object. The parts of an upload that cannot be aborted cost money and are
// no object; a lifecycle rule of the bucket removes them.
func (u *upload) Abort() {
	if u.id == nil {
		return
	}
	_, _ = call(context.WithoutCancel(u.ctx), u.b, "aborting an upload", 0, u.c.AbortMultipartUpload,
		&s3.AbortMultipartUploadInput{Bucket: &u.b.o.Bucket, Key: u.b.key(u.name), UploadId: u.id})
	u.id = nil
}

// Open implements target.Target.
func (b *bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := target.CheckName(name); err != nil {
		return nil, err
	}
	c, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(b.o.Stall, func() { cancel(errStalled) })
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.o.Bucket, Key: b.key(name)})
	if err != nil {
		watch.Stop()
		defer cancel(nil)
		return nil, failure("reading", cause(ctx, err))
	}
	return &download{ctx, cancel, watch, b.o.Stall, out.Body}, nil
}

var errStalled = errors.New("the transfer stalled")

// download is the content of an object. Without progress it ends.
type download struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
	body   io.ReadCloser
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	d.watch.Reset(d.stall)
	n, err := d.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = failure("reading", cause(d.ctx, err))
	}
	return n, err
}

// Close implements io.Closer.
func (d *download) Close() error {
	d.watch.Stop()
	d.cancel(nil)
	return d.body.Close()
}

// cause returns why a context ended, where it is why a call failed.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// List implements target.Target.
func (b *bucket) List(ctx context.Context, prefix string) ([]string, error) {
	c, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	in := &s3.ListObjectsV2Input{Bucket: &b.o.Bucket, Prefix: b.key(prefix)}
	for len(names) < maxKeys {
		out, err := call(ctx, b, "listing", 0, c.ListObjectsV2, in)
		if err != nil {
			return nil, err
		}
		for _, o := range out.Contents {
			// What the service answers beyond the prefix is not ours to remove.
			name, ours := strings.CutPrefix(aws.ToString(o.Key), b.o.Prefix)
			if ours && strings.HasPrefix(name, prefix) && target.CheckName(name) == nil {
				names = append(names, name)
			}
		}
		if !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil || len(out.Contents) == 0 {
			break
		}
		in.ContinuationToken = out.NextContinuationToken
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Remove implements target.Target.
func (b *bucket) Remove(ctx context.Context, name string) error {
	if err := target.CheckName(name); err != nil {
		return err
	}
	c, err := b.client(ctx)
	if err != nil {
		return err
	}
	_, err = call(ctx, b, "removing", 0, c.DeleteObject, &s3.DeleteObjectInput{Bucket: &b.o.Bucket, Key: b.key(name)})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
