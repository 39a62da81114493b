package cli

import (
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

type rekeyFlags struct {
	init, cancel, status, verify         bool
	backup, backupRetrieve, backupDelete bool
	nonce, target                        string
	shares, threshold                    int
	pgpKeys                              list
}

// rekey is one run of the command, when flags are parsed and the target is known.
type rekey struct {
	*base
	*rekeyFlags
	client *api.Client
	path   string // "sys/rekey" or "sys/rekey-recovery-key"
	auto   bool   // recovery shares authorise, whatever the target is
	known  bool   // auto was learned from the server
}

// rekeyStatus is contract 2.2's object, and 2.3's when it is complete.
type rekeyStatus struct {
	Nonce                string   `json:"nonce"`
	Started              bool     `json:"started"`
	T                    int      `json:"t"`
	N                    int      `json:"n"`
	Progress             int      `json:"progress"`
	Required             int      `json:"required"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
	Complete             bool     `json:"complete,omitempty"`
	Keys                 []string `json:"keys,omitempty"`
	KeysB64              []string `json:"keys_base64,omitempty"`
}

func rekeyCommand(b *base) *command {
	b.formatted()
	f := &rekeyFlags{}
	b.flags.BoolVar(&f.init, "init", false, "start, with -key-shares and -key-threshold of the new shares; needs a token")
	b.flags.BoolVar(&f.cancel, "cancel", false, "cancel; needs a token. With -verify: start the verification anew")
	b.flags.BoolVar(&f.status, "status", false, "show what runs")
	b.flags.BoolVar(&f.verify, "verify", false, "with -init: the new shares must be proven before they count. Otherwise: act on that proof")
	b.flags.StringVar(&f.nonce, "nonce", "", "`id` of the rekey that the share is meant for")
	b.flags.StringVar(&f.target, "target", "",
		"`what` gets new shares: barrier, recovery (hsm is the same); by default what the server's seal has")
	b.flags.IntVar(&f.shares, "key-shares", defaultShares, "`number` of new shares")
	b.flags.IntVar(&f.shares, "n", defaultShares, "the same as -key-shares")
	b.flags.IntVar(&f.threshold, "key-threshold", defaultThreshold, "`number` of new shares needed")
	b.flags.IntVar(&f.threshold, "t", defaultThreshold, "the same as -key-threshold")
	b.flags.Var(&f.pgpKeys, "pgp-keys", "`files` of public keys, one for each new share, with commas")
	b.flags.BoolVar(&f.backup, "backup", false, "with -pgp-keys: the server keeps a copy of the encrypted shares")
	b.flags.BoolVar(&f.backupRetrieve, "backup-retrieve", false, "show that copy")
	b.flags.BoolVar(&f.backupDelete, "backup-delete", false, "delete that copy")
	b.own("init", "cancel", "status", "verify", "nonce", "target", "key-shares", "n", "key-threshold", "t", "pgp-keys",
		"backup", "backup-retrieve", "backup-delete")
	return &command{base: b, name: "operator rekey", args: "[KEY | - | @file]", most: 1, synopsis: "Make new unseal or recovery shares",
		about: `Makes a new set of shares, authorised by a threshold of the present ones.

Start it, hand the nonce to the holders, and let each of them give a share:

    $ sealgate operator rekey -init -target=recovery -key-shares=7 -key-threshold=4
    $ sealgate operator rekey -target=recovery -nonce=...

Where the shares are at one place, one call does it all: without -init but with -key-shares or
-key-threshold it starts, takes shares until there are enough, and prints the new ones.

    $ sealgate operator rekey -target=recovery -key-shares=7 -key-threshold=4

Shares are asked for, hidden; "-" reads them from standard input and "@file" from a file, one a line.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int { return runRekey(b, f, client, args) })
		}}
}

func runRekey(b *base, f *rekeyFlags, client *api.Client, args []string) int {
	modes := 0
	for _, on := range []bool{f.init, f.cancel, f.status, f.backupRetrieve, f.backupDelete} {
		if on {
			modes++
		}
	}
	if modes > 1 {
		b.errorf("Error: -init, -cancel, -status, -backup-retrieve and -backup-delete exclude each other")
		return exitLocal
	}
	r := &rekey{base: b, rekeyFlags: f, client: client}
	if code := r.chooseTarget(); code != exitOK {
		return code
	}
	switch {
	case f.backupDelete:
		return r.deleteBackup()
	case f.backupRetrieve:
		return r.retrieveBackup()
	case f.cancel && f.verify:
		return r.restartVerification()
	case f.cancel:
		return r.stop()
	case f.init:
		return r.start()
	case f.status && f.verify:
		return r.showVerification()
	case f.status:
		return r.showStatus()
	case f.verify:
		return r.proveAll(args)
	}
	return r.give(args)
}

// chooseTarget settles -target. Where it is missing, the server's seal decides: under one that
// unseals itself, people hold recovery shares, and "rekey" can only mean those.
func (r *rekey) chooseTarget() int {
	switch r.target {
	case "barrier", "recovery":
	case "hsm":
		r.target = "recovery"
	case "":
		status, code := r.sealStatus(r.client)
		if status == nil {
			return code
		}
		r.target = "barrier"
		if r.auto, r.known = status.auto(), true; r.auto {
			r.target = "recovery"
			r.errorf("Note: the seal of this server (%s) unseals it without people, so this is about the recovery shares,\n"+
				"as if -target=recovery stood here. To replace the root key instead: -target=barrier.\n", status.Type)
		}
	default:
		r.errorf("Unknown target: %s", r.target)
		return exitLocal
	}
	r.path = "sys/rekey"
	if r.target == "recovery" {
		r.path, r.auto, r.known = "sys/rekey-recovery-key", true, true
	}
	return exitOK
}

// holders learns, for the words of a prompt, which shares authorise.
func (r *rekey) holders() string {
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
	return s, call(r.client, http.MethodGet, r.path+"/init", nil, s)
}

func (r *rekey) showStatus() int {
	s, err := r.current()
	if err != nil {
		return r.fail("reading rekey status", err)
	}
	return r.show(s)
}

// begin starts a rekey; the error is the server's.
func (r *rekey) begin() (*rekeyStatus, int) {
	keys, err := r.publicKeys(r.pgpKeys)
	if err != nil {
		r.errorf("Error: %v", err)
		return nil, exitLocal
	}
	req := api.RotateInitRequest{
		SecretShares: r.shares, SecretThreshold: r.threshold, PGPKeys: keys, Backup: r.backup, RequireVerification: r.verify,
	}
	s := &rekeyStatus{}
	if err := call(r.client, http.MethodPut, r.path+"/init", req, s); err != nil {
		return nil, r.fail("initializing rekey", err)
	}
	if len(keys) == 0 && s.N > 0 { // the barrier under a seal that unseals itself has no new shares to lose
		r.errorf(`WARNING! The new shares will be shown once, and in clear, to whoever gives the last share. If that terminal
dies, they are lost. -pgp-keys encrypts each for its holder, and -backup keeps the encrypted ones on the
server. To go back: -cancel.
`)
	}
	return s, exitOK
}

func (r *rekey) start() int {
	s, code := r.begin()
	if s == nil {
		return code
	}
	return r.show(s)
}

func (r *rekey) stop() int {
	if err := call(r.client, http.MethodDelete, r.path+"/init", nil, nil); err != nil {
		return r.fail("canceling rekey", err)
	}
	r.printf("Success! Canceled rekeying (if it was started)\n")
	return exitOK
}

func (r *rekey) backupPath() string {
	if r.target == "recovery" {
		return "sys/rekey/recovery-key-backup"
	}
	return "sys/rekey/backup"
}

func (r *rekey) deleteBackup() int {
	if err := call(r.client, http.MethodDelete, r.backupPath(), nil, nil); err != nil {
		return r.fail("deleting rekey backup", err)
	}
	r.printf("Success! Delete backup keys (if they existed)\n")
	return exitOK
}

func (r *rekey) retrieveBackup() int {
	s, err := r.client.Logical().Read(r.backupPath())
	if err != nil {
		return r.fail("retrieving rekey backup", err)
	}
	if s == nil {
		r.errorf("No backup found")
		return exitServer
	}
	return r.showSecret(&api.Secret{Data: s.Data})
}
