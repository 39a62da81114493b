package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/e2e"
)

// sealgate runs a client command, printing it as a user would type it. stdin, where there is one,
// is a share: it is not printed.
func (s *demo) sealgate(stdin string, args ...string) (e2e.Result, error) {
	note := ""
	if stdin != "" {
		note = "   # the share comes on standard input"
	}
	fmt.Printf("$ sealgate %s%s\n", strings.Join(args, " "), note)
	res, err := s.server.CLI(s.ctx, s.root, stdin, args...)
	if err != nil {
		return res, err
	}
	if res.Code != 0 {
		return res, fmt.Errorf("sealgate %s: exit code %d: %s", strings.Join(args, " "), res.Code,
			strings.TrimSpace(res.Err+res.Out))
	}
	return res, nil
}

// sealgateJSON runs a client command with -format=json and reads its answer.
func (s *demo) sealgateJSON(v any, stdin string, args ...string) error {
	at := 2 // behind the name of an operator's command
	args = append(args[:at:at], append([]string{"-format=json"}, args[at:]...)...)
	res, err := s.sealgate(stdin, args...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(res.Out), v)
}

func (s *demo) start() error {
	s.heading("The server starts")
	fmt.Println("$ sealgate server -config=sealgate.hcl &")
	if err := s.server.Start(); err != nil {
		return err
	}
	return s.server.UntilUp()
}

func (s *demo) initialise() error {
	s.heading("Initialise: 5 recovery shares, 3 of them needed; the HSM keeps the root key")
	var out struct {
		Keys  []string `json:"recovery_keys_b64"`
		Token string   `json:"root_token"`
	}
	if err := s.sealgateJSON(&out, "", "operator", "init", "-recovery-shares=5", "-recovery-threshold=3"); err != nil {
		return err
	}
	s.shares, s.root = out.Keys, out.Token
	if len(s.shares) != 5 || s.root == "" {
		return fmt.Errorf("init returned %d shares", len(s.shares))
	}
	fmt.Printf("  -> %d recovery shares and a root token (not shown); unsealed by the HSM\n", len(s.shares))
	res, err := s.sealgate("", "status")
	if err != nil {
		return err
	}
	fmt.Println(indent(res.Out))
	_, err = s.sealgate("", "secrets", "enable", "-version=1", "-path=kv", "kv")
	return err
}

func (s *demo) startLoad() error {
	s.heading("8 clients write and read until the end")
	s.load = startLoad(s.server, s.root, 8)
	return s.load.until(2000)
}

func (s *demo) killAndRestart() error {
	s.heading("kill -9 and start again: the HSM unseals the server, without an operator")
	for range 3 {
		s.load.window(true)
		fmt.Println("$ kill -9 $(pidof sealgate) && sealgate server -config=sealgate.hcl &")
		if err := s.server.Kill(); err != nil {
			return err
		}
		begin := time.Now()
		if err := s.server.Start(); err != nil {
			return err
		}
		if err := s.server.UntilUnsealed(); err != nil {
			return err
		}
		took := time.Since(begin)
		s.starts = append(s.starts, took)
		fmt.Printf("  -> unsealed %d ms after its start\n", took.Milliseconds())
		s.load.window(false)
		if err := s.load.until(s.load.count() + 500); err != nil {
			return err
		}
	}
	return nil
}

// rekeyOutput is the JSON of the rekey commands: progress or result.
type rekeyOutput struct {
	Nonce    string   `json:"nonce"`
	Complete bool     `json:"complete"`
	Keys     []string `json:"keys_base64"`
	Progress int      `json:"progress"`
	Required int      `json:"required"`
}

func (s *demo) startRekey() (nonce string, err error) {
	var out rekeyOutput
	err = s.sealgateJSON(&out, "", "operator", "rekey", "-init", "-target=recovery", "-key-shares=7",
		"-key-threshold=4")
	return out.Nonce, err
}

func (s *demo) giveShares(nonce string, shares []string) ([]string, error) {
	var out rekeyOutput
	for _, share := range shares {
		if err := s.sealgateJSON(&out, share, "operator", "rekey", "-target=recovery", "-nonce="+nonce,
			"-"); err != nil {
			return nil, err
		}
		if !out.Complete {
			fmt.Printf("  -> %d of %d shares submitted\n", out.Progress, out.Required)
		}
	}
	if !out.Complete || len(out.Keys) != 7 {
		return nil, fmt.Errorf("the rekey ended with complete=%v and %d shares", out.Complete, len(out.Keys))
	}
	return out.Keys, nil
}

func (s *demo) rekey() error {
	s.heading("Rekey the recovery shares: 7 new ones, threshold 4, authorised by three old ones, while the server " +
		"serves")
	nonce, err := s.startRekey()
	if err != nil {
		return err
	}
	fresh, err := s.giveShares(nonce, []string{s.shares[4], s.shares[0], s.shares[2]})
	if err != nil {
		return err
	}
	fmt.Printf("  -> complete: %d new shares\n", len(fresh))
	old := s.shares
	s.shares = append(fresh, old...)
	return nil
}

func (s *demo) rotate() error {
	s.heading("Rotate the barrier key: earlier writes stay readable")
	for range 3 {
		res, err := s.sealgate("", "operator", "rotate")
		if err != nil {
			return err
		}
		fmt.Println(indent(res.Out))
	}
	return nil
}

func (s *demo) oldSharesNewShares() error {
	s.heading("The old shares are refused, the new ones accepted")
	fresh, old := s.shares[:7], s.shares[7:]
	nonce, err := s.startRekey()
	if err != nil {
		return err
	}
	res, err := s.sealgate(old[0], "operator", "rekey", "-target=recovery", "-nonce="+nonce, "-")
	if err == nil || res.Code != 2 {
		return fmt.Errorf("an old share was accepted: %s", res.Out)
	}
	fmt.Printf("%s\n  -> exit code %d\n", indent(serverErrors(res.Err)), res.Code)
	again, err := s.giveShares(nonce, fresh[3:])
	if err != nil {
		return err
	}
	fmt.Println("  -> complete: four new shares authorised the next generation")
	s.shares = again
	return nil
}

func (s *demo) hsmOutage() error {
	s.heading("HSM outage: requests continue, health reports it; after the outage the server is healthy without a " +
		"restart")
	if err := s.token.Away(); err != nil {
		return err
	}
	begin := time.Now()
	fmt.Println("$ mv token/tokens/* elsewhere/")
	if err := s.server.Until(15*time.Second, "reporting the HSM outage", func(h e2e.Health, code int) bool {
		return code == 200 && h.WouldUnseal != nil && !*h.WouldUnseal
	}); err != nil {
		return err
	}
	fmt.Printf("  -> health reports it after %.1f s; the server is unsealed and serves\n", time.Since(begin).Seconds())
	if err := s.load.until(s.load.count() + 500); err != nil {
		return err
	}
	if err := s.token.Back(); err != nil {
		return err
	}
	begin = time.Now()
	fmt.Println("$ mv elsewhere/* token/tokens/")
	if err := s.server.Until(5*time.Second, "reporting that the HSM is available", func(h e2e.Health, code int) bool {
		return code == 200 && h.WouldUnseal != nil && *h.WouldUnseal
	}); err != nil {
		return err
	}
	s.outages = append(s.outages, time.Since(begin))
	fmt.Printf("  -> healthy again after %.1f s\n", time.Since(begin).Seconds())
	return s.load.until(s.load.count() + 500)
}

func (s *demo) readBack() error {
	s.heading("Read back every acknowledged value")
	s.load.stop()
	return s.load.readBack(s.ctx)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

// serverErrors returns the errors of the server's response, without what the command adds to them.
func serverErrors(stderr string) string {
	var errs []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "* ") {
			errs = append(errs, line)
		}
	}
	return strings.Join(errs, "")
}

// tail returns the last n lines.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n") + "\n"
}
