package cli

import (
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// What init asks for where nothing else is said, as everywhere.
const (
	defaultShares    = 5
	defaultThreshold = 3
)

type initFlags struct {
	status                            bool
	shares, threshold                 int
	recoveryShares, recoveryThreshold int
	pgpKeys, recoveryPGPKeys          list
	rootPGPKey                        string
}

func initCommand(b *base) *command {
	b.formatted()
	f := &initFlags{}
	b.flags.BoolVar(&f.status, "status", false, "only tell whether the server is initialised: exit code 0, or 2 if not")
	b.flags.IntVar(&f.shares, "key-shares", 0, "`number` of unseal shares, 5 by default (Shamir seal)")
	b.flags.IntVar(&f.shares, "n", 0, "the same as -key-shares")
	b.flags.IntVar(&f.threshold, "key-threshold", 0, "`number` of unseal shares needed, 3 by default (Shamir seal)")
	b.flags.IntVar(&f.threshold, "t", 0, "the same as -key-threshold")
	b.flags.IntVar(&f.recoveryShares, "recovery-shares", 0, "`number` of recovery shares, 5 by default (a seal that unseals itself)")
	b.flags.IntVar(&f.recoveryThreshold, "recovery-threshold", 0, "`number` of recovery shares needed, 3 by default")
	b.flags.Var(&f.pgpKeys, "pgp-keys", "`files` of public keys, one for each unseal share, with commas")
	b.flags.Var(&f.recoveryPGPKeys, "recovery-pgp-keys", "`files` of public keys, one for each recovery share, with commas")
	b.flags.StringVar(&f.rootPGPKey, "root-token-pgp-key", "", "`file` of the public key that encrypts the root token")
	b.own("status", "key-shares", "n", "key-threshold", "t",
		"recovery-shares", "recovery-threshold", "pgp-keys", "recovery-pgp-keys", "root-token-pgp-key")
	return &command{base: b, name: "operator init", synopsis: "Initialise a server",
		about: `Initialises a server: makes its keys, and prints the shares and the first root token, once.

Under a Shamir seal the shares unseal the server. Under a seal that unseals itself (an HSM or KMS) they
are recovery shares: they authorise rekeying and the like.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int {
				if f.status {
					return b.initStatus(client)
				}
				return b.initialize(client, f)
			})
		}}
}

func (b *base) initStatus(client *api.Client) int {
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
	req := &api.InitRequest{SecretShares: f.shares, SecretThreshold: f.threshold,
		RecoveryShares: f.recoveryShares, RecoveryThreshold: f.recoveryThreshold}
	var err error
	if req.PGPKeys, err = b.publicKeys(f.pgpKeys); err == nil {
		req.RecoveryPGPKeys, err = b.publicKeys(f.recoveryPGPKeys)
	}
	if err == nil && f.rootPGPKey != "" {
		req.RootTokenPGPKey, err = b.publicKey(f.rootPGPKey)
	}
	if err != nil {
		b.errorf("Error: %v", err)
		return exitLocal
	}
	status, code := b.sealStatus(client)
	if status == nil {
		return code
	}
	auto := status.auto()
	fillIn(req, auto)
	answer := &api.InitResponse{}
	if err := call(client, http.MethodPut, "sys/init", req, answer); err != nil {
		return b.fail("initializing", err)
	}
	if b.format() != "table" {
		return b.encode(machineInit(req, answer))
	}
	b.showInit(req, answer, auto)
	return exitOK
}

// fillIn puts the defaults where nothing was given, for the kind of seal that is there. What was
// given for the other kind is sent as well: the server's refusal explains it best.
func fillIn(req *api.InitRequest, auto bool) {
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
}

func machineInit(req *api.InitRequest, a *api.InitResponse) machineReadableInit {
	return machineReadableInit{
		UnsealKeysB64: a.KeysB64, UnsealKeysHex: a.Keys, UnsealShares: req.SecretShares, UnsealThreshold: req.SecretThreshold,
		RecoveryKeysB64: a.RecoveryKeysB64, RecoveryKeysHex: a.RecoveryKeys,
		RecoveryKeysShares: req.RecoveryShares, RecoveryKeysThreshold: req.RecoveryThreshold,
		RootToken: a.RootToken,
	}
}

func (b *base) showInit(req *api.InitRequest, a *api.InitResponse, auto bool) {
	for i, k := range a.KeysB64 {
		b.printf("Unseal Key %d: %s\n", i+1, k)
	}
	for i, k := range a.RecoveryKeysB64 {
		b.printf("Recovery Key %d: %s\n", i+1, k)
	}
	if len(a.KeysB64)+len(a.RecoveryKeysB64) > 0 {
		b.printf("\n")
	}
	b.printf("Initial Root Token: %s\n\n", a.RootToken)
	if auto {
		b.printf("Success! Vault is initialized\n")
		if len(a.RecoveryKeysB64) > 0 {
			b.printf(`
The recovery key was split into %d key shares, and any %d of them authorise what needs
a quorum. Give each share to another person now: it is not shown again.
`, req.RecoveryShares, req.RecoveryThreshold)
		}
		return
	}
	b.printf(`Vault initialized with %d key shares and a key threshold of %d. Give each share to
another person now: it is not shown again.

The server is sealed now and after every start: %d of these shares unseal it, given
to "sealgate operator unseal" one by one, in any order.

The root key behind the shares is stored nowhere in clear. With fewer than %d shares left, the
data cannot be read by anyone. "sealgate operator rekey" makes a new set of shares.
`, req.SecretShares, req.SecretThreshold, req.SecretThreshold, req.SecretThreshold)
}
