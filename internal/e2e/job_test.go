package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// SoftHSM knows one configuration per process. What is to be changed on a token while tests with
// others run is a job for a process of its own: the test binary again.
const jobEnv = "SEALGATE_E2E_JOB"

// onToken does a job on a token: "make" a key of a kind, or "forbid" those of a label to encrypt
// and decrypt.
func onToken(t *testing.T, token *softhsm.Token, job string, args ...string) {
	t.Helper()
	raw, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), jobEnv+"="+job, "SEALGATE_E2E_TOKEN="+string(raw))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v on the token: %v: %s", job, args, err, out)
	}
}

var kinds = map[string]hsm.Kind{"aes": hsm.AES256, "hmac": hsm.HMAC256, "rsa": hsm.RSA3072}

func doJob(job string, args []string) int {
	var token softhsm.Token
	err := json.Unmarshal([]byte(os.Getenv("SEALGATE_E2E_TOKEN")), &token)
	if err == nil {
		err = token.Use()
	}
	for i := 0; err == nil && i < len(args); i++ {
		switch job {
		case "make":
			err = token.MakeKey(kinds[args[i]], args[i+1])
			i++
		case "forbid":
			err = token.Permit(args[i], false)
		default:
			err = fmt.Errorf("unknown job %q", job)
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// shell runs a script and returns what it printed.
func shell(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", script}, args...)...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out, errs.Bytes())
	}
	return string(out)
}
