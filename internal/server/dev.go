package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/secret"
)

// development is a server that initialises and unseals itself and prints its keys. Nil for any
// other server.
type development struct {
	command *serverCommand
	flags   *serverFlags
	dir     string // of the throw-away token; "" without one
}

// development completes the configuration for -dev and -dev-hsm; settings of -config files stay.
func (c *serverCommand) development(o *serverFlags, cfg *config.Config) (*development, error) {
	if !o.dev && !o.devHSM {
		return nil, nil // -dev-root-token-id without -dev has no effect
	}
	if s := cfg.Storage; s != nil && s.Type != "inmem" {
		return nil, fmt.Errorf("%s: a development server does not use persistent storage (%s), because it prints its "+
			"keys and "+
			"its root token may be guessable: remove -dev, or use another configuration", s.Pos, s.Type)
	}
	cfg.UI = true
	d := &development{command: c, flags: o}
	if cfg.Storage == nil {
		cfg.Storage = &config.Storage{Type: "inmem"}
		if cfg.AuditByAPI == nil {
			anywhere := true // for trials, without data to protect
			cfg.AuditByAPI = &anywhere
		}
	}
	if len(cfg.Listeners) == 0 || o.devListen != "" {
		l := config.NewListener(cmp.Or(o.devListen, "127.0.0.1:8200"))
		l.TLSDisable = true
		cfg.Listeners = append(cfg.Listeners, l)
	}
	if !o.devHSM || len(cfg.Seals) > 0 {
		return d, nil
	}
	dir, err := os.MkdirTemp("", "sealgate-dev-hsm-")
	if err != nil {
		return nil, err
	}
	d.dir = dir
	token, err := softhsm.Init(dir, softhsm.Options{Label: "sealgate-dev"})
	if err != nil {
		d.remove()
		return nil, err
	}
	if err := token.Use(); err != nil {
		d.remove()
		return nil, err
	}
	cfg.Seals = []config.Seal{{Type: "pkcs11", Name: "dev-hsm", Params: config.Params{
		"lib": token.Lib, "token_label": token.Label, "pin": token.PIN, "key_label": "sealgate", "generate_key": "true",
	}}}
	return d, nil
}

// remove deletes the throw-away token.
func (d *development) remove() {
	if d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}

// mounts are the initial mounts of a development server.
func (d *development) mounts() []mount.Entry {
	if d.flags.devKVv1 {
		return []mount.Entry{mount.DevMount("1")}
	}
	return []mount.Entry{mount.DevMount("2")}
}

// begin initialises and unseals the server and prints the keys.
func (d *development) begin(ctx context.Context, p *instance) error {
	if done, err := p.node.Initialized(ctx); err != nil || done {
		return err // the storage was initialised by an earlier run
	}
	req := node.InitRequest{SecretShares: 1, SecretThreshold: 1}
	if st, err := p.node.SealStatus(ctx); err != nil {
		return err
	} else if st.RecoverySeal {
		req = node.InitRequest{RecoveryShares: 5, RecoveryThreshold: 3}
	}
	res, err := p.node.Init(ctx, req)
	if err != nil {
		return err
	}
	for _, k := range res.Keys {
		if err := p.node.Unseal(ctx, k, false); err != nil {
			return err
		}
	}
	d.print(p, res)
	if d.flags.devNoStore {
		return nil
	}
	return d.storeToken(res.RootToken)
}

func (d *development) print(p *instance, res *node.InitResult) {
	fmt.Fprintln(p.out, "WARNING! This is a development server: it prints its keys, and its data is lost when it stops.")
	fmt.Fprintln(p.out)
	fmt.Fprintf(p.out, "    $ export SEALGATE_ADDR='%s'\n\n", "http://"+p.http[len(p.http)-1].Addr().String())
	show := func(what string, keys []*secret.Bytes) {
		for i, k := range keys {
			fmt.Fprintf(p.out, "%s %d: %s\n", what, i+1, base64.StdEncoding.EncodeToString(k.Expose()))
		}
	}
	show("Unseal Key", res.Keys)
	show("Recovery Key", res.RecoveryKeys)
	fmt.Fprintf(p.out, "Root Token: %s\n\n", res.RootToken)
}

// storeToken stores the token as `login` does, so that the next command uses it.
func (d *development) storeToken(token string) error {
	home := d.command.env.Home
	if home == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(home, ".vault-token"), []byte(token), 0o600)
}
