package cli

import (
	"context"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

type rekeyFlags struct {
	init, cancel, status, verify         bool
	backup, backupRetrieve, backupDelete bool
	nonce, target                        string
	shares, threshold                    int
	pgpKeys, holders                     list
}

// rekey is one run of `operator rekey` or `operator rotate-keys`, after flags were parsed.
type rekey struct {
	*base
	*rekeyFlags
	variant *rekeyVariant
	client  *api.Client
	path    string // "sys/rekey", "sys/rotate/recovery" and so on
	auto    bool   // recovery shares authorise, whatever the target is
	known   bool   // auto is valid
}

// rekeyStatus is the response of .../init and, when complete, of .../update.
type rekeyStatus struct {
	Nonce                string   `json:"nonce"`
	Started              bool     `json:"started"`
	T                    int      `json:"t"`
	N                    int      `json:"n"`
	Given                int      `json:"progress"`
	Required             int      `json:"required"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
	HoldersGiven         []string `json:"holders_given,omitempty"`
	Complete             bool     `json:"complete,omitempty"`
	Keys                 []string `json:"keys,omitempty"`
	KeysB64              []string `json:"keys_base64,omitempty"`
}

// define defines the flags of both commands.
func (f *rekeyFlags) define(b *base) {
	b.formatted()
	b.flags.BoolVar(&f.init, "init", false, "start, with -key-shares and -key-threshold for the new shares; needs a token")
	b.flags.BoolVar(&f.cancel, "cancel", false, "cancel; needs a token. With -verify: restart the verification")
	b.flags.BoolVar(&f.status, "status", false, "show the status")
	b.flags.BoolVar(&f.verify, "verify", false, "with -init: require a verification of the new shares. Otherwise: "+
		"verify new shares")
	b.flags.StringVar(&f.nonce, "nonce", "", "`nonce` of the operation")
	b.flags.StringVar(&f.target, "target", "",
		"`target` of the new shares: barrier, recovery (or hsm); by default the one that fits the server's seal")
	b.flags.IntVar(&f.shares, "key-shares", defaultShares, "`number` of new shares")
	b.flags.IntVar(&f.shares, "n", defaultShares, "the same as -key-shares")
	b.flags.IntVar(&f.threshold, "key-threshold", defaultThreshold, "`number` of new shares that form a quorum")
	b.flags.IntVar(&f.threshold, "t", defaultThreshold, "the same as -key-threshold")
	b.flags.Var(&f.pgpKeys, "pgp-keys", recipientsHelp("new"))
	b.flags.Var(&f.holders, "holders", "comma-separated `names` of the new shares' holders, in the order of the shares")
	b.flags.BoolVar(&f.backup, "backup", false, "with -pgp-keys: keep a copy of the encrypted shares on the server")
	b.flags.BoolVar(&f.backupRetrieve, "backup-retrieve", false, "show that copy; needs a token")
	b.flags.BoolVar(&f.backupDelete, "backup-delete", false, "delete that copy; needs a token")
	b.own("init", "cancel", "status", "verify", "nonce", "target", "key-shares", "n", "key-threshold", "t", "pgp-keys",
		"holders",
		"backup", "backup-retrieve", "backup-delete")
	b.nonEmpty("pgp-keys", "holders", "target", "nonce")
}

func rekeyCommand(b *base) *command      { return newSharesCommand(b, &rekeyByVault) }
func rotateKeysCommand(b *base) *command { return newSharesCommand(b, &rekeyByOpenBao) }
func recipientsHelp(which string) string {
	return "comma-separated public keys, one for each " + which + " share: `files` with PGP keys, or age recipients " +
		"(age1...)"
}

func newSharesCommand(b *base, v *rekeyVariant) *command {
	f := &rekeyFlags{}
	f.define(b)
	return &command{base: b, name: v.command, args: "[KEY | - | @file]", most: 1,
		synopsis: "Make new unseal or recovery shares", about: v.about(),
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				return (&rekey{base: b, rekeyFlags: f, variant: v, client: client}).run(args)
			})
		}}
}

func (r *rekey) run(args []string) int {
	modes := 0
	for _, on := range []bool{r.init, r.cancel, r.status, r.backupRetrieve, r.backupDelete} {
		if on {
			modes++
		}
	}
	if modes > 1 {
		r.errorf("Error: -init, -cancel, -status, -backup-retrieve and -backup-delete exclude each other")
		return exitLocal
	}
	if code := r.chooseTarget(); code != exitOK {
		return code
	}
	switch {
	case r.backupDelete:
		return r.deleteBackup()
	case r.backupRetrieve:
		return r.retrieveBackup()
	case r.cancel && r.verify:
		return r.restartVerification()
	case r.cancel:
		return r.stop()
	case r.init:
		return r.start()
	case r.status && r.verify:
		return r.showVerification()
	case r.status:
		return r.showStatus()
	case r.verify && !r.startFlags(): // with -key-shares, -verify belongs to the start
		return r.verifyShares(args)
	}
	return r.give(args)
}

// startFlags reports whether the command line has flags that only a start uses.
func (r *rekey) startFlags() bool {
	return r.given("key-shares", "n", "key-threshold", "t", "pgp-keys", "backup", "holders")
}

// chooseTarget determines the target. Without -target the server's seal decides: with an
// auto-unseal seal, custodians hold recovery shares, so that new shares are recovery shares.
func (r *rekey) chooseTarget() int {
	switch r.target {
	case "barrier", "recovery":
	case "hsm":
		r.target = "recovery"
	case "":
		status, code := sealStatus(r.base, r.client)
		if status == nil {
			return code
		}
		r.target = "barrier"
		if r.auto, r.known = status.auto(), true; r.auto {
			r.target = "recovery"
			r.errorf("Note: this server has an auto-unseal seal (%s), so the target is recovery (the recovery shares).\n"+
				"To replace the root key instead: -target=barrier.\n", status.Type)
		}
	default:
		r.errorf("Unknown target: %s", r.target)
		return exitLocal
	}
	r.path = r.variant.paths[r.target]
	if r.target == "recovery" {
		r.auto, r.known = true, true
	}
	return exitOK
}

// authority is the kind of shares that authorise, for a prompt.
func (r *rekey) authority() string {
	if !r.known {
		status := &sealState{}
		if err := call(r.client, http.MethodGet, "sys/seal-status", nil, status); err == nil {
			r.auto, r.known = status.auto(), true
		}
	}
	if r.auto {
		return "Recovery"
	}
	return "Unseal"
}

func (r *rekey) current() (*rekeyStatus, error) {
	s := &rekeyStatus{}
	return s, r.send(context.Background(), http.MethodGet, "init", nil, s)
}

func (r *rekey) showStatus() int {
	s, err := r.current()
	if err != nil {
		return r.fail("reading "+r.variant.noun+" status", err)
	}
	return r.show(s)
}

func (r *rekey) stop() int {
	var body any
	if r.nonce != "" { // servers that check it cancel only this operation
		body = map[string]string{"nonce": r.nonce}
	}
	if err := r.send(context.Background(), http.MethodDelete, "init", body, nil); err != nil {
		return r.fail("canceling "+r.variant.noun, err)
	}
	r.printf("Success! Canceled %s (if it was started)\n", r.variant.gerund)
	return exitOK
}
