package cli

import (
	"context"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// rekeyVariant is the difference between `operator rekey` and `operator rotate-keys`. Both do the
// same: the first with Vault's paths, where a share needs no token, the second with OpenBao's,
// where each step needs one.
type rekeyVariant struct {
	command string            // "operator rekey"
	noun    string            // "rekey"
	gerund  string            // "rekeying"
	done    string            // "Vault rekeyed"
	inData  bool              // responses are in the envelope's data
	paths   map[string]string // by target
	backups map[string]string // paths of the encrypted copies, by target
}

var rekeyByVault = rekeyVariant{
	command: "operator rekey", noun: "rekey", gerund: "rekeying", done: "Vault rekeyed",
	paths:   map[string]string{"barrier": "sys/rekey", "recovery": "sys/rekey-recovery-key"},
	backups: map[string]string{"barrier": "sys/rekey/backup", "recovery": "sys/rekey/recovery-key-backup"},
}

var rekeyByOpenBao = rekeyVariant{
	command: "operator rotate-keys", noun: "rotation", gerund: "rotation", done: "Keys replaced", inData: true,
	paths:   map[string]string{"barrier": "sys/rotate/root", "recovery": "sys/rotate/recovery"},
	backups: map[string]string{"barrier": "sys/rotate/root/backup", "recovery": "sys/rotate/recovery/backup"},
}

func (f *rekeyVariant) about() string {
	const text = `Makes a new set of shares, authorised by a quorum of the current ones. WHO

Start it, give the nonce to the holders, and let each of them give a share:

    $ sealgate COMMAND -init -target=recovery -key-shares=3 -key-threshold=2 -holders=alice,bob,carol
    $ sealgate COMMAND -target=recovery -nonce=...

If the shares are in one place, one call does it all: without -init but with -key-shares or
-key-threshold it starts, reads shares until there are enough, and prints the new ones.

    $ sealgate COMMAND -target=recovery -key-shares=3 -key-threshold=2

The command prompts for a share and does not echo it; "-" reads shares from standard input and "@file" from a
file, one per line.

With -init -verify the new shares take effect only after a quorum of them was given with -verify -nonce=...; until
then the old ones stay valid. The command that gives the last share prints the new ones. If its response is lost, the
same share and nonce fetch it again, until the command has acknowledged to the server that it printed them.`
	who := "Starting and cancelling\nneed a token; giving a share does not."
	if f.inData {
		who = "Each step needs\na token."
	}
	return strings.NewReplacer("COMMAND", f.command, "WHO", who).Replace(text)
}

// send sends one request of the ceremony. step is "init", "update", "verify" or "acknowledge".
func (r *rekey) send(ctx context.Context, method, step string, in, out any) error {
	if r.variant.inData {
		return callData(ctx, r.client, method, r.path+"/"+step, in, out)
	}
	return callWith(ctx, r.client, method, r.path+"/"+step, in, out)
}

func (r *rekey) deleteBackup() int {
	if err := call(r.client, http.MethodDelete, r.variant.backups[r.target], nil, nil); err != nil {
		return r.fail("deleting "+r.variant.noun+" backup", err)
	}
	r.printf("Success! Delete backup keys (if they existed)\n")
	return exitOK
}

func (r *rekey) retrieveBackup() int {
	s, err := r.client.Logical().Read(r.variant.backups[r.target])
	if err != nil {
		return r.fail("retrieving "+r.variant.noun+" backup", err)
	}
	if s == nil {
		r.errorf("No backup found")
		return exitServer
	}
	return r.showSecret(&api.Secret{Data: s.Data})
}
