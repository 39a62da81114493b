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

// connection are the flags that every client command has.
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

// base is what a command is built on: its flags, its world.
type base struct {
	env   Env
	flags *flag.FlagSet
	conn  connection
	local []string // names of the command's own flags, for the help
}

func newBase(env Env) *base {
	b := &base{env: env, flags: flag.NewFlagSet("", flag.ContinueOnError)}
	b.flags.SetOutput(io.Discard)
	c := &b.conn
	f := b.flags
	f.StringVar(&c.address, "address", "", "`URL` of the server [ADDR], https://127.0.0.1:8200 by default")
	f.StringVar(&c.agentAddress, "agent-address", "", "`URL` of an agent to go through [AGENT_ADDR]")
	f.StringVar(&c.caCert, "ca-cert", "", "`file` of the CA certificates to trust [CACERT]")
	f.StringVar(&c.caPath, "ca-path", "", "`folder` of CA certificates to trust [CAPATH]")
	f.StringVar(&c.clientCert, "client-cert", "", "`file` of the client certificate [CLIENT_CERT]")
	f.StringVar(&c.clientKey, "client-key", "", "`file` of the client certificate's key [CLIENT_KEY]")
	f.StringVar(&c.serverName, "tls-server-name", "", "`name` to expect in the server's certificate [TLS_SERVER_NAME]")
	f.BoolVar(&c.skipVerify, "tls-skip-verify", false, "do not verify the server's certificate: anyone may answer [SKIP_VERIFY]")
	f.BoolVar(&c.disableRedirects, "disable-redirects", false, "do not follow a standby's redirect [DISABLE_REDIRECTS]")
	f.Var(&c.headers, "header", "`name=value` of a header to send; may be repeated")
	f.Var(&c.mfa, "mfa", "`method:code` for a second factor [MFA]; may be repeated")
	f.StringVar(&c.namespace, "namespace", "", "`path` of the namespace [NAMESPACE]")
	f.StringVar(&c.ns, "ns", "", "the same as -namespace")
	f.BoolVar(&c.nonInteractive, "non-interactive", false, "never prompt")
	f.BoolVar(&c.outputCurl, "output-curl-string", false, "print the request as a curl command instead of sending it")
	f.BoolVar(&c.outputPolicy, "output-policy", false, "print the policy that the request needs instead of sending it")
	f.BoolVar(&c.policyOverride, "policy-override", false, "send the header of that name; servers here ignore it")
	f.StringVar(&c.unlockKey, "unlock-key", "", "accepted for scripts; namespaces here have no locks")
	f.Var((*seconds)(&c.wrapTTL), "wrap-ttl", "`time` for which the answer is kept in a wrapping token [WRAP_TTL]")
	return b
}

// formatted adds -format, which most commands have.
func (b *base) formatted(more ...string) *base {
	formats := strings.Join(append([]string{"table", "json", "yaml"}, more...), ", ")
	b.flags.StringVar(&b.conn.format, "format", "", "output `format` [FORMAT]: "+formats)
	b.local = append(b.local, "format")
	return b
}

// fielded adds -field.
func (b *base) fielded() *base {
	b.flags.StringVar(&b.conn.field, "field", "", "print this `field` alone, without a newline")
	b.local = append(b.local, "field")
	return b
}

// own notes the names of a command's own flags, so that its help shows them first.
func (b *base) own(names ...string) { b.local = append(b.local, names...) }

// parse takes flags before, between and behind the arguments, and everything behind "--" as arguments.
func (b *base) parse(args []string) ([]string, error) {
	var rest []string
	for {
		if err := b.flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, errors.New("help was asked for")
			}
			return nil, err
		}
		left := b.flags.Args()
		taken := len(args) - len(left)
		if len(left) == 0 || taken > 0 && args[taken-1] == "--" {
			return append(rest, left...), b.checkFormat()
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// given reports whether a flag stood on the command line.
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
	}{{"Flags", own}, {"Flags of every client command; [X] can be set as SEALGATE_X, BAO_X or VAULT_X", common}} {
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

// multi is a flag that may be repeated.
type multi []string

func (m *multi) String() string     { return strings.Join(*m, ",") }
func (m *multi) Set(v string) error { *m = append(*m, v); return nil }

// list is a flag of comma-separated values that may be repeated as well.
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

// seconds is a duration that may be given as a bare number of seconds.
type seconds time.Duration

func (s *seconds) String() string { return time.Duration(*s).String() }

func (s *seconds) Set(v string) error {
	if v != "" && strings.Trim(v, "0123456789") == "" {
		v += "s"
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return errors.New(`a time is needed, such as "60" or "5m"`)
	}
	*s = seconds(d)
	return nil
}
