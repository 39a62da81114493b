//go:build unix

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/localstack"
)

// cloud is a server on a key of AWS KMS, as LocalStack has it.
type cloud struct {
	*harness
	aws   *localstack.Server
	proxy *localstack.Proxy
	key   string
}

// newCloud prepares a server, a LocalStack of its own, and the proxy in between. The secret key is
// in a file.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	const secretKey = "an-access-keys-secret-0123456789"
	c := &cloud{aws: localstack.New(t)}
	c.proxy, c.key = localstack.NewProxy(t, c.aws), c.aws.CreateKey(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "aws-secret")
	if err := os.WriteFile(file, []byte(secretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const seal = "seal \"awskms\" \"aws\" {\n  kms_key_id = %q\n  endpoint = %q\n  access_key = \"AKIATEST\"\n  " +
		"secret_key = \"file://%s\"\n}\n"
	c.harness = newHarness(t, dir, fmt.Sprintf(seal, c.key, c.proxy.URL, file))
	c.known.add("the secret access key", secretKey)
	return c
}

func (c *cloud) do(action string) {
	c.t.Helper()
	c.aws.Must(c.t, action, map[string]any{"KeyId": c.key})
}

// restart kills the server and starts it again.
func (c *cloud) restart() {
	c.t.Helper()
	c.move(c.Kill)
	c.mustStart()
}

// sealedAs waits until the server is sealed and says why.
func (c *cloud) sealedAs(class string, words ...string) {
	c.t.Helper()
	c.eventually(patience, "sealed as "+class, func() bool {
		st := c.status()
		return st.Sealed && len(st.Seals) == 1 && st.Seals[0].Class == class
	})
	c.failing(class, words...)
}

// TestAWSKMS: a server on a key of AWS KMS is killed, and its key disabled, scheduled for deletion
// and rotated.
func TestAWSKMS(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.mustStart()
	c.mustInit()
	c.mustPut("a", "1")
	call, err := c.proxy.Last("Encrypt")
	if err != nil {
		t.Fatal(err)
	}
	pairs, _ := call.Body["EncryptionContext"].(map[string]any)
	if pairs["seal"] != "aws" || pairs["cluster"] == "" || pairs["generation"] != "1" {
		t.Errorf("the encryption context is %v", pairs)
	}
	c.restart()
	c.until(patience, "unsealed automatically", unsealed)
	c.mustGet("a", "1")

	c.do("DisableKey")
	saysAll(t, "rotating the root key", c.must(503, "PUT", "sys/rotate/root", nil).Errors(), "key disabled",
		"aws kms enable-key", c.key)
	c.mustPut("b", "2") // an unsealed server keeps serving
	c.restart()
	c.sealedAs("key disabled", "enable-key", c.key)
	c.do("EnableKey")
	c.until(patience, "unsealed automatically, the key enabled again", unsealed)
	c.mustGet("b", "2")

	c.do("ScheduleKeyDeletion")
	c.restart()
	c.sealedAs("pending deletion", "will be destroyed at 20", "cancel-key-deletion", c.key)
	c.do("CancelKeyDeletion")
	c.do("EnableKey")
	c.until(patience, "unsealed automatically, the deletion called off", unsealed)

	version := func() string {
		var st struct {
			Backends []struct {
				Version string `json:"key_version"`
			}
		}
		c.decode(c.must(200, "GET", "sys/seal-backend-status", nil), &st)
		return st.Backends[0].Version
	}
	old := version()
	c.proxy.Rotate(t, c.key)
	c.restart()
	c.until(patience, "unsealed automatically, the key rotated", unsealed)
	c.eventually(patience, "wrapped by the new material", func() bool { return version() != old && old != "" })
	c.mustGet("a", "1")
}

// TestAWSKMSAway: custodians rekey while the KMS is unreachable. When its keys are gone, an
// unsealed server keeps serving and reports it.
func TestAWSKMSAway(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.mustStart()
	shares := c.mustInit()
	c.mustPut("a", "1")

	c.move(c.proxy.Away)
	nonce := c.startRekey(3, 2)
	for i, share := range shares[:3] {
		reply := c.give("sys/rekey-recovery-key/update", share, nonce)
		if reply.Code != 200 {
			t.Fatalf("share %d while the KMS is unreachable: %d %s", i, reply.Code, reply.Body)
		}
		c.learn("PUT sys/rekey-recovery-key/update", reply)
	}
	saysAll(t, "rotating the root key", c.must(503, "PUT", "sys/rotate/root", nil).Errors(), "unreachable")
	c.mustPut("b", "2")
	c.restart()
	c.sealedAs("unreachable")
	c.move(c.proxy.Back)
	c.until(patience, "unsealed automatically, the KMS back", unsealed)
	c.mustGet("b", "2")

	c.move(c.aws.Restart) // LocalStack forgets its keys
	saysAll(t, "rotating the root key", c.must(503, "PUT", "sys/rotate/root", nil).Errors(), "key gone", c.key)
	c.mustGet("a", "1")
	c.restart()
	c.sealedAs("key gone", "kms_key_id", c.key)
}
