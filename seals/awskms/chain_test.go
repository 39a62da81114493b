//go:build unix

package awskms_test

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/testkit/localstack"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/awskms"
)

// giver serves all HTTP sources of credentials: STS, the container's agent, the instance's
// metadata, SSO.
type giver struct {
	*httptest.Server
	unresponsive atomic.Bool
	refuse       atomic.Bool
	requests     atomic.Int32
	seen         atomic.Value // the last request of STS
}

func newGiver(t *testing.T) *giver {
	g := &giver{}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

const soon = "2099-01-01T00:00:00Z"

func (g *giver) serve(w http.ResponseWriter, r *http.Request) {
	g.requests.Add(1)
	_ = r.ParseForm() // reads the body, so that the server notices a closed connection
	if g.unresponsive.Load() {
		<-r.Context().Done()
		return
	}
	switch r.URL.Path {
	case "/": // STS
		g.seen.Store(r.PostForm.Encode() + " " + r.Header.Get("Authorization"))
		if g.refuse.Load() {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>`+
				`<Message>not you</Message></Error></ErrorResponse>`)
			return
		}
		action := r.PostForm.Get("Action")
		fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>ID-%[1]s</AccessKeyId>`+
			`<SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>t</SessionToken><Expiration>%[2]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
			action, soon)
	case "/agent": // the container's agent
		fmt.Fprintf(w, `{"AccessKeyId":"ID-agent","SecretAccessKey":"s","Token":"t","Expiration":%q}`, soon)
	case "/latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
		fmt.Fprint(w, "token")
	case "/latest/meta-data/iam/security-credentials/":
		fmt.Fprint(w, "role")
	case "/latest/meta-data/iam/security-credentials/role":
		fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":"ID-instance","SecretAccessKey":"s","Token":"t",`+
			`"Expiration":%q}`, soon)
	case "/federation/credentials": // SSO
		fmt.Fprintf(w, `{"roleCredentials":{"accessKeyId":"ID-sso","secretAccessKey":"s","sessionToken":"t",`+
			`"expiration":%d}}`,
			time.Now().Add(time.Hour).UnixMilli())
	default:
		http.NotFound(w, r)
	}
}

// bare unsets all variables of AWS and replaces the home directory.
func bare(t *testing.T) (home string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	home = t.TempDir()
	t.Setenv("HOME", home)
	// the SDK read HOME when the program started
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, ".aws", "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, ".aws", "credentials"))
	return home
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// TestChain: each source of credentials, identified by the access key of the signature.
func TestChain(t *testing.T) {
	s := localstack.Shared(t)
	key := s.CreateKey(t)
	const start = "https://example.awsapps.com/start"
	for _, c := range []struct {
		name string
		set  func(t *testing.T, home string, g *giver) (params []string)
		id   string
	}{
		{"stanza", func(*testing.T, string, *giver) []string {
			return []string{"access_key", "ID-stanza", "secret_key", "s"}
		}, "ID-stanza"},
		{"variables", func(t *testing.T, _ string, _ *giver) []string {
			t.Setenv("AWS_ACCESS_KEY_ID", "ID-variable")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
			return nil
		}, "ID-variable"},
		{"profile", func(t *testing.T, home string, _ *giver) []string {
			write(t, filepath.Join(home, ".aws", "credentials"),
				"[ops]\naws_access_key_id = ID-profile\naws_secret_access_key = s\n")
			t.Setenv("AWS_PROFILE", "ops")
			return nil
		}, "ID-profile"},
		{"file and profile of the stanza", func(t *testing.T, home string, _ *giver) []string {
			t.Setenv("AWS_ACCESS_KEY_ID", "ID-variable") // takes precedence without the stanza
			t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
			f := write(t, filepath.Join(home, "mine"), "[two]\naws_access_key_id = ID-two\naws_secret_access_key = s\n")
			return []string{"shared_creds_filename", f, "shared_creds_profile", "two"}
		}, "ID-two"},
		{"process", func(t *testing.T, home string, _ *giver) []string {
			const answer = `{"Version":1,"AccessKeyId":"ID-process","SecretAccessKey":"s"}`
			write(t, filepath.Join(home, ".aws", "config"), "[default]\ncredential_process = echo '"+answer+"'\n")
			return nil
		}, "ID-process"},
		{"SSO's cache", func(t *testing.T, home string, g *giver) []string {
			write(t, filepath.Join(home, ".aws", "config"),
				"[default]\nsso_start_url = "+start+"\nsso_region = eu-central-1\nsso_account_id = 1\nsso_role_name "+
					"= r\n")
			write(t, filepath.Join(home, ".aws", "sso", "cache", fmt.Sprintf("%x.json", sha1.Sum([]byte(start)))),
				fmt.Sprintf(`{"accessToken":"a","expiresAt":%q,"region":"eu-central-1","startUrl":%q}`, soon, start))
			t.Setenv("AWS_ENDPOINT_URL_SSO", g.URL)
			return nil
		}, "ID-sso"},
		{"web identity", func(t *testing.T, home string, g *giver) []string {
			token := write(t, filepath.Join(home, "token"), "jwt")
			return []string{"web_identity_token_file", token, "role_arn", "arn:aws:iam::1:role/web", "sts_endpoint",
				g.URL}
		}, "ID-AssumeRoleWithWebIdentity"},
		{"web identity by variables", func(t *testing.T, home string, g *giver) []string {
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, filepath.Join(home, "token"), "jwt"))
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/web")
			t.Setenv("AWS_ENDPOINT_URL_STS", g.URL)
			return nil
		}, "ID-AssumeRoleWithWebIdentity"},
		{"a role", func(_ *testing.T, _ string, g *giver) []string {
			return []string{"access_key", "ID-stanza", "secret_key", "s",
				"role_arn", "arn:aws:iam::1:role/r", "role_session_name", "me", "sts_endpoint", g.URL}
		}, "ID-AssumeRole"},
		{"container", func(t *testing.T, _ string, g *giver) []string {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", g.URL+"/agent")
			return nil
		}, "ID-agent"},
		{"instance", func(t *testing.T, _ string, g *giver) []string {
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", g.URL)
			return nil
		}, "ID-instance"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, p := newGiver(t), localstack.NewProxy(t, s)
			params := append(c.set(t, bare(t), g), "kms_key_id", key, "endpoint", p.URL)
			w := ambient(t, params...)
			blob, err := w.Encrypt(t.Context(), []byte("root"))
			must(t, err)
			_, err = w.Decrypt(t.Context(), blob)
			must(t, err)
			call, err := p.Last("Decrypt")
			must(t, err)
			if call.AccessKey != c.id || call.Region != localstack.Region || p.Calls("") != 2 {
				t.Errorf("signed by %q for %q, %d calls; want %q", call.AccessKey, call.Region, p.Calls(""), c.id)
			}
			if seen, _ := g.seen.Load().(string); strings.Contains(c.id, "AssumeRole") &&
				!strings.Contains(seen, "RoleSessionName") {
				t.Errorf("STS received %q", seen)
			}
		})
	}
}

// ambient makes a wrapper that reads the environment.
func ambient(t *testing.T, pairs ...string) *awskms.Wrapper {
	t.Helper()
	params := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		params[pairs[i]] = pairs[i+1]
	}
	w, err := awskms.New(seals.Config{Name: "test", Type: "awskms", Params: params, Getenv: os.Getenv})
	must(t, err)
	t.Cleanup(func() { must(t, w.(*awskms.Wrapper).Close()) })
	return w.(*awskms.Wrapper)
}

// TestDisallowEnvVars: with disallow_env_vars, valid variables are ignored.
func TestDisallowEnvVars(t *testing.T) {
	home := bare(t)
	s, g := localstack.Shared(t), newGiver(t)
	p := localstack.NewProxy(t, s)
	t.Setenv("AWS_ACCESS_KEY_ID", "ID-variable")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ENDPOINT_URL", g.URL)
	t.Setenv("VAULT_AWSKMS_SEAL_KEY_ID", "alias/other")
	f := write(t, filepath.Join(home, "mine"), "[default]\naws_access_key_id = ID-file\naws_secret_access_key = s\n")
	key := s.CreateKey(t)
	w := ambient(t, "disallow_env_vars", "true", "kms_key_id", key, "endpoint", p.URL, "shared_creds_filename", f)
	_, err := w.Encrypt(t.Context(), nil)
	must(t, err)
	call, err := p.Last("Encrypt")
	if err != nil || call.AccessKey != "ID-file" || call.Region != localstack.Region || call.Body["KeyId"] != key ||
		g.requests.Load() != 0 {
		t.Errorf("%+v, %v", call, err)
	}
}

// TestNoCredentials: the errors without credentials, and where STS refuses or is unavailable.
func TestNoCredentials(t *testing.T) {
	home := bare(t)
	s, g := localstack.Shared(t), newGiver(t)
	p := localstack.NewProxy(t, s)
	key := s.CreateKey(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	kms := []string{"kms_key_id", key, "endpoint", p.URL}
	role := append(kms, "access_key", "a", "secret_key", "b", "role_arn", "arn:aws:iam::1:role/r", "sts_endpoint",
		g.URL)
	check := func(what string, w *awskms.Wrapper, class seals.Class, word string) {
		t.Helper()
		_, err := w.Encrypt(t.Context(), []byte("root"))
		var f *seals.Failure
		if !errors.As(err, &f) || f.Class != class || !strings.Contains(err.Error(), word) || f.Remedy == "" {
			t.Errorf("%s: %v; want %s with %q", what, err, class, word)
		}
	}
	check("none", ambient(t, kms...), seals.Denied, "configure credentials")
	check("no such profile", ambient(t, append(kms, "shared_creds_profile", "nope")...), seals.Denied, "nope")
	lost := append(kms, "web_identity_token_file", filepath.Join(home, "none"), "role_arn", "r", "sts_endpoint", g.URL)
	check("no token", ambient(t, lost...), seals.Denied, "none")
	check("no region", ambient(t, "kms_key_id", "alias/a", "access_key", "a", "secret_key", "b"), seals.Misconfigured,
		"AWS_REGION")
	g.refuse.Store(true)
	check("STS refuses", ambient(t, role...), seals.Denied, "to assume the role")
	g.refuse.Store(false)
	check("STS unavailable", ambient(t, append(role, "sts_endpoint", "http://127.0.0.1:1")...), seals.Unreachable,
		"STS")
	if p.Calls("") != 0 {
		t.Errorf("%d requests to KMS without credentials", p.Calls(""))
	}
}

// TestUnresponsiveSTS: the search for credentials ends by the deadline of the call and leaves
// nothing running.
func TestUnresponsiveSTS(t *testing.T) {
	bare(t)
	s, g := localstack.Shared(t), newGiver(t)
	p := localstack.NewProxy(t, s)
	key := s.CreateKey(t)
	g.unresponsive.Store(true)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", g.URL)
	for what, params := range map[string][]string{
		"role": {"access_key", "a", "secret_key", "b", "role_arn", "arn:aws:iam::1:role/r", "sts_endpoint",
			g.URL},
		"web identity": {"web_identity_token_file", write(t, filepath.Join(t.TempDir(), "t"), "jwt"), "role_arn", "r",
			"sts_endpoint", g.URL},
		"instance": {},
	} {
		before := goleak.IgnoreCurrent()
		w := ambient(t, append(params, "kms_key_id", key, "endpoint", p.URL)...)
		best := time.Hour
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			begun := time.Now()
			_, err := w.Encrypt(ctx, []byte("root"))
			best = min(best, time.Since(begun))
			cancel()
			if seals.ClassOf(err) != seals.Unreachable || !strings.Contains(err.Error(), "credentials") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if best > 2*time.Second {
			t.Errorf("%s: it took %s", what, best)
		}
		nothingRuns(t, what)
		if err := goleak.Find(before); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// nothingRuns waits until no goroutine is in the SDK. goleak cannot read stacks as deep as the
// SDK's.
func nothingRuns(t *testing.T, what string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !strings.Contains(string(stacks), "aws-sdk-go-v2/") {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: the SDK still runs:\n%s", what, stacks)
		}
	}
}

// TestReplacedCredentials: after a credentials file is replaced, the call that AWS refuses reads
// the new credentials.
func TestReplacedCredentials(t *testing.T) {
	home := bare(t)
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	file := filepath.Join(home, ".aws", "credentials")
	write(t, file, "[default]\naws_access_key_id = one\naws_secret_access_key = s\n")
	w := ambient(t, "kms_key_id", s.CreateKey(t), "endpoint", p.URL)
	_, err := w.Encrypt(t.Context(), nil)
	must(t, err)
	write(t, file, "[default]\naws_access_key_id = two\naws_secret_access_key = s\n")
	p.Expire("one")
	_, err = w.Encrypt(t.Context(), nil)
	must(t, err)
	if call, err := p.Last("Encrypt"); err != nil || call.AccessKey != "two" || p.Calls("") != 3 {
		t.Errorf("%+v after %d calls, %v", call, p.Calls(""), err)
	}
}
