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

// rekey is one run of either command, when flags are parsed and the target is known.
type rekey struct {
	*base
	*rekeyFlags
	face   *face
	client *api.Client
	path   string // "sys/rekey", "sys/rotate/recovery" and so on
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
	HoldersGiven         []string `json:"holders_given,omitempty"`
	Complete             bool     `json:"complete,omitempty"`
	Keys                 []string `json:"keys,omitempty"`
	KeysB64              []string `json:"keys_base64,omitempty"`
}

// flags are the same for both commands.
func (f *rekeyFlags) define(b *base) {
	b.formatted()
	b.flags.BoolVar(&f.init, "init", false, "start, with -key-shares and -key-threshold of the new shares; needs a token")
	b.flags.BoolVar(&f.cancel, "cancel", false, "cancel; needs a token. With -verify: start the verification anew")
	b.flags.BoolVar(&f.status, "status", false, "show what runs")
	b.flags.BoolVar(&f.verify, "verify", false, "with -init: the new shares must be proven before they count. Otherwise: act on that proof")
	b.flags.StringVar(&f.nonce, "nonce", "", "`id` of the operation that the share is meant for")
	b.flags.StringVar(&f.target, "target", "",
		"`what` gets new shares: barrier, recovery (hsm is the same); by default what the server's seal has")
	b.flags.IntVar(&f.shares, "key-shares", defaultShares, "`number` of new shares")
	b.flags.IntVar(&f.shares, "n", defaultShares, "the same as -key-shares")
	b.flags.IntVar(&f.threshold, "key-threshold", defaultThreshold, "`number` of new shares needed")
	b.flags.IntVar(&f.threshold, "t", defaultThreshold, "the same as -key-threshold")
	b.flags.Var(&f.pgpKeys, "pgp-keys", recipientsHelp("new"))
	b.flags.Var(&f.holders, "holders", "`names` of the people who get the new shares, in their order, with commas")
	b.flags.BoolVar(&f.backup, "backup", false, "with -pgp-keys: the server keeps a copy of the encrypted shares")
	b.flags.BoolVar(&f.backupRetrieve, "backup-retrieve", false, "show that copy; needs a token")
	b.flags.BoolVar(&f.backupDelete, "backup-delete", false, "delete that copy; needs a token")
	b.own("init", "cancel", "status", "verify", "nonce", "target", "key-shares", "n", "key-threshold", "t", "pgp-keys", "holders",
		"backup", "backup-retrieve", "backup-delete")
}

func rekeyCommand(b *base) *command      { return newSharesCommand(b, &rekeyFace) }
func rotateKeysCommand(b *base) *command { return newSharesCommand(b, &rotateFace) }
func recipientsHelp(which string) string {
	return "public keys that encrypt, one for each " + which + " share: `files` of PGP keys or age recipients (age1...), with commas"
}

func newSharesCommand(b *base, face *face) *command {
	f := &rekeyFlags{}
	f.define(b)
	return &command{base: b, name: face.command, args: "[KEY | - | @file]", most: 1,
		synopsis: "Make new unseal or recovery shares", about: face.about(),
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				return (&rekey{base: b, rekeyFlags: f, face: face, client: client}).run(args)
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
	case r.verify && !r.wanted(): // with -key-shares it is the wish of one who starts
		return r.proveAll(args)
	}
	return r.give(args)
}

// wanted reports whether flags stand there that only make sense for a start.
func (r *rekey) wanted() bool {
	return r.given("key-shares", "n", "key-threshold", "t", "pgp-keys", "backup", "holders")
}

// chooseTarget settles -target. Where it is missing, the server's seal decides: under one that
// unseals itself, people hold recovery shares, and new shares can only mean those.
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
	r.path = r.face.paths[r.target]
	if r.target == "recovery" {
		r.auto, r.known = true, true
	}
	return exitOK
}

// authority learns, for the words of a prompt, which shares authorise.
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
	return s, r.ask(context.Background(), http.MethodGet, "init", nil, s)
}

func (r *rekey) showStatus() int {
	s, err := r.current()
	if err != nil {
		return r.fail("reading "+r.face.noun+" status", err)
	}
	return r.show(s)
}

func (r *rekey) stop() int {
	var body any
	if r.nonce != "" { // servers that look at it end no other operation than the one that is meant
		body = map[string]string{"nonce": r.nonce}
	}
	if err := r.ask(context.Background(), http.MethodDelete, "init", body, nil); err != nil {
		return r.fail("canceling "+r.face.noun, err)
	}
	r.printf("Success! Canceled %s (if it was started)\n", r.face.gerund)
	return exitOK
}
