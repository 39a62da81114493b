// Command gcp-kms-standin is an emulator of Google Cloud KMS, for tests and trials. It is no
// security product: a reader of its files has its keys.
//
// It serves the gRPC API of Cloud KMS over TLS at -listen (127.0.0.1:9010), and HTTPS at -http
// (127.0.0.1:9011): health at /healthz, OAuth2 at /token, faults on demand below /emulator.
// Package internal/testkit/gcpkms says what it does as the real service does, and what not.
//
// In -dir it creates, or finds again, what clients and the administrator need:
//
//	ca.pem, tls.key  the certificate, self-signed for -names unless -tls-cert and -tls-key are given
//	NAME.json        for each -account: its credentials file (token_uri is -url/token)
//	admin-token      the bearer token for the paths below /emulator
//
// Keys are kept in -state across restarts; without it they are lost at the end. A -key is created
// at the start if it does not exist, with its key ring. All files but ca.pem have mode 0600.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: 0 after a signal, 1 when it cannot work, 2 when the command line
// cannot be meant.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if o.check != "" {
		err = check(ctx, o)
	} else {
		err = serve(ctx, o, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "gcp-kms-standin:", err)
		return 1
	}
	return 0
}
