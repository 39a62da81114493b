// Gcp-kms-standin is an emulator of Google Cloud KMS, for tests and trials of programs that use it.
// It is no security product: whoever reads its files has its keys.
//
//	gcp-kms-standin -dir DIR [-state FILE] [-listen ADDR] [-http ADDR] [-account NAME=ROLE,...]... [-key NAME]...
//
// It speaks the gRPC API of Cloud KMS over TLS at -listen (127.0.0.1:9010), and HTTPS at -http
// (127.0.0.1:9011): health at /healthz, OAuth2 at /token, faults on demand below /standin. Package
// internal/testkit/gcpkms tells what it does as the real service does, and what it leaves out.
//
// In -dir it makes, or finds again, what clients and the administrator need:
//
//	ca.pem, tls.key     the certificate, self-made for -names unless -tls-cert and -tls-key are given
//	NAME.json           of each -account: the credentials file of that service account (token_uri is -url/token)
//	admin-token         opens /standin, as a bearer
//
// Keys lie in -state, so that a restart does not lose them; without it they are gone at the end. A
// -key is made at the start if there is none of its name, its key ring too. All files but ca.pem
// have mode 0600.
//
//	-account sealgate=cloudkms.cryptoKeyEncrypterDecrypter,cloudkms.viewer     (roles of Google's; ROLE@RESOURCE limits one to a resource)
//	-key projects/trial-project/locations/global/keyRings/sealgate/cryptoKeys/root          ("=hsm" behind it: protection level HSM)
//
// As a health check of a container: gcp-kms-standin -dir DIR -check https://127.0.0.1:9011/healthz
// exits 0 if it serves, else 1.
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

// run is the program: 0 when it was told to end, 1 when it cannot work, 2 when the command line
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
