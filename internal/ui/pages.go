package ui

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The operators' pages, in the order of the navigation.
var pages []*page

func init() { // not a literal: the pages' functions refer to the list
	pages = []*page{
		sealsPage(), startPage(), transcriptPage(), keysPage(), clusterPage(), snapshotsPage(), auditPage(),
		tokensPage(), policiesPage(), authPage(),
		mountsPage(), transitPage(),
		tenantsPage(), xksPage(), kmsPage(),
	}
}

// sealsData is the page of seals: their state here, and what the cluster survives.
type sealsData struct {
	*sealStatus
	List struct {
		Policy     string
		Losses     []string
		Survives   string `json:"survives_text"`
		Members    []struct{ Name string }
		Candidates []struct{ Name, Type string }
		Nodes      []struct {
			Node   string
			Active bool
			Note   string
		}
	}
	Forecast forecast
}

// forecast is sys/seals/forecast.
type forecast struct {
	Text           string
	WouldUnseal    bool     `json:"would_unseal"`
	AllNodes       bool     `json:"all_nodes"`
	CriticalLosses []string `json:"critical_losses"`
	Expires        []struct{ Seal, What, At, Node string }
	Nodes          []struct {
		Node        string
		Active      bool
		WouldUnseal bool `json:"would_unseal"`
		Cause       string
	}
}

func sealsPage() *page {
	name := field{Name: "name", Label: "Seal", Kind: "text", Required: true, Hint: "Its name in the configuration."}
	return &page{
		slug: "seals", title: "seals", group: "operate",
		intro: "Each seal protects the root key on its own. A restart needs as many of them as the policy says.",
		cli:   []string{"sealgate operator seals list", "sealgate operator forecast"},
		load: func(q *query) (any, error) {
			s, err := q.sealStatus()
			if err != nil {
				return nil, err
			}
			d := sealsData{sealStatus: s}
			if err := q.get("sys/seals/forecast", &d.Forecast); err != nil {
				return d, err
			}
			err = q.get("sys/seals", &d.List)
			return d, err
		},
		actions: []action{
			{
				Name: "verify", Title: "Prove all seals now", Path: "sys/seals/verify", Sudo: true,
				Intro: "Each seal decrypts what it protects, and the result is shown above.",
				CLI:   "sealgate operator seals verify", Done: "The seals were asked; the result is on the page.",
			},
			{
				Name: "rewrap", Title: "Wrap the root key again", Path: "sys/seals/rewrap", Sudo: true,
				Intro: "Wraps the root key with the newest version of each seal's key. Data stays as it is.",
				CLI:   "sealgate operator seals rewrap", Done: "The root key was wrapped again by each seal.",
			},
			{
				Name: "add", Title: "Add a seal", Path: "sys/seals/add", Sudo: true, Fields: []field{name}, Result: "change",
				Intro: "Put its stanza into the configuration of every node, and send each a SIGHUP. The seal is added once " +
					"every node has proven that it can use it; until then, send this form again.",
				CLI: "sealgate operator seals add <name>",
			},
			{
				Name: "policy", Title: "Change the policy", Path: "sys/seals/policy", Sudo: true, Result: "change",
				Intro: "To need fewer seals takes a quorum of shares: start the ceremony with sealgate operator authorize " +
					"-purpose=seals -init -change=\"policy <threshold>\".",
				CLI: "sealgate operator seals policy '<policy>'",
				Fields: []field{{Name: "policy", Label: "Policy", Kind: "text", Required: true,
					Hint: "Each member once: any of them is any(hsm, kms), two of three is 2 of (hsm, kms, custodians), groups are " +
						"any(hsm_a, hsm_b) and kms."}},
			},
			{
				Name: "rotate-key", Title: "Replace a seal's key", Path: "sys/seals/rotate-key", Sudo: true,
				Fields: []field{name}, Result: "change", CLI: "sealgate operator seals rotate-key <name>",
				Intro: "Makes a new key, or a new version, in the device or service, and wraps the root key with it once every " +
					"node has proven it. The old one stays readable for older snapshots.",
			},
			{
				Name: "retire", Title: "End the use of an old key", Path: "sys/seals/retire", Sudo: true, Danger: true,
				Confirm: "retire", Result: "change", CLI: "sealgate operator seals retire <name> -key=<key>",
				Intro: "The answer names the snapshots that still need the key.",
				Fields: []field{name, {Name: "key", Label: "Id or version of the old key", Kind: "text", omit: true,
					Hint: "Empty: the only one."}},
			},
			{
				Name: "remove", Title: "Remove a seal", Path: "sys/seals/remove", Sudo: true, Danger: true, Confirm: "remove",
				Intro: "Needs a quorum of shares: start the ceremony with sealgate operator authorize -purpose=seals -init " +
					"-change=\"remove <name>\". Older snapshots still need this seal.",
				CLI: "sealgate operator seals remove <name>", Fields: []field{name}, Result: "change",
			},
			{
				Name: "seal", Title: "Seal this server", Path: "sys/seal", Sudo: true, Danger: true, Confirm: "seal",
				Intro: "Stops serving at once. An automatic seal does not open it again until a restart.",
				CLI:   "sealgate operator seal", Done: "The server is sealed.",
			},
		},
	}
}

// startPage starts and cancels ceremonies.
func startPage() *page {
	rekey := func(name, title, path, target, cli string) action {
		return action{
			Name: name, Title: title, Path: path, CLI: cli,
			Intro: "Custodians then give their " + target + " on the ceremony's page; this page needs no share.",
			Fields: []field{
				{Name: "secret_shares", Label: "Shares", Kind: "number", Required: true, Value: "5"},
				{Name: "secret_threshold", Label: "Threshold", Kind: "number", Required: true, Value: "3",
					Hint: "How many shares act together."},
				{Name: "holders", Label: "Holders", Kind: "lines",
					Hint: "One name a line, in the order of the shares. May be empty."},
				{Name: "pgp_keys", Label: "Keys of the holders", Kind: "blocks",
					Hint: "One for each share: a PGP public key in armour or base64, or an age recipient a line. " +
						"Without keys, the holder who gives the last share sees all new shares."},
				{Name: "require_verification", Label: "Verify the new shares before they count", Kind: "flag", Value: "on"},
				{Name: "backup", Label: "Keep the encrypted shares on the server too", Kind: "flag"},
			},
			Done: "The ceremony has begun. Give its page to the custodians.",
		}
	}
	cancel := func(name, title, path, cli string) action {
		return action{Name: name, Title: title, Path: path, Method: http.MethodDelete, CLI: cli, Danger: true,
			Confirm: "cancel", Done: "The ceremony was cancelled. The present shares stay in force."}
	}
	return &page{
		slug: "ceremonies", title: "start a ceremony", group: "operate",
		intro: "A ceremony collects shares from a quorum of custodians. All of them see the same progress.",
		cli:   []string{"sealgate operator rekey -init -target=recovery"},
		load:  loadCeremonies,
		actions: []action{
			rekey("recovery", "New recovery shares", "sys/rekey-recovery-key/init", "recovery shares",
				"sealgate operator rekey -init -target=recovery -key-shares=<secret_shares> -key-threshold=<secret_threshold>"),
			rekey("unseal", "New unseal shares", "sys/rekey/init", "unseal shares",
				"sealgate operator rekey -init -key-shares=<secret_shares> -key-threshold=<secret_threshold>"),
			{
				Name: "root", Title: "A new root token", Path: "sys/generate-root/attempt",
				CLI: "sealgate operator generate-root -init", Result: "otp",
				Intro: "The quorum makes a token that may do everything. You get a one-time password, and later need it " +
					"to decode the token.",
				Fields: []field{{Name: "pgp_key", Label: "PGP key", Kind: "area", omit: true,
					Hint: "Encrypts the token, in place of a one-time password. May be empty."}},
			},
			{
				Name: "break-glass", Title: "Enrolment for break-glass", Path: "sys/break-glass/enroll/attempt", Sudo: true,
				CLI: "sealgate operator break-glass enroll -init",
				Intro: "The custodians' recovery shares can decrypt from then on, so that the data survives the loss of every " +
					"seal. They give their shares on the ceremony's page.",
				Done: "The ceremony has begun. Give its page to the custodians: /ui/ceremony/break-glass-enroll",
			},
			cancel("cancel-recovery", "Cancel: new recovery shares", "sys/rekey-recovery-key/init",
				"sealgate operator rekey -cancel -target=recovery"),
			cancel("cancel-unseal", "Cancel: new unseal shares", "sys/rekey/init", "sealgate operator rekey -cancel"),
			cancel("cancel-root", "Cancel: a new root token", "sys/generate-root/attempt",
				"sealgate operator generate-root -cancel"),
		},
	}
}

// startData is the page of ceremonies: those under way, the holders, and the records.
type startData struct {
	Running []ceremonyData
	Sets    map[string]holderSet
}

type holderSet struct {
	Created    string
	Generation int
	Shares     int
	Threshold  int
	Holders    []struct {
		Name       string
		Number     int
		LastProven string `json:"last_proven"`
	}
}

func loadCeremonies(q *query) (any, error) {
	var d startData
	for _, k := range kinds {
		var p progress
		if q.get(k.Path+"/"+k.Start, &p) == nil && p.Started {
			d.Running = append(d.Running, ceremonyData{Kind: k, Progress: p})
		}
	}
	err := q.get("sys/recovery/holders", &d.Sets)
	return d, err
}

func clusterPage() *page {
	return &page{
		slug: "cluster", title: "cluster", group: "operate",
		intro: "One node is active; the others forward to it and take over.",
		cli:   []string{"sealgate operator members"},
		load: func(q *query) (any, error) {
			var d struct {
				Nodes []struct {
					Hostname       string
					APIAddress     string `json:"api_address"`
					ClusterAddress string `json:"cluster_address"`
					ActiveNode     bool   `json:"active_node"`
					LastEcho       string `json:"last_echo"`
					Version        string
				}
			}
			err := q.get("sys/ha-status", &d)
			return d, err
		},
		actions: []action{{
			Name: "step-down", Title: "Let another node lead", Path: "sys/step-down", Sudo: true, Danger: true,
			Confirm: "step down", CLI: "sealgate operator step-down", Done: "The active node stepped down.",
			Intro: "The active node becomes a standby. Requests wait for the next leader.",
		}},
	}
}

// snapshotsData is the page of snapshots.
type snapshotsData struct {
	*sealStatus
	List struct {
		Schedules []struct {
			Name, Target, Next string
			Overdue            bool
			Last               struct{ Verified, Snapshot, Failing, Error string }
		}
	}
}

func snapshotsPage() *page {
	return &page{
		slug: "snapshots", title: "snapshots", group: "operate",
		intro: "A snapshot is a consistent copy of all data. It stays encrypted: opening it takes the seals or shares of " +
			"its time.",
		cli: []string{"sealgate operator snapshot save FILE", "sealgate operator snapshot inspect FILE",
			"sealgate operator snapshot restore FILE", "sealgate operator snapshot schedules"},
		load: func(q *query) (any, error) {
			s, err := q.sealStatus()
			if err != nil {
				return nil, err
			}
			d := snapshotsData{sealStatus: s}
			err = q.get("sys/snapshots", &d.List)
			return d, err
		},
		actions: []action{},
	}
}

func auditPage() *page {
	return &page{
		slug: "audit", title: "audit devices", group: "operate",
		intro: "Every request is recorded by every device before it is answered. Where none can record, nothing is answered.",
		cli:   []string{"sealgate audit list -detailed"},
		load: func(q *query) (any, error) {
			d := map[string]struct {
				Type, Description string
				Options           map[string]any
			}{}
			err := q.get("sys/audit", &d)
			return d, err
		},
		actions: []action{
			{
				Name: "enable", Title: "Enable a device", Path: "sys/audit/{path}", Sudo: true,
				CLI: "sealgate audit enable -path=<path> <type> file_path=<file_path>",
				Fields: []field{
					{Name: "path", Label: "Name", Kind: "text", Required: true, Value: "file", inPath: true},
					{Name: "type", Label: "Type", Kind: "choice", Values: []string{"file", "syslog", "socket"}, Value: "file"},
					{Name: "file_path", Label: "File", Kind: "text", omit: true,
						Hint: "For a file: below the log folders of the configuration, or stdout."},
					{Name: "description", Label: "Description", Kind: "text", omit: true},
				},
				prepare: func(body map[string]any) error {
					if path, ok := body["file_path"]; ok {
						body["options"] = map[string]any{"file_path": path}
						delete(body, "file_path")
					}
					return nil
				},
				Done: "The device is enabled.",
			},
			{
				Name: "disable", Title: "Disable", Path: "sys/audit/{path}", Method: http.MethodDelete, Sudo: true, Row: true,
				Danger: true, CLI: "sealgate audit disable <path>", Done: "The device is disabled.",
				Fields: []field{{Name: "path", Label: "Name", Kind: "hidden", Required: true, inPath: true}},
			},
		},
	}
}

// tokenRow is one token.
type tokenRow struct {
	Accessor    string
	DisplayName string `json:"display_name"`
	Policies    []string
	TTL         int64  `json:"ttl"`
	ExpireTime  string `json:"expire_time"`
	Orphan      bool
	Type        string
}

// shownTokens bounds the lookups of the tokens' page.
const shownTokens = 50

func tokensPage() *page {
	return &page{
		slug: "tokens", title: "tokens", group: "access",
		intro: "A token carries policies and ends with its time. Revoking one revokes its children.",
		cli:   []string{"sealgate list auth/token/accessors", "sealgate token lookup -accessor ACCESSOR"},
		load:  loadTokens,
		actions: []action{
			{
				Name: "create", Title: "Create a token", Path: "auth/token/create",
				CLI: "sealgate token create -policy=<policies> -ttl=<ttl> -display-name=<display_name>", Result: "token",
				Fields: []field{
					{Name: "policies", Label: "Policies", Kind: "lines", Required: true, Hint: "One a line."},
					{Name: "ttl", Label: "Time to live", Kind: "text", Value: "1h", Hint: "Such as 30m, 24h."},
					{Name: "display_name", Label: "Name in the audit log", Kind: "text", omit: true},
					{Name: "num_uses", Label: "Uses", Kind: "number", Hint: "Empty: no limit."},
				},
			},
			{
				Name: "revoke", Title: "Revoke", Path: "auth/token/revoke-accessor", Row: true, Danger: true,
				CLI: "sealgate token revoke -accessor <accessor>", Done: "The token and its children are revoked.",
				Fields: []field{{Name: "accessor", Label: "Accessor", Kind: "hidden", Required: true}},
			},
		},
	}
}

func loadTokens(q *query) (any, error) {
	var d struct {
		Self   tokenRow
		Tokens []tokenRow
		More   int
	}
	if err := q.get("auth/token/lookup-self", &d.Self); err != nil {
		return d, err
	}
	all, err := q.list("auth/token/accessors")
	if err != nil {
		return d, err
	}
	if len(all) > shownTokens {
		d.More = len(all) - shownTokens
		all = all[:shownTokens]
	}
	for _, accessor := range all {
		var t tokenRow
		if q.post("auth/token/lookup-accessor", map[string]any{"accessor": accessor}, &t) == nil {
			d.Tokens = append(d.Tokens, t) // others expired meanwhile
		}
	}
	return d, nil
}

func authPage() *page {
	return &page{
		slug: "auth", title: "auth methods", group: "access",
		intro: "An auth method proves who a client is, and gives a token with policies.",
		cli:   []string{"sealgate auth list"},
		load:  func(q *query) (any, error) { return q.mounts("sys/auth") },
		actions: []action{
			{
				Name: "enable", Title: "Enable a method", Path: "sys/auth/{path}", Sudo: true,
				CLI: "sealgate auth enable -path=<path> <type>",
				Fields: []field{
					{Name: "type", Label: "Type", Kind: "choice", Value: "userpass",
						Values: []string{"userpass", "approle", "cert", "jwt", "oidc", "kubernetes"}},
					{Name: "path", Label: "Path", Kind: "text", Required: true, Value: "userpass", inPath: true},
					{Name: "description", Label: "Description", Kind: "text", omit: true},
				},
				Done: "The method is enabled.",
			},
			{
				Name: "user", Title: "Save a user", Path: "auth/{mount}/users/{username}",
				Intro: "For methods of type userpass.",
				CLI:   "sealgate write auth/<mount>/users/<username> token_policies=<token_policies> password=-",
				Fields: []field{
					{Name: "mount", Label: "Path of the method", Kind: "text", Required: true, Value: "userpass", inPath: true},
					{Name: "username", Label: "User name", Kind: "text", Required: true, inPath: true},
					{Name: "password", Label: "Password", Kind: "password", omit: true, Hint: "Empty: unchanged."},
					{Name: "token_policies", Label: "Policies", Kind: "lines", Hint: "One a line."},
				},
				Done: "The user is saved.",
			},
			{
				Name: "disable", Title: "Disable", Path: "sys/auth/{path}", Method: http.MethodDelete, Sudo: true, Row: true,
				Danger: true, CLI: "sealgate auth disable <path>",
				Done:   "The method is disabled, and its tokens are revoked.",
				Fields: []field{{Name: "path", Label: "Path", Kind: "hidden", Required: true, inPath: true}},
			},
		},
	}
}

func mountsPage() *page {
	return &page{
		slug: "engines", title: "secrets engines", group: "data",
		intro: "A secrets engine serves everything below its path.",
		cli:   []string{"sealgate secrets list"},
		load:  func(q *query) (any, error) { return q.mounts("sys/mounts") },
		actions: []action{
			{
				Name: "enable", Title: "Enable an engine", Path: "sys/mounts/{path}",
				CLI: "sealgate secrets enable -path=<path> <type>",
				Fields: []field{
					{Name: "type", Label: "Type", Kind: "choice", Value: "kv-v2", Values: []string{"kv-v2", "kv", "transit"}},
					{Name: "path", Label: "Path", Kind: "text", Required: true, inPath: true},
					{Name: "description", Label: "Description", Kind: "text", omit: true},
				},
				Done: "The engine is enabled.",
			},
			{
				Name: "disable", Title: "Disable and delete its data", Path: "sys/mounts/{path}", Method: http.MethodDelete,
				Row: true, Danger: true, CLI: "sealgate secrets disable <path>",
				Done:   "The engine is disabled, and its data is deleted.",
				Fields: []field{{Name: "path", Label: "Path", Kind: "hidden", Required: true, inPath: true}},
			},
		},
	}
}

// mountRow is one mount.
type mountRow struct {
	Path, Type, Description string
	Options                 map[string]string
	Config                  struct {
		Default int64 `json:"default_lease_ttl"`
		Max     int64 `json:"max_lease_ttl"`
	}
}

// mounts lists the mounts of a table, by path.
func (q *query) mounts(path string) ([]mountRow, error) {
	all := map[string]mountRow{}
	if err := q.get(path, &all); err != nil {
		return nil, err
	}
	var rows []mountRow
	for path, m := range all {
		m.Path = strings.TrimSuffix(path, "/")
		rows = append(rows, m)
	}
	slices.SortFunc(rows, func(a, b mountRow) int { return strings.Compare(a.Path, b.Path) })
	return rows, nil
}

// transitKey is one key of a transit engine.
type transitKey struct {
	Mount, Name, Type string
	LatestVersion     int  `json:"latest_version"`
	MinDecryption     int  `json:"min_decryption_version"`
	DeletionAllowed   bool `json:"deletion_allowed"`
	Exportable        bool
	SoftDeleted       bool `json:"soft_deleted"`
}

// shownKeys bounds the reads of the transit page.
const shownKeys = 100

func transitPage() *page {
	one := []field{
		{Name: "mount", Label: "Path", Kind: "hidden", Required: true, inPath: true},
		{Name: "name", Label: "Name", Kind: "hidden", Required: true, inPath: true},
	}
	return &page{
		slug: "transit", title: "transit keys", group: "data",
		intro: "Keys that encrypt and sign for other systems, and unseal other clusters. They never leave the server.",
		cli:   []string{"sealgate list transit/keys", "sealgate read transit/keys/NAME"},
		load:  loadTransit,
		actions: []action{
			{
				Name: "create", Title: "Create a key", Path: "{mount}/keys/{name}",
				CLI: "sealgate write -force <mount>/keys/<name> type=<type>",
				Fields: []field{
					{Name: "mount", Label: "Path of the engine", Kind: "text", Required: true, Value: "transit", inPath: true},
					{Name: "name", Label: "Name", Kind: "text", Required: true, inPath: true},
					{Name: "type", Label: "Type", Kind: "choice", Value: "aes256-gcm96", Values: []string{"aes256-gcm96",
						"aes128-gcm96", "chacha20-poly1305", "ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096", "hmac"}},
				},
				Done: "The key is there.",
			},
			{
				Name: "rotate", Title: "Rotate", Path: "{mount}/keys/{name}/rotate", Row: true,
				CLI: "sealgate write -force <mount>/keys/<name>/rotate", Done: "The key has a new version.", Fields: one,
			},
			{
				Name: "stop", Title: "Stop", Path: "{mount}/keys/{name}/soft-delete", Method: http.MethodDelete, Row: true,
				Danger: true, CLI: "sealgate delete <mount>/keys/<name>/soft-delete", Fields: one,
				Done: "Every use of the key is refused from now on. Nothing is lost.",
			},
			{
				Name: "start", Title: "Allow again", Path: "{mount}/keys/{name}/soft-delete-restore", Row: true, Fields: one,
				CLI: "sealgate write -force <mount>/keys/<name>/soft-delete-restore", Done: "The key may be used again.",
			},
		},
	}
}

func loadTransit(q *query) (any, error) {
	var d struct {
		Keys []transitKey
		More int
		Open *keyVersions // that the page shows in full
	}
	if path := q.r.URL.Query().Get("key"); path != "" {
		var err error
		if d.Open, err = q.versions(path); err != nil {
			return d, err
		}
	}
	var visible struct {
		Secret map[string]struct{ Type string }
	}
	if err := q.get("sys/internal/ui/mounts", &visible); err != nil {
		return d, err
	}
	for path, m := range visible.Secret {
		if m.Type != "transit" {
			continue
		}
		names, err := q.list(path + "keys")
		if err != nil {
			return d, err
		}
		for _, name := range names {
			if len(d.Keys) >= shownKeys {
				d.More++
				continue
			}
			k := transitKey{Mount: strings.TrimSuffix(path, "/"), Name: name}
			if err := q.get(path+"keys/"+name, &k); err != nil {
				return d, err
			}
			k.Name = name
			d.Keys = append(d.Keys, k)
		}
	}
	slices.SortFunc(d.Keys, func(a, b transitKey) int {
		return strings.Compare(fmt.Sprint(a.Mount, "/", a.Name), fmt.Sprint(b.Mount, "/", b.Name))
	})
	return d, nil
}
