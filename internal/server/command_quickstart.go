package server

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/cli"
)

// quickstartCommand is `sealgate quickstart`.
type quickstartCommand struct{ env cli.Env }

func (c *quickstartCommand) Synopsis() string { return "Write a first configuration" }

func (c *quickstartCommand) Help() string {
	var b strings.Builder
	b.WriteString(`Usage: sealgate quickstart [flags]

Asks three questions (which seal protects the root key, where to store the data, who holds shares), writes a
configuration that "sealgate doctor" checks and a drop-in for systemd, and prints the next commands. Flags answer
the questions without asking. It overwrites nothing, asks for no PIN, and starts nothing.

  $ sealgate quickstart -dir=/etc/sealgate
  $ sealgate quickstart -keys=shamir -data=/var/lib/sealgate/data -holders=alice,bob,carol

Flags:
`)
	f, _ := c.flags()
	f.SetOutput(&b)
	f.PrintDefaults()
	return strings.TrimRight(b.String(), "\n")
}

type quickstartFlags struct{ dir, keys, data, holders string }

func (c *quickstartCommand) flags() (*flag.FlagSet, *quickstartFlags) {
	f, o := flag.NewFlagSet("quickstart", flag.ContinueOnError), &quickstartFlags{}
	f.SetOutput(io.Discard)
	f.StringVar(&o.dir, "dir", ".", "`folder` for the configuration")
	f.StringVar(&o.keys, "keys", "", "the `seal`: hsm, aws, gcp, azure, or shamir for shares alone")
	f.StringVar(&o.data, "data", "", "the `storage`: a folder, an etcd address (https://...), or postgres://...")
	f.StringVar(&o.holders, "holders", "", "`names` of those who hold shares, separated by commas")
	return f, o
}

// Run asks, writes and prints.
func (c *quickstartCommand) Run(args []string) int {
	f, o := c.flags()
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		fmt.Fprintln(c.env.Stderr, c.Help())
		return 1
	}
	if err := c.run(o); err != nil {
		fmt.Fprintf(c.env.Stderr, "Error: %v\n", err)
		return 1
	}
	return 0
}

// sealAnswer is a seal that the first question offers.
type sealAnswer struct {
	name, what string
	stanza     string
	next       string // what has to be done before the start
}

var sealAnswers = []sealAnswer{
	{"hsm", "an HSM, by its PKCS#11 library", `seal "pkcs11" "hsm" {
  lib          = "/usr/lib/softhsm/libsofthsm2.so" # your HSM's library
  token_label  = "sealgate"
  pin          = "file://%[1]s/pin"
  key_label    = "sealgate"
  generate_key = true # remove this line once the key is there
}
`, "Set lib and token_label in %[2]s, and write the PIN into %[1]s/pin, readable for the server alone."},
	{"aws", "AWS KMS", `seal "awskms" "aws" {
  region     = "eu-central-1"
  kms_key_id = "alias/sealgate"
}
`, "Set region and kms_key_id in %[2]s; the machine's role needs kms:Encrypt, kms:Decrypt and kms:DescribeKey."},
	{"gcp", "Google Cloud KMS", `seal "gcpckms" "gcp" {
  project    = "my-project"
  region     = "europe-west3"
  key_ring   = "sealgate"
  crypto_key = "root"
}
`, "Set project, region, key_ring and crypto_key in %[2]s; the service account needs the role " +
		"cryptoKeyEncrypterDecrypter."},
	{"azure", "Azure Key Vault", `seal "azurekeyvault" "azure" {
  vault_name = "my-vault"
  key_name   = "sealgate"
}
`, "Set vault_name and key_name in %[2]s; the identity needs wrapKey and unwrapKey."},
	{"shamir", "none: custodians unseal the server with their shares after each restart", "", ""},
}

func (c *quickstartCommand) run(o *quickstartFlags) error {
	in := bufio.NewReader(c.env.Stdin)
	seal, err := c.askSeal(in, o.keys)
	if err != nil {
		return err
	}
	data, err := c.ask(in, o.data, "Where to store the data? A folder, https://ETCD:2379, or postgres://HOST/DATABASE",
		"/var/lib/sealgate/data")
	if err != nil {
		return err
	}
	if !strings.Contains(data, "://") { // a service starts in another folder
		if data, err = filepath.Abs(data); err != nil {
			return err
		}
	}
	names, err := c.ask(in, o.holders, "Who holds shares? Names, separated by commas", "alice,bob,carol")
	if err != nil {
		return err
	}
	holders := splitNames(names)
	if len(holders) == 0 || len(holders) > 255 {
		return errors.New("name 1 to 255 holders")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	path, unit := filepath.Join(dir, "sealgate.hcl"), filepath.Join(dir, dropIn)
	if err := writeNew(path, configurationText(dir, seal, data)); err != nil {
		return err
	}
	if err := writeNew(unit, unitText(path, seal, data)); err != nil {
		return err
	}
	if err := shareWithService(dir, path, unit); err != nil {
		return err
	}
	c.next(dir, path, seal, holders)
	return nil
}

// dropIn is the file for systemd, beside the configuration.
const dropIn = "sealgate.service.conf"

// stateFolder is the folder that the packaged unit may write.
const stateFolder = "/var/lib/sealgate"

// unitText is a drop-in of the packaged unit: it starts with this configuration.
func unitText(path string, seal sealAnswer, data string) string {
	text := "# A drop-in for the unit of the package, by sealgate quickstart.\n[Service]\nExecStart=\n" +
		"ExecStart=/usr/bin/sealgate server -config=" + strings.ReplaceAll(path, "%", "%%") + "\n"
	if !strings.Contains(data, "://") && data != stateFolder && !strings.HasPrefix(data, stateFolder+"/") {
		text += "ReadWritePaths=-" + strings.ReplaceAll(data, "%", "%%") + "\n"
	}
	if seal.name == "hsm" {
		text += "# For an HSM on USB or PCIe, name its device and remove the signs:\n#PrivateDevices=no\n" +
			"#DeviceAllow=/dev/hsm0 rw\n"
	}
	return text
}

// shareWithService lets the user of the packaged unit read what root has written.
func shareWithService(paths ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	group, err := user.LookupGroup("sealgate")
	if err != nil {
		return nil // the package is not installed: the user who starts the server owns the files
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	return nil
}

// ask returns the flag's answer, or that of the terminal; empty is the default.
func (c *quickstartCommand) ask(in *bufio.Reader, given, question, standard string) (string, error) {
	if given != "" {
		return given, nil
	}
	fmt.Fprintf(c.env.Stdout, "%s [%s]: ", question, standard)
	line, err := in.ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", errors.New("no answer: answer by flags where there is no terminal (see -help)")
	}
	answer := strings.TrimSpace(line)
	if strings.ContainsAny(answer, "\"\\\x00") || strings.Contains(answer, "${") {
		return "", errors.New("an answer has a quote, a backslash or ${, which the configuration would read otherwise")
	}
	return cmp.Or(answer, standard), nil
}

func (c *quickstartCommand) askSeal(in *bufio.Reader, given string) (sealAnswer, error) {
	if given == "" {
		fmt.Fprintln(c.env.Stdout, "Which seal protects the root key?")
		for _, a := range sealAnswers {
			fmt.Fprintf(c.env.Stdout, "  %-8s %s\n", a.name, a.what)
		}
	}
	answer, err := c.ask(in, given, "Seal", "hsm")
	if err != nil {
		return sealAnswer{}, err
	}
	for _, a := range sealAnswers {
		if a.name == strings.ToLower(answer) {
			return a, nil
		}
	}
	return sealAnswer{}, fmt.Errorf("there is no %q: use hsm, aws, gcp, azure or shamir", answer)
}

func splitNames(text string) []string {
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// configurationText is the file: storage, a listener for this machine alone, the seal.
func configurationText(dir string, seal sealAnswer, data string) string {
	storage := fmt.Sprintf("storage \"bbolt\" {\n  path = %q\n}\n", data)
	switch {
	case strings.HasPrefix(data, "postgres://") || strings.HasPrefix(data, "postgresql://"):
		storage = fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\n", data)
	case strings.HasPrefix(data, "https://") || strings.HasPrefix(data, "http://"):
		storage = fmt.Sprintf("storage \"etcd\" {\n  address = %q\n}\n", data)
	}
	stanza := seal.stanza
	if strings.Contains(stanza, "%[1]s") {
		stanza = fmt.Sprintf(stanza, dir)
	}
	return storage + `
# Only this machine reaches the server. Before you let others in, set the address and both TLS files.
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
  # tls_cert_file = "` + dir + `/tls.crt"
  # tls_key_file  = "` + dir + `/tls.key"
}

` + stanza + `
ui = true
`
}

// writeNew writes a file that must not exist.
func writeNew(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists, and is not overwritten: move it away, or choose another -dir", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// next prints the commands that follow.
func (c *quickstartCommand) next(dir, path string, seal sealAnswer, holders []string) {
	fmt.Fprintf(c.env.Stdout, "\nWrote %s\n", path)
	if seal.next != "" {
		fmt.Fprintf(c.env.Stdout, "First: "+seal.next+"\n", dir, path)
	}
	n := strconv.Itoa(len(holders))
	threshold := strconv.Itoa(len(holders)/2 + 1)
	shares := "-recovery-shares=" + n + " -recovery-threshold=" + threshold
	if seal.name == "shamir" {
		shares = "-key-shares=" + n + " -key-threshold=" + threshold
	}
	fmt.Fprintf(c.env.Stdout, `
Next:
  $ sealgate doctor -config=%[1]s
  $ sealgate server -config=%[1]s
  $ SEALGATE_ADDR=http://127.0.0.1:8200 sealgate operator init %[2]s -holders='%[3]s'

Under systemd, with the package, in place of the second:
  $ sudo install -D -m 644 %[4]s /etc/systemd/system/sealgate.service.d/quickstart.conf
  $ sudo systemctl daemon-reload && sudo systemctl enable --now sealgate

The web interface is http://127.0.0.1:8200/ui/
`, path, shares, strings.Join(holders, ","), filepath.Join(dir, dropIn))
}
