// Command kubernetes is the part of a Kubernetes API server that encrypts objects: its own code,
// driven by lines on standard input. The test in internal/e2e/kubernetes starts it beside a real
// Sealgate.
//
//	load FILE              the EncryptionConfiguration, as at the start of an API server
//	write NAME TEXT        encrypt an object and keep it, as a write to etcd does
//	read NAME              decrypt it; "stale" where it needs to be written again
//	health                 the checks of /readyz
//	clock DURATION         move the clock of the provider
//	stored NAME            the stored bytes, in base64
//
// Each line is answered by one line: "ok ..." or "error ...".
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
)

// apiServer is what an API server has after its start.
type apiServer struct {
	config *encryptionconfig.EncryptionConfiguration
	cancel context.CancelFunc
	kept   map[string][]byte // etcd: it outlives a load
	name   string            // of the provider
}

func main() {
	s := &apiServer{kept: map[string][]byte{}, name: os.Args[1]}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		answer, err := s.do(strings.SplitN(in.Text(), " ", 3))
		if err != nil {
			fmt.Printf("error %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Printf("ok %s\n", answer)
	}
}

func (s *apiServer) do(words []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "load":
		return "", s.load(arg(1))
	case "write":
		text, err := s.secrets().TransformToStorage(ctx, []byte(arg(2)), object(arg(1)))
		if err == nil {
			s.kept[arg(1)] = text
		}
		return "", err
	case "read":
		text, stale, err := s.secrets().TransformFromStorage(ctx, s.kept[arg(1)], object(arg(1)))
		if stale {
			return "stale " + string(text), err
		}
		return "fresh " + string(text), err
	case "health":
		return "", s.health()
	case "clock":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return "", err
		}
		kmsv2.SetNowFuncForTests(s.name, func() time.Time { return time.Now().Add(d) })
		return "", nil
	case "stored":
		return base64.StdEncoding.EncodeToString(s.kept[arg(1)]), nil
	}
	return "", fmt.Errorf("unknown command %q", words[0])
}

func object(name string) value.Context {
	return value.DefaultContext("/registry/secrets/default/" + name)
}

func (s *apiServer) secrets() value.Transformer {
	return s.config.Transformers[schema.GroupResource{Resource: "secrets"}]
}

// load starts anew: the pollers of the last configuration end.
func (s *apiServer) load(file string) error {
	if s.cancel != nil {
		s.cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	var err error
	s.config, err = encryptionconfig.LoadEncryptionConfig(ctx, file, false, "api-server-of-a-test")
	return err
}

func (s *apiServer) health() error {
	r, err := http.NewRequest(http.MethodGet, "/readyz", nil)
	if err != nil {
		return err
	}
	for _, c := range s.config.HealthChecks {
		if err := c.Check(r); err != nil {
			return err
		}
	}
	return nil
}
