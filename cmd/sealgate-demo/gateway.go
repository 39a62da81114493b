package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/sealgate/sealgate/internal/e2e"
)

// gatewayDemo is a Sealgate on the HSM and an OpenBao server that unseals through it. The clients
// of the load use OpenBao.
type gatewayDemo struct {
	*demo
	bao     *e2e.Server
	baoRoot string
	taken   int // the newest key version that the downstream has used
}

func runGateway(ctx context.Context, bin, bao, dir string) (err error) {
	bao, err = filepath.Abs(bao)
	if err != nil {
		return err
	}
	s, err := newDemo(ctx, bin, dir, "kms_library \"pkcs11\" {\n  name    = \"softhsm\"\n  library = %q\n}\n")
	if err != nil {
		return err
	}
	g := &gatewayDemo{demo: s, bao: &e2e.Server{Bin: bao, Dir: filepath.Join(dir, "openbao"), Args: []string{
		"-config=bao.hcl",
	}}}
	defer func() { err = errors.Join(err, g.bao.Stop(), s.server.Stop()) }()
	if err := g.play(); err != nil {
		if s.load != nil {
			s.load.stop()
		}
		return fmt.Errorf("%w\n\nSealgate's log:\n%s\nOpenBao's log:\n%s", err, tail(s.server.Log(), 30),
			tail(g.bao.Log(), 30))
	}
	return g.table()
}

func (g *gatewayDemo) play() error {
	for _, step := range []func() error{
		g.start, g.initialise, g.tenant, g.startDownstream, g.startLoad, g.killBoth, g.hsmOutage, g.gatewayOutage,
		g.rekey, g.rotate, g.rotateKey, g.readBack,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// tenant gives the downstream a key, a policy and a token, and writes its configuration.
func (g *gatewayDemo) tenant() error {
	g.heading("A non-extractable AES key in the HSM, and a token for OpenBao that can only encrypt and decrypt with it")
	if err := os.WriteFile(filepath.Join(g.server.Dir, "pin"), []byte(g.token.PIN), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"write", "sys/managed-keys/pkcs11/openbao", "library=softhsm", "token_label=demo", "pin=@pin", "key_label=openbao",
			"mechanism=0x1087", "key_bits=256", "usages=encrypt,decrypt", "allow_generate_key=true"},
		{"operator", "tenant", "add", "openbao", "-managed-key=openbao", "-out=seal.hcl"},
	} {
		if _, err := g.sealgate("", args...); err != nil {
			return err
		}
	}
	seal, err := os.ReadFile(filepath.Join(g.server.Dir, "seal.hcl"))
	if err != nil {
		return err
	}
	return g.configure(string(seal))
}

var tokenLine = regexp.MustCompile(`token( +)= "[^"]+"`)

// configure writes the downstream's configuration; the token is not printed.
func (g *gatewayDemo) configure(seal string) error {
	var err error
	if g.bao.Addr, err = e2e.FreeAddr(); err != nil {
		return err
	}
	cluster, err := e2e.FreeAddr()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(g.bao.Dir, "data"), 0o700); err != nil {
		return err
	}
	config := fmt.Sprintf("storage \"raft\" {\n  path    = \"data\"\n  node_id = \"one\"\n}\nlistener \"tcp\" {\n"+
		"  address     = %q\n  tls_disable = true\n}\napi_addr     = \"http://%s\"\ncluster_addr = \"https://%s\"\n%s",
		g.bao.Addr, g.bao.Addr, cluster, seal)
	fmt.Printf("\n$ cat bao.hcl\n%s", tokenLine.ReplaceAllString(config, `token$1= "(not shown)"`))
	return os.WriteFile(filepath.Join(g.bao.Dir, "bao.hcl"), []byte(config), 0o600)
}

func (g *gatewayDemo) startDownstream() error {
	g.heading("A real OpenBao starts with that seal and is initialised: its root key is wrapped by Sealgate")
	fmt.Println("$ bao server -config=bao.hcl &")
	if err := g.bao.Start(); err != nil {
		return err
	}
	if err := g.bao.UntilUp(); err != nil {
		return err
	}
	var out struct {
		Token string `json:"root_token"`
	}
	fmt.Println("$ bao operator init -recovery-shares=1 -recovery-threshold=1")
	if err := g.ask(&out, "PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1}); err != nil {
		return err
	}
	g.baoRoot = out.Token
	if err := g.bao.UntilUnsealed(); err != nil {
		return err
	}
	fmt.Println("  -> unsealed through Sealgate")
	fmt.Println("$ bao secrets enable -version=1 -path=kv kv")
	return g.ask(nil, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
}

// ask sends a request to the downstream as root.
func (g *gatewayDemo) ask(v any, method, path string, body any) error {
	r, err := g.bao.Do(g.ctx, method, path, g.baoRoot, body)
	if err != nil {
		return err
	}
	if r.Code/100 != 2 {
		return fmt.Errorf("OpenBao: %s %s: status %d: %s", method, path, r.Code, r.Errors())
	}
	if v == nil {
		return nil
	}
	return r.Decode(v)
}

func (g *gatewayDemo) startLoad() error {
	g.heading("8 clients write to OpenBao and read from it until the end")
	g.load = startLoad(g.bao, g.baoRoot, 8)
	return g.load.until(1000)
}

func (g *gatewayDemo) killBoth() error {
	g.heading("kill -9 of both, and start again: the HSM unseals Sealgate, Sealgate unseals OpenBao, without an operator")
	for range 2 {
		g.load.window(true)
		fmt.Println("$ kill -9 $(pidof bao sealgate) && sealgate server -config=sealgate.hcl & bao server -config=bao.hcl &")
		if err := errors.Join(g.bao.Kill(), g.server.Kill()); err != nil {
			return err
		}
		begin := time.Now()
		if err := g.server.Start(); err != nil {
			return err
		}
		if err := g.supervise(); err != nil {
			return err
		}
		if err := g.backInService(begin); err != nil {
			return err
		}
	}
	return nil
}

// supervise starts the downstream until it stays up, as systemd does: OpenBao ends if its seal does
// not answer at its start.
func (g *gatewayDemo) supervise() error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		if err := g.bao.Start(); err != nil {
			return err
		}
		err := g.bao.UntilUp()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		if err := g.bao.Kill(); err != nil {
			return err
		}
	}
}

// backInService waits until the downstream is unsealed and serves its clients.
func (g *gatewayDemo) backInService(begin time.Time) error {
	if err := g.bao.UntilUnsealed(); err != nil {
		return err
	}
	took := time.Since(begin)
	g.starts = append(g.starts, took)
	fmt.Printf("  -> OpenBao is unsealed %d ms after the start\n", took.Milliseconds())
	g.load.window(false)
	return g.load.until(g.load.count() + 300)
}

// hsmOutage removes the HSM: Sealgate refuses what needs it, and OpenBao stays unsealed.
func (g *gatewayDemo) hsmOutage() error {
	g.heading("HSM outage: OpenBao stays unsealed and serves; Sealgate reports it, and recovers without a restart")
	if err := g.token.Away(); err != nil {
		return err
	}
	fmt.Println("$ mv token/tokens/* elsewhere/")
	encrypt := []string{"write", "-field=ciphertext", "transit/encrypt/openbao", "plaintext=YQ=="}
	begin := time.Now()
	res, err := g.sealgate("", encrypt...)
	if err == nil || res.Code != 2 {
		return fmt.Errorf("a key in the HSM encrypts without the HSM: %s", res.Out)
	}
	fmt.Printf("%s\n  -> refused after %.1f s\n", indent(serverErrors(res.Err)), time.Since(begin).Seconds())
	if err := g.server.Until(15*time.Second, "reporting the HSM outage", func(h e2e.Health, code int) bool {
		return code == 200 && h.WouldUnseal != nil && !*h.WouldUnseal
	}); err != nil {
		return err
	}
	if err := g.load.until(g.load.count() + 300); err != nil {
		return err
	}
	fmt.Println("  -> OpenBao answers its clients; Sealgate's health reports the outage")
	if err := g.token.Back(); err != nil {
		return err
	}
	begin = time.Now()
	fmt.Println("$ mv elsewhere/* token/tokens/")
	for {
		r, err := g.server.Do(g.ctx, "PUT", "transit/encrypt/openbao", g.root, map[string]string{"plaintext": "YQ=="})
		if err == nil && r.Code == 200 {
			break
		}
		if time.Since(begin) > 15*time.Second {
			return fmt.Errorf("the key does not work 15 s after the outage: %d %s %v", r.Code, r.Errors(), err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	g.outages = append(g.outages, time.Since(begin))
	fmt.Printf("  -> the key works again after %.1f s\n", time.Since(begin).Seconds())
	return g.load.until(g.load.count() + 300)
}

// gatewayOutage stops Sealgate alone.
func (g *gatewayDemo) gatewayOutage() error {
	g.heading("Sealgate is down: OpenBao stays unsealed and serves")
	fmt.Println("$ kill -9 $(pidof sealgate)")
	if err := g.server.Kill(); err != nil {
		return err
	}
	if err := g.load.until(g.load.count() + 300); err != nil {
		return err
	}
	fmt.Println("  -> OpenBao answers its clients")
	begin := time.Now()
	fmt.Println("$ sealgate server -config=sealgate.hcl &")
	if err := g.server.Start(); err != nil {
		return err
	}
	if err := g.server.UntilUnsealed(); err != nil {
		return err
	}
	fmt.Printf("  -> Sealgate is unsealed %d ms after its start\n", time.Since(begin).Milliseconds())
	return nil
}

// rotateKey gives the downstream's key a new version, and has the downstream take it.
func (g *gatewayDemo) rotateKey() error {
	g.heading("Rotate OpenBao's key: at its next start OpenBao wraps its root key anew; then the old version goes")
	if _, err := g.sealgate("", "write", "-force", "transit/keys/openbao/rotate"); err != nil {
		return err
	}
	if err := g.restartDownstream(); err != nil {
		return err
	}
	if err := g.versionTaken(); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"write", "transit/keys/openbao/config", "min_decryption_version=2", "min_encryption_version=2"},
		{"write", "transit/keys/openbao/trim", "min_available_version=2"},
	} {
		if _, err := g.sealgate("", args...); err != nil {
			return err
		}
	}
	return g.restartDownstream()
}

func (g *gatewayDemo) restartDownstream() error {
	g.load.window(true)
	fmt.Println("$ kill -9 $(pidof bao) && bao server -config=bao.hcl &")
	if err := g.bao.Kill(); err != nil {
		return err
	}
	begin := time.Now()
	if err := g.supervise(); err != nil {
		return err
	}
	return g.backInService(begin)
}

// versionTaken reads the census of key versions: the downstream has encrypted with the newest one.
func (g *gatewayDemo) versionTaken() error {
	res, err := g.sealgate("", "read", "-format=json", "transit/keys/openbao/use")
	if err != nil {
		return err
	}
	var out struct {
		Data struct {
			Versions map[int]struct {
				Name  string `json:"last_display_name"`
				Count int    `json:"count"`
			}
		}
	}
	if err := json.Unmarshal([]byte(res.Out), &out); err != nil {
		return err
	}
	for v, use := range out.Data.Versions {
		if use.Count > 0 {
			g.taken = max(g.taken, v)
		}
	}
	if g.taken != 2 {
		return fmt.Errorf("OpenBao has not used version 2 of its key: %s", res.Out)
	}
	fmt.Printf("  -> version 2 was last used by %q\n", out.Data.Versions[2].Name)
	list, err := g.sealgate("", "operator", "tenant", "list")
	if err == nil {
		fmt.Println(indent(list.Out))
	}
	return err
}

func (g *gatewayDemo) table() error {
	l := g.load
	g.heading("Done")
	row("Requests answered by OpenBao", "%d", l.count())
	row("Unexpected request failures", "%d", len(l.failures))
	row("Acknowledged writes lost", "%d of %d", l.lost, len(l.acked))
	row("kill -9 of both to OpenBao unsealed", "%.0f ms (median of %d)", ms(median(g.starts)), len(g.starts))
	row("Key works after the HSM outage", "%.1f s", g.outages[0].Seconds())
	row("Key version that wraps OpenBao's root key", "%d", g.taken)
	row("Total", "%.1f s", time.Since(g.began).Seconds())
	return l.verdict()
}
