package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/openbao/openbao/api/v2"
)

// xksStore is what the commands about an external key store share.
type xksStore struct {
	*base
	mount, out string
}

func newXKSStore(b *base) *xksStore {
	x := &xksStore{base: b}
	b.flags.StringVar(&x.mount, "mount", "xks", "`path` of the mount of type xks")
	b.flags.StringVar(&x.out, "out", "", "write the file for AWS's console to this `file` with mode 0600, instead of to "+
		"standard output")
	b.own("mount", "out")
	b.nonEmpty("mount", "out")
	return x
}

// deliver writes the file that AWS's console takes: it has the secret of a credential.
func (x *xksStore) deliver(s *api.Secret) (err error) {
	if s == nil || s.Data["configuration"] == nil {
		return errors.New("the server's answer has no configuration: is the mount of type xks?")
	}
	text, err := json.MarshalIndent(s.Data["configuration"], "", "  ")
	if err != nil {
		return err
	}
	var w io.Writer = x.env.Stdout
	if x.out != "" {
		f, err := os.OpenFile(x.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = f
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

func (x *xksStore) at(name string, more ...string) string {
	return path.Join(append([]string{x.mount, "stores", name}, more...)...)
}

func xksStoreCreateCommand(b *base) *command {
	x := newXKSStore(b)
	var prefix, region, health, firstUse string
	var policies list
	b.flags.StringVar(&prefix, "prefix", "", "`path` before /kms/xks/v1: a slash and 8 to 116 letters, digits, /, _ or -")
	b.flags.StringVar(&region, "region", "", "`region` of the AWS KMS that may sign, such as eu-central-1; any by default")
	b.flags.StringVar(&health, "health-key", "transit/xks-health", "transit `key` by which health checks prove the device")
	b.flags.StringVar(&firstUse, "first-use", "deny", "`word`: deny, or allow the KMS key that uses an external key "+
		"first, until an operator confirms it")
	b.flags.Var(&policies, "policies", "`policies` that decide on the encrypt and decrypt paths of the transit keys")
	b.own("prefix", "region", "health-key", "first-use", "policies")
	b.nonEmpty("region", "health-key", "first-use", "policies")
	return &command{base: b, name: "operator xks store create", args: "NAME", least: 1, most: 1,
		synopsis: "Make an external key store of AWS KMS with a credential",
		about: `Makes the store NAME in a mount of type xks with a first credential, and prints the file that the
console of AWS KMS takes when it creates the store there. The file has the credential's secret.

  $ sealgate operator xks store create prod -prefix=/store-prod -region=eu-central-1 -policies=xks-prod -out=store.json
  $ sealgate write xks/stores/prod/keys/orders key=transit/orders kms_key_arn=arn:aws:kms:...

The policies need update on transit/encrypt/KEY and transit/decrypt/KEY of each key, the health
key included. Conditions are allowed_parameters on these paths: aws_principal_account,
aws_principal_arn, kms_key_arn, kms_operation, kms_via_service, aws_source_vpc, aws_source_vpce,
access_key_id and others.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				_, err := client.Logical().Write(x.at(args[0]), map[string]any{"prefix": prefix, "region": region,
					"health_key": health, "first_use": firstUse, "policies": []string(policies)})
				if err != nil {
					return b.fail("making the store", err)
				}
				s, err := client.Logical().Write(x.at(args[0], "credentials"), nil)
				if err == nil {
					err = x.deliver(s)
				}
				if err != nil {
					return b.fail("making the store's credential", err)
				}
				return exitOK
			})
		}}
}

func xksStoreRotateCommand(b *base) *command {
	x := newXKSStore(b)
	var remove string
	b.flags.StringVar(&remove, "remove", "", "remove the credential with this access key `id` instead")
	b.own("remove")
	b.nonEmpty("remove")
	return &command{base: b, name: "operator xks store rotate-credential", args: "NAME", least: 1, most: 1,
		synopsis: "Make another credential of a store, or remove one",
		about: `Makes a credential beside those that the store has, and prints the file that AWS's console takes.
Both are valid:

  1. sealgate operator xks store rotate-credential prod -out=new.json
  2. aws kms update-custom-key-store with the new credential
  3. sealgate read xks/stores/prod: wait until the old one's last_used stays
  4. sealgate operator xks store rotate-credential prod -remove=OLD_ACCESS_KEY_ID`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				if remove != "" {
					if _, err := client.Logical().Delete(x.at(args[0], "credentials", remove)); err != nil {
						return b.fail("removing the credential", err)
					}
					b.printf("Success! Removed the credential %s.\n", remove)
					return exitOK
				}
				s, err := client.Logical().Write(x.at(args[0], "credentials"), nil)
				if err == nil {
					err = x.deliver(s)
				}
				if err != nil {
					return b.fail("making the credential", err)
				}
				return exitOK
			})
		}}
}

func xksStoreDownloadCommand(b *base) *command {
	x := newXKSStore(b)
	return &command{base: b, name: "operator xks store download", args: "NAME", least: 1, most: 1,
		synopsis: "Print the file for AWS's console again",
		about: `Prints the file that the console of AWS KMS takes, with the store's newest credential and its
secret. It needs read on xks/stores/NAME/download, which no other command needs.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int {
				s, err := client.Logical().Read(x.at(args[0], "download"))
				if err == nil {
					err = x.deliver(s)
				}
				if err != nil {
					return b.fail("reading the store's credential", err)
				}
				return exitOK
			})
		}}
}
