package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Limits of AWS KMS as a caller of an external key store proxy.
const (
	xksBudget  = 250 * time.Millisecond // of a call, TCP and TLS included
	xksAdvised = 35 * time.Millisecond  // of a round trip
	xksSkew    = 5 * time.Minute        // of the clocks
	xksPath    = "/kms/xks/v1/health"
)

// XKSTools are the environment of [XKS].
type XKSTools struct {
	Connect  string         // host:port to connect to instead of the name's addresses; "": those
	Roots    *x509.CertPool // nil: the system's
	Now      func() time.Time
	Deadline time.Duration
}

// xksCheck is one run of [XKS].
type xksCheck struct {
	XKSTools
	Report
	url    *url.URL
	client *http.Client
	state  *tls.ConnectionState
}

// XKS checks an external key store proxy from outside, as AWS KMS reaches it: name, port,
// certificate chain, clock, latency, and whether a store answers at the address. It has no
// credential: the proxy's refusal of an unsigned request is what it expects.
func XKS(ctx context.Context, address string, t XKSTools) *Report {
	if t.Now == nil {
		t.Now = time.Now
	}
	c := &xksCheck{XKSTools: t, Report: Report{Result: OK}}
	if c.parse(address) {
		c.names(ctx)
		c.connect()
		if c.reach(ctx) {
			c.latency(ctx)
		}
		c.client.CloseIdleConnections()
	}
	return &c.Report
}

func (c *xksCheck) add(level Level, text, remedy string) {
	c.Findings = append(c.Findings, Finding{Area: "xks", Level: level, Text: text, Remedy: remedy})
	if level == Error || level == Warning && c.Result == OK {
		c.Result = level
	}
}

func (c *xksCheck) parse(address string) bool {
	u, err := url.Parse(strings.TrimSuffix(strings.TrimSuffix(address, "/"), "/kms/xks/v1"))
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil:
		c.add(Error, "the address is not a URL such as https://xks.example.com/store-prod",
			"give name and prefix of the store")
		return false
	case u.Scheme != "https":
		c.add(Error, "the address is not https: AWS KMS speaks TLS alone", "give an https address")
		return false
	case net.ParseIP(u.Hostname()) != nil || !strings.Contains(u.Hostname(), "."):
		c.add(Error, "the host is not a fully qualified name: AWS KMS takes no address", "give the proxy a name in the DNS")
	}
	if port := u.Port(); port != "" && port != "443" {
		c.add(Error, "the port is "+port+": AWS KMS connects to 443 alone", "let a balancer forward port 443")
	} else {
		c.add(OK, "port 443", "")
	}
	if len(u.Host)+len(u.Path)+len(xksPath) > 256 {
		c.add(Error, "the whole address is longer than 256 characters", "choose a shorter prefix")
	}
	c.url = u
	return true
}

// names resolves the name: AWS KMS uses IPv4.
func (c *xksCheck) names(ctx context.Context) {
	if c.Connect != "" || net.ParseIP(c.url.Hostname()) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.Deadline)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", c.url.Hostname())
	if err != nil || len(ips) == 0 {
		c.add(Error, "the name has no IPv4 address here, and AWS KMS uses IPv4", "add an A record")
		return
	}
	c.add(OK, fmt.Sprintf("the name has %d IPv4 addresses", len(ips)), "")
}

// connect makes a client that offers what AWS KMS offers.
func (c *xksCheck) connect() {
	d := &net.Dialer{Timeout: c.Deadline}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots, CipherSuites: []uint16{
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		}},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if c.Connect != "" {
				address = c.Connect
			}
			return d.DialContext(ctx, network, address)
		},
	}
	c.client = &http.Client{Transport: transport, Timeout: c.Deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask sends an unsigned request and returns the name of the proxy's error.
func (c *xksCheck) ask(ctx context.Context) (name string, resp *http.Response, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Deadline)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String()+xksPath, strings.NewReader("{}"))
	if err != nil {
		return "", nil, 0, err
	}
	q.Header.Set("Content-Type", "application/json")
	begun := c.Now()
	if resp, err = c.client.Do(q); err != nil {
		return "", nil, 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	took = c.Now().Sub(begun)
	var body struct {
		Name string `json:"errorName"`
	}
	_ = json.Unmarshal(raw, &body) // an answer of another server has no name
	return body.Name, resp, took, err
}

// reach connects once and judges certificate, answer and clock.
func (c *xksCheck) reach(ctx context.Context) bool {
	name, resp, took, err := c.ask(ctx)
	if err != nil {
		c.unreachable(err)
		return false
	}
	c.state = resp.TLS
	c.certificate()
	switch {
	case name == "AuthenticationFailedException":
		c.add(OK, "a store answers at the address and refuses an unsigned request", "")
	case name == "InvalidUriPathException":
		c.add(Error, "no store has this prefix", "compare the prefix with that of `sealgate read xks/stores/NAME`")
	case name != "":
		c.add(Error, "the proxy answers "+name, "see the proxy's log")
	default:
		c.add(Error, fmt.Sprintf("the answer (status %d) is not of an XKS proxy", resp.StatusCode),
			"check what listens at the address, and what the balancer changes")
	}
	c.clock(resp.Header.Get("Date"))
	if took > xksBudget {
		c.add(Error, fmt.Sprintf("the first call took %s with TCP and TLS; AWS KMS gives up after %s",
			took.Round(time.Millisecond), xksBudget), "move the proxy nearer to the AWS region")
	}
	return true
}

func (c *xksCheck) unreachable(err error) {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		c.add(Error, "the certificate's chain does not lead to a CA that is trusted here",
			"use a certificate of a public CA of AWS's list (TrustedCertificateAuthorities), and send the whole chain")
	case errors.As(err, &name):
		c.add(Error, "the certificate is for another name", "the name of the address has to be in the certificate")
	case errors.As(err, &invalid):
		c.add(Error, "the certificate is not valid: "+invalid.Error(), "renew it")
	default:
		c.add(Error, "the proxy cannot be reached: "+err.Error(), "check the name, port 443 and the firewall")
	}
}

// certificate judges the chain, which has been verified.
func (c *xksCheck) certificate() {
	if c.state == nil || len(c.state.PeerCertificates) == 0 {
		return
	}
	leaf := c.state.PeerCertificates[0]
	left := leaf.NotAfter.Sub(c.Now())
	switch {
	case left < 14*24*time.Hour:
		c.add(Warning, "the certificate ends on "+leaf.NotAfter.UTC().Format(time.DateOnly), "renew it")
	default:
		c.add(OK, "the certificate is trusted here until "+leaf.NotAfter.UTC().Format(time.DateOnly), "")
	}
	if len(c.state.PeerCertificates) == 1 && leaf.Issuer.String() != leaf.Subject.String() {
		c.add(Warning, "the server sends its certificate without the intermediate ones", "add them to tls_cert_file")
	}
}

func (c *xksCheck) clock(date string) {
	at, err := http.ParseTime(date)
	if err != nil {
		c.add(Warning, "the answer has no Date, so that the clocks cannot be compared", "compare them yourself")
		return
	}
	skew := c.Now().Sub(at).Abs()
	switch {
	case skew > xksSkew:
		c.add(Error, fmt.Sprintf("the proxy's clock differs by %s from this one; signatures are valid for %s",
			skew.Round(time.Second), xksSkew), "synchronise the clocks")
	case skew > time.Minute:
		c.add(Warning, fmt.Sprintf("the proxy's clock differs by %s from this one", skew.Round(time.Second)),
			"synchronise the clocks")
	default:
		c.add(OK, "the clocks agree", "")
	}
}

// latency takes the median of calls over a connection that is kept.
func (c *xksCheck) latency(ctx context.Context) {
	var all []time.Duration
	for range 11 {
		_, _, took, err := c.ask(ctx)
		if err != nil {
			c.add(Error, "a call failed after others succeeded: "+err.Error(), "see the proxy's log")
			return
		}
		all = append(all, took)
	}
	slices.Sort(all)
	median := all[len(all)/2]
	text := fmt.Sprintf("a call takes %s in the median of %d", median.Round(10*time.Microsecond), len(all))
	switch {
	case median > xksBudget:
		c.add(Error, text+fmt.Sprintf("; AWS KMS gives up after %s", xksBudget), "move the proxy nearer to the AWS region")
	case median > xksAdvised:
		c.add(Warning, text+fmt.Sprintf("; AWS advises at most %s from its region", xksAdvised),
			"run this check in the region, and move the proxy nearer if it repeats itself")
	default:
		c.add(OK, text, "")
	}
}
