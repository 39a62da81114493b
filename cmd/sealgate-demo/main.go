// Command sealgate-demo runs the main use case on a real PKCS#11 token (SoftHSM) and the real
// program: a server that unseals itself, a rekey of the recovery shares and rotations of the
// barrier key while eight clients write and read, kill -9, and an HSM outage. It exits with 1 if an
// acknowledged write is lost or a request fails that should succeed.
//
// With -openbao it runs a second main use case: a real OpenBao server unseals through Sealgate, and
// its clients are the ones that write and read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/e2e"
)

func main() {
	bin := flag.String("sealgate", "build/sealgate", "path of the sealgate program")
	bao := flag.String("openbao", "", "path of the OpenBao program: run the demo of the gateway")
	keep := flag.Bool("keep", false, "keep the demo's folder")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, *bin, *bao, *keep); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, bao string, keep bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sealgate-demo-")
	if err != nil {
		return err
	}
	if keep {
		fmt.Println("The demo's files stay in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	if bao != "" {
		return runGateway(ctx, bin, bao, dir)
	}
	s, err := newDemo(ctx, bin, dir, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.server.Stop()) }()
	return s.play()
}

// demo is the token, the server and the clients.
type demo struct {
	ctx    context.Context
	began  time.Time
	token  *softhsm.Token
	server *e2e.Server
	load   *load

	root    string   // the root token
	shares  []string // of the recovery key, as printed by init
	starts  []time.Duration
	outages []time.Duration
}

// newDemo prepares a server on a new token. more goes into its configuration, with the path of the
// PKCS#11 library.
func newDemo(ctx context.Context, bin, dir, more string) (*demo, error) {
	s := &demo{ctx: ctx, began: time.Now()}
	s.heading("A throw-away HSM: SoftHSM with its own token, folder and PINs")
	fmt.Printf("$ sealgate softhsm init -dir %s\n", "./token")
	var err error
	if s.token, err = softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{Label: "demo"}); err != nil {
		return nil, err
	}
	addr, err := e2e.FreeAddr()
	if err != nil {
		return nil, err
	}
	s.server = &e2e.Server{Bin: bin, Dir: dir, Addr: addr, Env: s.token.Environ()}
	config := e2e.Config(addr, "seal \"pkcs11\" \"hsm\" {\n  key_label    = \"demo-root\"\n  generate_key = true\n}\n")
	if more != "" {
		config += fmt.Sprintf(more, s.token.Lib)
	}
	fmt.Printf("\n$ cat sealgate.hcl\n%s", config)
	return s, s.server.WriteConfig(config)
}

// play runs the steps in order. The load runs from the third step to the last.
func (s *demo) play() error {
	for _, step := range []func() error{
		s.start, s.initialise, s.startLoad, s.killAndRestart, s.rekey, s.rotate, s.oldSharesNewShares, s.hsmOutage,
		s.readBack,
	} {
		if err := step(); err != nil {
			if s.load != nil {
				s.load.stop()
			}
			return fmt.Errorf("%w\n\nThe server's log:\n%s", err, tail(s.server.Log(), 40))
		}
	}
	return s.table()
}

func (s *demo) heading(format string, args ...any) {
	fmt.Printf("\n--- %4.1f s  %s\n\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}
