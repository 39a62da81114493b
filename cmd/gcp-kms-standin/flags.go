package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
)

// options are the command line, understood.
type options struct {
	dir, state, listen, http, url, names, cert, key, check string
	quota                                                  int
	accounts                                               []accountFlag
	keys                                                   []keyFlag
}

type accountFlag struct {
	name   string
	grants []gcpkms.Grant
}

// keyFlag is a key to make, by the action that makes it.
type keyFlag struct{ action, name string }

const usage = `An emulator of Google Cloud KMS, for tests and trials. It is no security product: its keys lie in memory or, in the clear, in a file.

usage: gcp-kms-standin -dir DIR [flags]
`

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("gcp-kms-standin", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage+"\n")
		f.PrintDefaults()
	}
	f.StringVar(&o.dir, "dir", "", "`folder` of the certificate, the accounts' credentials files and the "+
		"administrator's token; required")
	f.StringVar(&o.state, "state", "", "`file` that keeps the keys; without it they are gone at the end")
	f.StringVar(&o.listen, "listen", "127.0.0.1:9010", "`address` of gRPC, by TLS")
	f.StringVar(&o.http, "http", "127.0.0.1:9011", "`address` of health, OAuth2 tokens and administration, by TLS")
	f.StringVar(&o.url, "url", "", "`URL` by which clients reach -http; without it, its address")
	f.StringVar(&o.names, "names", "localhost,127.0.0.1,::1,gcp-kms-standin",
		"`names` and addresses in the self-made certificate")
	f.StringVar(&o.cert, "tls-cert", "", "`file` with a certificate of your own, PEM")
	f.StringVar(&o.key, "tls-key", "", "`file` with its key, PEM")
	f.StringVar(&o.check, "check", "", "only ask the `URL` whether an emulator serves there: exit code 0 or 1")
	f.IntVar(&o.quota, "quota", 0, "cryptographic requests a minute for each account; 0 is Google's 60,000")
	f.Func("account", "service account, `NAME=ROLE[@RESOURCE][,ROLE...]`; repeat it for more", o.addAccount)
	f.Func("key", "key to make if it is missing, `NAME[=hsm]`; repeat it for more", o.addKey)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	err := o.missing(f.NArg())
	if err != nil {
		fmt.Fprintln(stderr, "gcp-kms-standin:", err)
	}
	return o, err
}

func (o *options) missing(rest int) error {
	switch {
	case rest > 0:
		return errors.New("there are only flags; see -help")
	case o.dir == "":
		return errors.New("-dir is required: the folder of what clients need")
	case (o.cert == "") != (o.key == ""):
		return errors.New("-tls-cert and -tls-key belong together")
	}
	return nil
}

func (o *options) addAccount(v string) error {
	name, list, ok := strings.Cut(v, "=")
	if !ok || name == "admin-token" || name == "ca" {
		return errors.New("want NAME=ROLE[@RESOURCE][,ROLE]")
	}
	a := accountFlag{name: name}
	for text := range strings.SplitSeq(list, ",") {
		g, err := gcpkms.ParseGrant(text)
		if err != nil {
			return err
		}
		a.grants = append(a.grants, g)
	}
	o.accounts = append(o.accounts, a)
	return nil
}

func (o *options) addKey(v string) error {
	name, level, _ := strings.Cut(v, "=")
	k := keyFlag{action: "create", name: name}
	switch level {
	case "", "software":
	case "hsm":
		k.action = "create-hsm"
	default:
		return fmt.Errorf("the protection level is hsm or software, not %q", level)
	}
	o.keys = append(o.keys, k)
	return nil
}
