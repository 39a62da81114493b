package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

type rootFlags struct {
	init, cancel, status, generateOTP, recoveryToken bool
	decode, otp, pgpKey, nonce                       string
}

// rootToken is one run of the command.
type rootToken struct {
	*base
	*rootFlags
	client *api.Client
	route  *rootRoute
}

// rootRoute is one of the API's paths for a root generation.
type rootRoute struct {
	path   string
	inData bool       // responses are in the envelope's data
	other  *rootRoute // for servers without this one
}

// Vault's path, where a share needs no token; OpenBao's, where each step needs one (OpenBao serves
// the first only if its operator allows it); and the path of recovery mode. Sealgate has all three.
var (
	rootWithToken = rootRoute{path: "sys/generate-root-token", inData: true}
	rootByShares  = rootRoute{path: "sys/generate-root", other: &rootWithToken}
	rootRecovery  = rootRoute{path: "sys/generate-recovery-token"}
)

// rootStatus is the response of .../attempt and .../update.
type rootStatus struct {
	Nonce            string   `json:"nonce"`
	Started          bool     `json:"started"`
	Given            int      `json:"progress"`
	Required         int      `json:"required"`
	Complete         bool     `json:"complete"`
	EncodedToken     string   `json:"encoded_token"`
	EncodedRootToken string   `json:"encoded_root_token"`
	PGPFingerprint   string   `json:"pgp_fingerprint"`
	OTP              string   `json:"otp"`
	OTPLength        int      `json:"otp_length"`
	HoldersGiven     []string `json:"holders_given,omitempty"`
}

func (s *rootStatus) progress() progress {
	return progress{s.Complete, s.Given, s.Required, s.HoldersGiven}
}

// token is the encoded token, from whichever field the server uses.
func (s *rootStatus) token() string { return cmp.Or(s.EncodedToken, s.EncodedRootToken) }

func generateRootCommand(b *base) *command {
	b.formatted()
	f := &rootFlags{}
	b.flags.BoolVar(&f.init, "init", false, "start; works without a token, in case all are lost")
	b.flags.BoolVar(&f.cancel, "cancel", false, "cancel; without a token it needs -nonce, and works only if it was "+
		"started without one")
	b.flags.BoolVar(&f.status, "status", false, "show the status")
	b.flags.StringVar(&f.decode, "decode", "",
		"decode this `encoded token` with the one-time password, offline; - reads it from standard input")
	b.flags.BoolVar(&f.generateOTP, "generate-otp", false, "only generate a one-time password for -init -otp")
	b.flags.StringVar(&f.otp, "otp", "",
		"one-time `password` for -init or -decode, or @file; by default the server generates one and -decode prompts for it")
	b.flags.StringVar(&f.pgpKey, "pgp-key", "",
		"with -init: public key that encrypts the token instead: a `file` with a PGP key, or an age recipient")
	b.flags.StringVar(&f.nonce, "nonce", "", "`nonce` of the operation")
	b.flags.BoolVar(&f.recoveryToken, "recovery-token", false, "generate a recovery token, on a server in recovery mode")
	b.own("init", "cancel", "status", "decode", "generate-otp", "otp", "pgp-key", "nonce", "recovery-token")
	b.nonEmpty("pgp-key", "otp", "nonce")
	return &command{base: b, name: "operator generate-root", args: "[KEY | - | @file]", most: 1,
		synopsis: "Generate a root token with a quorum of shares",
		about: `Generates a new root token, authorised by a quorum of the unseal or recovery shares. Only the client that
started can read it: it is XORed with a one-time password, or encrypted to a public key.

    $ sealgate operator generate-root -init                    (shows the nonce and the one-time password)
    $ sealgate operator generate-root -nonce=...               (each holder of a share)
    $ sealgate operator generate-root -decode=... -otp=@file   (offline)

The command prompts for a share and does not echo it; "-" reads shares from standard input and "@file" from a
file, one per line.`,
		run: func(args []string) int { return runGenerateRoot(b, f, args) }}
}

func runGenerateRoot(b *base, f *rootFlags, args []string) int {
	modes := 0
	for _, on := range []bool{f.init, f.cancel, f.status, f.generateOTP, b.given("decode")} {
		if on {
			modes++
		}
	}
	switch {
	case modes > 1:
		b.errorf("Error: -init, -cancel, -status, -decode and -generate-otp exclude each other")
		return exitLocal
	case f.otp != "" && f.pgpKey != "":
		b.errorf("Error: -otp and -pgp-key exclude each other: the token is protected by one of them")
		return exitLocal
	case b.given("decode"):
		return decodeToken(b, f.decode, f.otp)
	}
	return b.withClient(func(client *api.Client) int {
		g := &rootToken{base: b, rootFlags: f, client: client, route: &rootByShares}
		if f.recoveryToken {
			g.route = &rootRecovery
		}
		switch {
		case f.generateOTP:
			return g.makeOTP()
		case f.cancel:
			return g.stop()
		case f.init:
			return g.start()
		case f.status:
			return g.showStatus()
		}
		return g.give(args)
	})
}

// send sends one request. step is "attempt" or "update". If the server lacks the route, send
// switches to the other one.
func (g *rootToken) send(ctx context.Context, method, step string, in, out any) error {
	err := g.sendOnce(ctx, method, step, in, out)
	if unserved(err) && g.route.other != nil {
		g.route = g.route.other
		err = g.sendOnce(ctx, method, step, in, out)
	}
	return err
}

func (g *rootToken) sendOnce(ctx context.Context, method, step string, in, out any) error {
	send := callWith
	if g.route.inData {
		send = callData
	}
	return send(ctx, g.client, method, g.route.path+"/"+step, in, out)
}

func (g *rootToken) current() (*rootStatus, error) {
	s := &rootStatus{}
	return s, g.send(context.Background(), http.MethodGet, "attempt", nil, s)
}

func (g *rootToken) showStatus() int {
	s, err := g.current()
	if err != nil {
		return g.fail("getting root generation status", err)
	}
	return g.show(s)
}

func (g *rootToken) stop() int {
	var body any
	if g.nonce != "" { // cancels an attempt that was started without a token
		body = map[string]string{"nonce": g.nonce}
	}
	if err := g.send(context.Background(), http.MethodDelete, "attempt", body, nil); err != nil {
		return g.fail("canceling root token generation", err)
	}
	g.printf("Success! Root token generation canceled (if it was started)\n")
	return exitOK
}

func (g *rootToken) start() int {
	req := struct {
		OTP    string `json:"otp"`
		PGPKey string `json:"pgp_key"`
	}{}
	var err error
	if g.pgpKey != "" {
		req.PGPKey, err = publicKey(g.base, g.pgpKey)
	} else if g.otp != "" {
		req.OTP, err = g.oneSecret(g.otp)
	}
	if err != nil {
		g.errorf("Error: %v", err)
		return exitLocal
	}
	s := &rootStatus{}
	if err := g.send(context.Background(), http.MethodPut, "attempt", req, s); err != nil {
		return g.fail("initializing root generation", err)
	}
	if g.format() == "table" && s.OTP != "" {
		g.printf("The server generated the one-time password (OTP below) and shows it only now. It decodes the\n" +
			"encoded token: keep it secret from anyone who can see the encoded token.\n\n")
	}
	return g.show(s)
}

// show prints a status.
func (g *rootToken) show(s *rootStatus) int {
	text, err := g.statusText(s)
	if err != nil {
		g.errorf("Error formatting the answer: %v", err)
		return exitLocal
	}
	g.printf("%s", text)
	return exitOK
}

// statusText is the text of a status; Vault's table of it has no header.
func (g *rootToken) statusText(s *rootStatus) (string, error) {
	if g.format() != "table" {
		return g.encoded(s)
	}
	var p pairs
	p.add("Nonce", s.Nonce)
	p.add("Started", s.Started)
	p.add("Progress", fmt.Sprintf("%d/%d", s.Given, s.Required))
	p.add("Complete", s.Complete)
	if s.PGPFingerprint != "" {
		p.add("PGP Fingerprint", s.PGPFingerprint)
	}
	if token := s.token(); token != "" {
		p.add("Encoded Token", token)
	}
	if s.OTP != "" {
		p.add("OTP", s.OTP)
	}
	p.add("OTP Length", s.OTPLength)
	return columns(p), nil
}
