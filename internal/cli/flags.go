package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// connection holds the flags of every client command.
type connection struct {
	address, agentAddress        string
	caCert, caPath               string
	clientCert, clientKey        string
	serverName                   string
	skipVerify, disableRedirects bool
	headers                      multi
	mfa                          multi
	namespace, ns                string
	nonInteractive               bool
	outputCurl, outputPolicy     bool
	policyOverride               bool
	unlockKey                    string
	wrapTTL                      time.Duration
	format, field                string
}

// base holds a command's flags and environment.
type base struct {
	env      Env
	flags    *flag.FlagSet
	conn     connection
	required []string // names of flags whose value must not be empty, if they are given
	local    []string // names of the command's own flags, which its help lists first
}

func newBase(env Env) *base {
	b := &base{env: env, flags: flag.NewFlagSet("", flag.ContinueOnError)}
	b.flags.SetOutput(io.Discard)
	c := &b.conn
	f := b.flags
	f.StringVar(&c.address, "address", "", "`URL` of the server [ADDR], https://127.0.0.1:8200 by default")
	f.StringVar(&c.agentAddress, "agent-address", "", "`URL` of an agent to use as proxy [AGENT_ADDR]")
	f.StringVar(&c.caCert, "ca-cert", "", "`file` with the CA certificates to trust [CACERT]")
	f.StringVar(&c.caPath, "ca-path", "", "`folder` with CA certificates to trust [CAPATH]")
	f.StringVar(&c.clientCert, "client-cert", "", "`file` with the client certificate [CLIENT_CERT]")
	f.StringVar(&c.clientKey, "client-key", "", "`file` with the client certificate's key [CLIENT_KEY]")
	f.StringVar(&c.serverName, "tls-server-name", "", "`name` to expect in the server's certificate [TLS_SERVER_NAME]")
	f.BoolVar(&c.skipVerify, "tls-skip-verify", false, "do not verify the server's certificate; insecure [SKIP_VERIFY]")
	f.BoolVar(&c.disableRedirects, "disable-redirects", false, "do not follow a standby's redirect [DISABLE_REDIRECTS]")
	f.Var(&c.headers, "header", "additional header `name=value`; may be repeated")
	f.Var(&c.mfa, "mfa", "second factor `method:code` [MFA]; may be repeated")
	f.StringVar(&c.namespace, "namespace", "", "`path` of the namespace [NAMESPACE]")
	f.StringVar(&c.ns, "ns", "", "the same as -namespace")
	f.BoolVar(&c.nonInteractive, "non-interactive", false, "never prompt")
	f.BoolVar(&c.outputCurl, "output-curl-string", false, "print the request as a curl command instead of sending it")
	f.BoolVar(&c.outputPolicy, "output-policy", false, "print the policy that the request needs instead of sending it")
	f.BoolVar(&c.policyOverride, "policy-override", false, "send the X-Vault-Policy-Override header; Sealgate ignores it")
	f.StringVar(&c.unlockKey, "unlock-key", "", "accepted for compatibility; Sealgate has no namespace locks")
	f.Var((*seconds)(&c.wrapTTL), "wrap-ttl", "wrap the response in a token that is valid for this `time` [WRAP_TTL]")
	return b
}

// formatted adds -format, which most commands have.
func (b *base) formatted(more ...string) *base {
	formats := strings.Join(append([]string{"table", "json", "yaml"}, more...), ", ")
	b.flags.StringVar(&b.conn.format, "format", "", "output `format` [FORMAT]: "+formats)
	b.local = append(b.local, "format")
	return b
}

// fielded adds -field and returns b.
func (b *base) fielded() *base {
	b.flags.StringVar(&b.conn.field, "field", "", "print only this `field`, without a newline")
	b.local = append(b.local, "field")
	return b
}

// own marks a command's own flags, which its help lists first.
func (b *base) own(names ...string) { b.local = append(b.local, names...) }

// parse accepts flags before, between and after the arguments. Everything after "--" is an
// argument.
func (b *base) parse(args []string) ([]string, error) {
	var rest []string
	for {
		if err := b.flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, errors.New("help requested")
			}
			return nil, err
		}
		left := b.flags.Args()
		taken := len(args) - len(left)
		if len(left) == 0 || taken > 0 && args[taken-1] == "--" {
			if err := b.checkEmpty(); err != nil {
				return nil, err
			}
			return append(rest, left...), b.checkFormat()
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// nonEmpty marks flags whose empty value must not count as "not given". A script's -policy="$P"
// with an empty P would otherwise create a token with the parent's policies, and -pgp-keys="$KEYS"
// would print shares unencrypted.
func (b *base) nonEmpty(names ...string) { b.required = append(b.required, names...) }

// checkEmpty refuses flags that are marked by nonEmpty and given without a value.
func (b *base) checkEmpty() (err error) {
	b.flags.Visit(func(f *flag.Flag) {
		if err == nil && slices.Contains(b.required, f.Name) && strings.TrimSpace(f.Value.String()) == "" {
			err = fmt.Errorf("-%s is empty: give a value, or omit the flag", f.Name)
		}
	})
	return err
}

// given reports whether the command line has one of the flags.
func (b *base) given(names ...string) bool {
	found := false
	b.flags.Visit(func(f *flag.Flag) { found = found || slices.Contains(names, f.Name) })
	return found
}

func (b *base) flagHelp(w io.Writer) {
	var own, common []*flag.Flag
	b.flags.VisitAll(func(f *flag.Flag) {
		if slices.Contains(b.local, f.Name) {
			own = append(own, f)
		} else {
			common = append(common, f)
		}
	})
	for _, part := range []struct {
		title string
		flags []*flag.Flag
	}{{"Flags", own}, {"Flags of every client command; [X] is also read from SEALGATE_X, BAO_X or VAULT_X", common}} {
		if len(part.flags) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n\n", part.title)
		for _, f := range part.flags {
			name, usage := flag.UnquoteUsage(f)
			if name != "" {
				name = "=<" + name + ">"
			}
			fmt.Fprintf(w, "  -%s%s\n      %s\n", f.Name, name, usage)
		}
	}
}

// multi is a repeatable flag.
type multi []string

func (m *multi) String() string     { return strings.Join(*m, ",") }
func (m *multi) Set(v string) error { *m = append(*m, v); return nil }

// list is a repeatable flag of comma-separated values.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}

// seconds is a duration; a bare number means seconds.
type seconds time.Duration

func (s *seconds) String() string { return time.Duration(*s).String() }

func (s *seconds) Set(v string) error {
	if v != "" && strings.Trim(v, "0123456789") == "" {
		v += "s"
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return errors.New(`the form is "60" or "5m"`)
	}
	*s = seconds(d)
	return nil
}
