//go:build unix

package awskms_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/testkit/localstack"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/awskms"
	"github.com/sealgate/sealgate/seals/sealtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(localstack.Main(m)) }

func none(string) string { return "" }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open makes a wrapper from a stanza of name-value pairs. It ignores the environment.
func open(t testing.TB, more ...string) *awskms.Wrapper {
	t.Helper()
	params := map[string]string{"disallow_env_vars": "true", "access_key": "test", "secret_key": "test",
		"region": localstack.Region}
	for i := 0; i < len(more); i += 2 {
		params[more[i]] = more[i+1]
	}
	w, err := awskms.New(seals.Config{Name: "test", Type: "awskms", Params: params, Getenv: none})
	must(t, err)
	t.Cleanup(func() { must(t, w.(*awskms.Wrapper).Close()) })
	return w.(*awskms.Wrapper)
}

// secretFiles are replaceable files with the id and secret of an access key.
type secretFiles struct {
	t       *testing.T
	id, key string
}

func newSecretFiles(t *testing.T, id string) *secretFiles {
	f := &secretFiles{t, filepath.Join(t.TempDir(), "id"), filepath.Join(t.TempDir(), "key")}
	f.write(id)
	return f
}

func (f *secretFiles) write(id string) {
	must(f.t, os.WriteFile(f.id, []byte(id+"\n"), 0o600))
	must(f.t, os.WriteFile(f.key, []byte("secret of "+id+"\n"), 0o600))
}

// onLocalStack makes a fixture on a new key, behind a proxy that adds what LocalStack lacks. name
// maps the ARN of the key to kms_key_id.
func onLocalStack(t *testing.T, name func(s *localstack.Server, arn string) string) *sealtest.Fixture {
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	key, other := s.CreateKey(t), s.CreateKey(t)
	files := newSecretFiles(t, "first")
	do := func(action string) func() { return func() { s.Must(t, action, map[string]any{"KeyId": key}) } }
	while := func(f localstack.Fault) func() func() {
		return func() func() { p.Refuse("", f); return func() { p.Allow("") } }
	}
	wrapper := func(arn string) *awskms.Wrapper {
		return open(t, "kms_key_id", arn, "endpoint", p.URL, "access_key", "file://"+files.id, "secret_key",
			"file://"+files.key)
	}
	return &sealtest.Fixture{
		Wrapper: wrapper(name(s, key)), Other: wrapper(other),
		Again:        func() wrapping.Wrapper { return wrapper(name(s, key)) },
		Unresponsive: func() func() { p.Unresponsive(true); return func() { p.Unresponsive(false) } },
		Away:         func() func() { must(t, p.Away()); return func() { must(t, p.Back()) } },
		Disable:      do("DisableKey"), Enable: do("EnableKey"),
		Schedule: do("ScheduleKeyDeletion"), Unschedule: func() { do("CancelKeyDeletion")(); do("EnableKey")() },
		Destroy:  func() { must(t, s.Restart()) },
		Rotate:   func() { p.Rotate(t, key) },
		Deny:     while(localstack.Denied),
		Throttle: while(localstack.Throttled),
		Expire:   func() { p.Expire("first") },
		Renew:    func() { files.write("second") },
		Garble:   func() func() { p.Garble(true); return func() { p.Garble(false) } },
		Calls:    func() int { return p.Calls("") },
	}
}

func byARN(_ *localstack.Server, arn string) string { return arn }

// TestRotatesItsKey: RotateKey gives the key new material, and a refusal names the permission.
func TestRotatesItsKey(t *testing.T) {
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	w := open(t, "kms_key_id", s.CreateKey(t), "endpoint", p.URL, "access_key", "a", "secret_key", "b")
	before, err := w.KeyVersion(t.Context())
	must(t, err)
	must(t, w.RotateKey(t.Context()))
	if after, err := w.KeyVersion(t.Context()); err != nil || after == before {
		t.Errorf("version %q, before %q, %v", after, before, err)
	}
	p.Refuse("RotateKeyOnDemand", localstack.Denied)
	if err := w.RotateKey(t.Context()); err == nil || !strings.Contains(err.Error(), "kms:RotateKeyOnDemand") {
		t.Error(err)
	}
}

func TestConforms(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{Stride: 3, New: func(t *testing.T) *sealtest.Fixture {
		return onLocalStack(t,
			byARN)
	}})
}
