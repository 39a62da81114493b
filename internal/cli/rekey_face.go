package cli

import (
	"context"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// face is what tells `operator rekey` from `operator rotate-keys`. Both do the same: the first by the paths that every
// Vault has and where a share needs no token, the second by OpenBao's, where each step needs one.
type face struct {
	command string            // "operator rekey"
	noun    string            // "rekey"
	gerund  string            // "rekeying"
	done    string            // "Vault rekeyed"
	inData  bool              // answers lie in an envelope's data
	paths   map[string]string // of each target
	backups map[string]string // of the encrypted copies of each target
}

var rekeyFace = face{
	command: "operator rekey", noun: "rekey", gerund: "rekeying", done: "Vault rekeyed",
	paths:   map[string]string{"barrier": "sys/rekey", "recovery": "sys/rekey-recovery-key"},
	backups: map[string]string{"barrier": "sys/rekey/backup", "recovery": "sys/rekey/recovery-key-backup"},
}

var rotateFace = face{
	command: "operator rotate-keys", noun: "rotation", gerund: "rotation", done: "Keys replaced", inData: true,
	paths:   map[string]string{"barrier": "sys/rotate/root", "recovery": "sys/rotate/recovery"},
	backups: map[string]string{"barrier": "sys/rotate/root/backup", "recovery": "sys/rotate/recovery/backup"},
}

func (f *face) about() string {
	const text = `Makes a new set of shares, authorised by a threshold of the present ones. WHO

Start it, hand the nonce to the holders, and let each of them give a share:

    $ sealgate COMMAND -init -target=recovery -key-shares=3 -key-threshold=2 -holders=alice,bob,carol
    $ sealgate COMMAND -target=recovery -nonce=...

Where the shares are at one place, one call does it all: without -init but with -key-shares or
-key-threshold it starts, takes shares until there are enough, and prints the new ones.

    $ sealgate COMMAND -target=recovery -key-shares=3 -key-threshold=2

Shares are asked for, hidden; "-" reads them from standard input and "@file" from a file, one a line.

With -init -verify the new shares count only once enough of them were given with -verify -nonce=...; until
then the old ones stay valid. Whoever gives the last share gets the new ones. Should the answer be lost, the same
share and nonce given again fetch it, until this command has told the server that they were printed.`
	who := "Giving a share\nneeds no token; starting and cancelling do."
	if f.inData {
		who = "Each step needs\na token."
	}
	return strings.NewReplacer("COMMAND", f.command, "WHO", who).Replace(text)
}

// ask sends one request of the ceremony: what is "init", "update", "verify" or "acknowledge".
func (r *rekey) ask(ctx context.Context, method, what string, in, out any) error {
	if r.face.inData {
		return callData(ctx, r.client, method, r.path+"/"+what, in, out)
	}
	return callWith(ctx, r.client, method, r.path+"/"+what, in, out)
}

func (r *rekey) deleteBackup() int {
	if err := call(r.client, http.MethodDelete, r.face.backups[r.target], nil, nil); err != nil {
		return r.fail("deleting "+r.face.noun+" backup", err)
	}
	r.printf("Success! Delete backup keys (if they existed)\n")
	return exitOK
}

func (r *rekey) retrieveBackup() int {
	s, err := r.client.Logical().Read(r.face.backups[r.target])
	if err != nil {
		return r.fail("retrieving "+r.face.noun+" backup", err)
	}
	if s == nil {
		r.errorf("No backup found")
		return exitServer
	}
	return r.showSecret(&api.Secret{Data: s.Data})
}
