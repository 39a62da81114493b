//go:build unix

package localstack_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/testkit/localstack"
)

// orphan has this program start a LocalStack, print its URL, and kill itself.
const orphan = "LOCALSTACK_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphan) == "" {
		goleak.VerifyTestMain(localstack.Main(m))
		return
	}
	s, err := localstack.Start()
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.WriteString(s.URL); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func call(t *testing.T, s *localstack.Server, action string, in map[string]any) (map[string]any, string) {
	t.Helper()
	out, err := s.Do(action, in)
	var kind localstack.ErrorType
	if err != nil && !errors.As(err, &kind) {
		t.Fatal(err)
	}
	return out, string(kind)
}

func TestKeysAreGoneAfterARestart(t *testing.T) {
	t.Parallel()
	s := localstack.New(t)
	key := s.CreateKey(t)
	in := map[string]any{"KeyId": key, "Plaintext": base64.StdEncoding.EncodeToString([]byte("secret"))}
	blob := s.Must(t, "Encrypt", in)["CiphertextBlob"]
	in = map[string]any{"KeyId": key, "CiphertextBlob": blob}
	if plain := s.Must(t, "Decrypt", in)["Plaintext"]; plain != "c2VjcmV0" {
		t.Errorf("Decrypt: %v", plain)
	}
	if err := s.Start(); err == nil {
		t.Error("it was started twice")
	}
	url := s.URL
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.URL != url {
		t.Errorf("it was at %s, and is at %s", url, s.URL)
	}
	if _, kind := call(t, s, "Decrypt", in); kind != "NotFoundException" {
		t.Errorf("Decrypt after a restart: %q", kind)
	}
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	primary, replica := localstack.Shared(t).CreateMultiRegionKey(t, "eu-west-1")
	if strings.Replace(primary, localstack.Region, "eu-west-1", 1) != replica ||
		!strings.Contains(primary, ":key/mrk-") {
		t.Errorf("%s has the replica %s", primary, replica)
	}
}

// TestDiesWithItsTest kills a process that has a LocalStack.
func TestDiesWithItsTest(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphan+"=1")
	out, err := cmd.Output()
	url := string(out)
	if err == nil || !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("%q, %v", out, err)
	}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get(url)
		if err != nil {
			return
		}
		resp.Body.Close()
		if time.Now().After(until) {
			t.Fatalf("%s still answers", url)
		}
	}
}

func TestSaysWhatToDoWhereItIsNotInstalled(t *testing.T) {
	t.Setenv("SEALGATE_LOCALSTACK", t.TempDir())
	if _, err := localstack.Start(); !errors.Is(err, localstack.ErrNotInstalled) ||
		!strings.Contains(err.Error(), ".ci/localstack") {
		t.Error(err)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	through := *s
	through.URL = p.URL
	key := s.CreateKey(t)
	plain := map[string]any{"KeyId": key, "Plaintext": "c2VjcmV0"}
	encrypted := through.Must(t, "Encrypt", plain)
	decrypt := map[string]any{"KeyId": key, "CiphertextBlob": encrypted["CiphertextBlob"]}
	material := func() any {
		return through.Must(t, "DescribeKey",
			map[string]any{"KeyId": key})["KeyMetadata"].(map[string]any)["CurrentKeyMaterialId"]
	}
	first := material()
	p.Rotate(t, key)
	if now := material(); now == first {
		t.Error("a rotation has made no new material")
	}
	got := through.Must(t, "Decrypt", decrypt)
	if got["Plaintext"] != "c2VjcmV0" || got["KeyMaterialId"] != first || len(first.(string)) != 64 {
		t.Errorf("Decrypt: %v; the first material is %v", got, first)
	}
	for _, f := range []localstack.Fault{localstack.Throttled, localstack.Denied, localstack.Expired,
		localstack.Internal} {
		p.Refuse("Decrypt", f)
		if _, kind := call(t, &through, "Decrypt", decrypt); kind != f.Type {
			t.Errorf("Decrypt: %q, want %s", kind, f.Type)
		}
		through.Must(t, "Encrypt", plain)
	}
	p.Allow("Decrypt")
	p.Expire("test")
	if _, kind := call(t, &through, "Decrypt", decrypt); kind != localstack.Expired.Type {
		t.Errorf("Decrypt with an expired key: %q", kind)
	}
	if c, err := p.Last("Decrypt"); err != nil || c.AccessKey != "test" || c.Region != localstack.Region ||
		c.Body["KeyId"] != key {
		t.Errorf("the last call: %+v, %v", c, err)
	}
	if n := p.Calls("Decrypt"); n != 6 || p.Calls("") != 6+5+2 {
		t.Errorf("%d decryptions and %d calls counted", n, p.Calls(""))
	}
}

func TestProxyGarblesAndGoes(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	through := *s
	through.URL = p.URL
	key := s.CreateKey(t)
	blob := through.Must(t, "Encrypt", map[string]any{"KeyId": key, "Plaintext": "c2VjcmV0"})["CiphertextBlob"]
	decrypt := map[string]any{"KeyId": key, "CiphertextBlob": blob}
	p.Garble(true)
	if got := through.Must(t, "Decrypt", decrypt)["Plaintext"]; got == "c2VjcmV0" || len(got.(string)) != 8 {
		t.Errorf("a garbled plaintext: %v", got)
	}
	p.Garble(false)
	if err := p.Away(); err != nil {
		t.Fatal(err)
	}
	if _, err := through.Do("Decrypt", decrypt); err == nil {
		t.Error("it answers although it is unavailable")
	}
	if err := p.Back(); err != nil {
		t.Fatal(err)
	}
	p.Unresponsive(true)
	answer := make(chan error)
	go func() {
		_, err := through.Do("Decrypt", decrypt)
		answer <- err
	}()
	for p.Calls("Decrypt") < 2 {
		select {
		case err := <-answer:
			t.Fatalf("it is unresponsive and answers: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	p.Unresponsive(false)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}
