package cli

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// Default numbers of shares; Vault has the same.
const (
	defaultShares    = 5
	defaultThreshold = 3
)

type initFlags struct {
	status                            bool
	shares, threshold                 int
	recoveryShares, recoveryThreshold int
	pgpKeys, recoveryPGPKeys, holders list
	rootPGPKey                        string
}

func initCommand(b *base) *command {
	b.formatted()
	f := &initFlags{}
	b.flags.BoolVar(&f.status, "status", false, "only show whether the server is initialised: exit code 0, or 2 if not")
	b.flags.IntVar(&f.shares, "key-shares", 0, "`number` of unseal shares, 5 by default (Shamir seal)")
	b.flags.IntVar(&f.shares, "n", 0, "the same as -key-shares")
	b.flags.IntVar(&f.threshold, "key-threshold", 0, "`number` of unseal shares needed, 3 by default (Shamir seal)")
	b.flags.IntVar(&f.threshold, "t", 0, "the same as -key-threshold")
	b.flags.IntVar(&f.recoveryShares, "recovery-shares", 0, "`number` of recovery shares, 5 by default (auto-unseal seal)")
	b.flags.IntVar(&f.recoveryThreshold, "recovery-threshold", 0, "`number` of recovery shares needed, 3 by default")
	b.flags.Var(&f.pgpKeys, "pgp-keys", recipientsHelp("unseal"))
	b.flags.Var(&f.recoveryPGPKeys, "recovery-pgp-keys", recipientsHelp("recovery"))
	b.flags.StringVar(&f.rootPGPKey, "root-token-pgp-key", "", "public key that encrypts the root token: a `file` with "+
		"a PGP key, or an age recipient")
	b.flags.Var(&f.holders, "holders", "comma-separated `names` of the shares' holders, in the order of the shares")
	b.own("status", "key-shares", "n", "key-threshold", "t",
		"recovery-shares", "recovery-threshold", "pgp-keys", "recovery-pgp-keys", "root-token-pgp-key", "holders")
	b.nonEmpty("pgp-keys", "recovery-pgp-keys", "root-token-pgp-key", "holders")
	return &command{base: b, name: "operator init", synopsis: "Initialise a server",
		about: `Initialises a server: creates its keys, and prints the shares and the first root token once.

With a Shamir seal the shares unseal the server. With an auto-unseal seal (an HSM or KMS) they are recovery
shares, which authorise a rekey and other ceremonies.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int {
				if f.status {
					return initStatus(b, client)
				}
				return b.initialize(client, f)
			})
		}}
}

func initStatus(b *base, client *api.Client) int {
	var answer struct{ Initialized bool }
	if err := call(client, http.MethodGet, "sys/init", nil, &answer); err != nil {
		return min(b.fail("checking init status", err), exitLocal)
	}
	if b.format() != "table" {
		code := b.encode(map[string]bool{"Initialized": answer.Initialized})
		if code == exitOK && !answer.Initialized {
			return exitServer
		}
		return code
	}
	if !answer.Initialized {
		b.printf("Vault is not initialized\n")
		return exitServer
	}
	b.printf("Vault is initialized\n")
	return exitOK
}

func (b *base) initialize(client *api.Client, f *initFlags) int {
	req := &initRequest{Holders: f.holders,
		InitRequest: api.InitRequest{SecretShares: f.shares, SecretThreshold: f.threshold,
			RecoveryShares: f.recoveryShares, RecoveryThreshold: f.recoveryThreshold}}
	var err error
	if req.PGPKeys, err = publicKeys(b, f.pgpKeys); err == nil {
		req.RecoveryPGPKeys, err = publicKeys(b, f.recoveryPGPKeys)
	}
	if err == nil && f.rootPGPKey != "" {
		req.RootTokenPGPKey, err = publicKey(b, f.rootPGPKey)
	}
	if err != nil {
		b.errorf("Error: %v", err)
		return exitLocal
	}
	status, code := sealStatus(b, client)
	if status == nil {
		return code
	}
	auto := status.auto()
	if err := checkHolders(f.holders, fillIn(&req.InitRequest, auto)); err != nil {
		b.errorf("Error: %v", err)
		return exitLocal
	}
	answer := &initResponse{}
	if err := call(client, http.MethodPut, "sys/init", req, answer); err != nil {
		return b.fail("initializing", err)
	}
	text, err := initText(b, req, answer, auto)
	if err == nil {
		err = b.deliver(visible(text))
	}
	if err != nil {
		b.errorf("Error printing the shares and the root token: %v\n\n"+
			"The server is initialised, and they cannot be shown again: empty its storage and initialise it again.", err)
		return exitLocal
	}
	return exitOK
}

// initRequest is Vault's request and the names of holders, which other servers ignore.
type initRequest struct {
	api.InitRequest
	Holders []string `json:"holders,omitempty"`
}

// initResponse is Vault's response and the key that verifies snapshots, which other servers lack.
type initResponse struct {
	api.InitResponse
	SnapshotKey string `json:"snapshot_public_key"`
}

// fillIn sets the defaults for the server's kind of seal and returns the number of shares. Values
// for the other kind are sent as well: the server's refusal explains them.
func fillIn(req *api.InitRequest, auto bool) int {
	shares, threshold := &req.SecretShares, &req.SecretThreshold
	if auto {
		shares, threshold = &req.RecoveryShares, &req.RecoveryThreshold
	}
	if *shares == 0 {
		*shares = defaultShares
	}
	if *threshold == 0 {
		*threshold = defaultThreshold
	}
	return *shares
}

type machineReadableInit struct {
	UnsealKeysB64         []string `json:"unseal_keys_b64"`
	UnsealKeysHex         []string `json:"unseal_keys_hex"`
	UnsealShares          int      `json:"unseal_shares"`
	UnsealThreshold       int      `json:"unseal_threshold"`
	RecoveryKeysB64       []string `json:"recovery_keys_b64"`
	RecoveryKeysHex       []string `json:"recovery_keys_hex"`
	RecoveryKeysShares    int      `json:"recovery_keys_shares"`
	RecoveryKeysThreshold int      `json:"recovery_keys_threshold"`
	RootToken             string   `json:"root_token"`
	SnapshotKey           string   `json:"snapshot_public_key,omitempty"`
}

func machineInit(req *initRequest, a *initResponse) machineReadableInit {
	return machineReadableInit{
		UnsealKeysB64: a.KeysB64, UnsealKeysHex: a.Keys, UnsealShares: req.SecretShares, UnsealThreshold: req.SecretThreshold,
		RecoveryKeysB64: a.RecoveryKeysB64, RecoveryKeysHex: a.RecoveryKeys,
		RecoveryKeysShares: req.RecoveryShares, RecoveryKeysThreshold: req.RecoveryThreshold,
		RootToken: a.RootToken, SnapshotKey: a.SnapshotKey,
	}
}

// initText is the text with the shares, which is printed once.
func initText(b *base, req *initRequest, a *initResponse, auto bool) (string, error) {
	if b.format() != "table" {
		return b.encoded(machineInit(req, a))
	}
	var w strings.Builder
	for i, k := range a.KeysB64 {
		fmt.Fprintf(&w, "Unseal Key %d: %s\n", i+1, k)
	}
	for i, k := range a.RecoveryKeysB64 {
		fmt.Fprintf(&w, "Recovery Key %d: %s\n", i+1, k)
	}
	if len(a.KeysB64)+len(a.RecoveryKeysB64) > 0 {
		w.WriteString("\n")
	}
	if len(req.Holders) > 0 {
		w.WriteString(whose(req.Holders) + "\n")
	}
	fmt.Fprintf(&w, "Initial Root Token: %s\n\n", a.RootToken)
	if a.SnapshotKey != "" {
		fmt.Fprintf(&w, "Snapshot Public Key: %s\n\n", a.SnapshotKey)
	}
	if auto {
		w.WriteString("Success! Vault is initialized\n")
		if len(a.RecoveryKeysB64) > 0 {
			fmt.Fprintf(&w, `
The recovery key was split into %d key shares; any %d of them form a quorum. Give each
share to a different custodian now: it is not shown again.
`, req.RecoveryShares, req.RecoveryThreshold)
		}
		return w.String(), nil
	}
	fmt.Fprintf(&w, `Vault initialized with %d key shares and a key threshold of %d. Give each share to a
different custodian now: it is not shown again.

The server is sealed now and after every start. To unseal it, give %d of these shares to
"sealgate operator unseal", one by one, in any order.

The root key is not stored unencrypted anywhere. If fewer than %d shares are left, the data
is lost. "sealgate operator rekey" makes a new set of shares.
`, req.SecretShares, req.SecretThreshold, req.SecretThreshold, req.SecretThreshold)
	return w.String(), nil
}
