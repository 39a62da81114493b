package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

const signerPath = "sys/config/transcript"

type signerFlags struct {
	key    string
	remove bool
}

func transcriptSignerCommand(b *base) *command {
	b.formatted()
	f := &signerFlags{}
	b.flags.StringVar(&f.key, "managed-key", "", "have this managed `key` sign, as TYPE/NAME")
	b.flags.BoolVar(&f.remove, "remove", false, "have no key in a device sign")
	b.own("managed-key", "remove")
	b.nonEmpty("managed-key")
	return &command{base: b, name: "operator transcript signer",
		synopsis: "Show or choose the key in an HSM or KMS that signs the records",
		about: `Shows the key in an HSM or KMS that signs each record of the transcript beside the server, as a line for
the file that auditors pass to "transcript verify -signers", and how many records it has yet to sign.

With -managed-key a managed key of sys/managed-keys signs from now on, and with -remove none does. The server
tries the key first. It is a key of its own: its usages have "sign", and no mount may use it, then or later. The
change is a record of the transcript, and the key that signed before signs that record, too. Needs "read" on
sys/config/transcript; to change it, "update" or "delete" and "sudo".

    $ sealgate operator transcript signer -managed-key=pkcs11/notary`,
		run: func([]string) int {
			if f.remove && f.key != "" {
				b.errorf("Error: specify either -managed-key or -remove")
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int { return runSigner(b, client, f) })
		}}
}

type signerState struct {
	ManagedKey    string         `json:"managed_key"`
	Name          string         `json:"name"`
	PublicKey     string         `json:"public_key"`
	Fingerprint   string         `json:"fingerprint"`
	FromRecord    uint64         `json:"from_record"`
	Unsigned      int            `json:"unsigned"`
	FirstUnsigned uint64         `json:"first_unsigned"`
	Failure       *signerFailure `json:"failure"`
}

type signerFailure struct {
	Class string `json:"class"`
	Text  string `json:"text"`
	Since string `json:"since"`
}

func runSigner(b *base, client *api.Client, f *signerFlags) int {
	ctx := context.Background()
	if f.remove {
		if err := callData(ctx, client, http.MethodDelete, signerPath, nil, nil); err != nil {
			return b.fail("removing the key that signs the transcript", err)
		}
	}
	if f.key != "" {
		in := map[string]string{"managed_key": f.key}
		if err := callData(ctx, client, http.MethodPut, signerPath, in, nil); err != nil {
			return b.fail("choosing the key that signs the transcript", err)
		}
	}
	var st signerState
	if err := callData(ctx, client, http.MethodGet, signerPath, nil, &st); err != nil {
		return b.fail("reading the key that signs the transcript", err)
	}
	if b.format() != "table" {
		return b.encode(st)
	}
	showSigner(b, &st)
	return exitOK
}

func showSigner(b *base, st *signerState) {
	var p pairs
	if st.ManagedKey == "" {
		p.add("Managed Key", "none: no key in a device signs the transcript")
	} else {
		p.add("Managed Key", st.ManagedKey)
		p.add("Fingerprint", st.Fingerprint)
		p.add("Signs From", fmt.Sprintf("record %d", st.FromRecord))
	}
	if st.FirstUnsigned > 0 {
		p.add("Not Signed Yet", fmt.Sprintf("%d records, from record %d", st.Unsigned, st.FirstUnsigned))
	} else if st.ManagedKey != "" {
		p.add("Not Signed Yet", "0 records")
	}
	if f := st.Failure; f != nil {
		p.add("Cause", fmt.Sprintf("%s (%s, since %s)", f.Text, f.Class, f.Since))
	}
	b.printf("%s", columns(p))
	if st.PublicKey != "" {
		b.printf("\nThe key as a line of the file that \"sealgate transcript verify -signers\" and \"ssh-keygen -Y verify "+
			"-f\" read:\n\n%s %s\n", st.Name, st.PublicKey)
	}
}
