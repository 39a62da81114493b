package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// sealCommands show and change which seals hold the root key.
var sealCommands = []func(*base) *command{
	sealsListCommand, sealsVerifyCommand, sealsAddCommand, sealsRemoveCommand, sealsPolicyCommand, sealsRewrapCommand,
	sealsRotateKeyCommand, sealsRetireCommand, forecastCommand,
}

// sealSet is the response of sys/seals.
type sealSet struct {
	Policy     string        `json:"policy"`
	Threshold  int           `json:"threshold"`
	Generation uint64        `json:"generation"`
	Members    []sealMember  `json:"members"`
	Candidates []backendSeal `json:"candidates"`
	Losses     []string      `json:"losses"`
	Survives   string        `json:"survives_text"`
	Nodes      []sealNode    `json:"nodes"`
	Warnings   []string      `json:"warnings"`
}

type sealMember struct {
	backendSeal
	OtherKeys []struct {
		KeyID      string `json:"key_id"`
		KeyVersion string `json:"key_version"`
		State      string `json:"state"`
		Since      string `json:"since"`
		Snapshots  int    `json:"snapshots"`
	} `json:"other_keys"`
}

type sealNode struct {
	Node   string `json:"node"`
	Active bool   `json:"active"`
	Note   string `json:"note"`
	Seals  []struct {
		Name        string `json:"name"`
		Configured  bool   `json:"configured"`
		WouldUnseal bool   `json:"would_unseal"`
		LastProof   string `json:"last_proof"`
		Class       string `json:"failure_class"`
	} `json:"seals"`
}

// sealChange is the response of a change of the seals.
type sealChange struct {
	Done       bool     `json:"done"`
	Policy     string   `json:"policy"`
	Generation uint64   `json:"generation"`
	Waiting    []string `json:"waiting"`
	Warnings   []string `json:"warnings"`
}

func sealsListCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator seals list", synopsis: "Show the seals that hold the root key",
		about: `Shows the seals that hold the root key, how many of them unseal, the keys and versions that are needed,
which losses the set survives, and what each node of the cluster has proven. Needs "read" and "sudo" on sys/seals.`,
		run: func([]string) int {
			return b.withClient(func(c *api.Client) int { return showSeals(b, c, http.MethodGet, "sys/seals") })
		}}
}

func sealsVerifyCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator seals verify", synopsis: "Prove now that each seal would unseal",
		about: `Makes the active node decrypt its part of the root key with each seal now, asks for the state of the keys,
and shows the result as "operator seals list" does. Needs "update" and "sudo" on sys/seals/verify.`,
		run: func([]string) int {
			return b.withClient(func(c *api.Client) int { return showSeals(b, c, http.MethodPut, "sys/seals/verify") })
		}}
}

func showSeals(b *base, client *api.Client, method, path string) int {
	var raw json.RawMessage
	if err := callData(context.Background(), client, method, path, nil, &raw); err != nil {
		return b.fail("reading the seals", err)
	}
	if b.format() != "table" {
		return encodeRaw(b, raw)
	}
	var s sealSet
	if err := json.Unmarshal(raw, &s); err != nil {
		return b.fail("reading the seals", fmt.Errorf("unexpected response: %w", err))
	}
	b.warnings(s.Warnings)
	var p pairs
	p.add("Policy", s.Policy)
	p.add("Generation", s.Generation)
	for _, l := range s.Losses {
		p.add("Losses", l)
	}
	if s.Survives != "" {
		p.add("Loss Of Every Seal", s.Survives)
	}
	b.printf("%s\n", p)
	rows := [][]string{}
	for _, m := range s.Members {
		version := "-"
		if len(m.Needed) > 0 {
			version = cmp.Or(m.Needed[0].KeyVersion, "-")
		}
		rows = append(rows, []string{m.Name, m.Type, "yes", yesNo(m.WouldUnseal), version, m.KeyState, m.LastProof})
	}
	for _, m := range s.Candidates {
		rows = append(rows, []string{m.Name, m.Type, "no", "no", "-", m.KeyState, ""})
	}
	b.printf("%s\n", table([]string{"Seal", "Type", "Holds Root Key", "Would Unseal", "Version Needed", "Key State",
		"Last Proof"}, rows))
	b.printf("%s", table([]string{"Node", "Active", "Seal", "Would Unseal", "Last Proof"}, nodeRows(s.Nodes)))
	if keys := otherKeyRows(s.Members); len(keys) > 0 {
		b.printf("\n%s", table([]string{"Seal", "Other Key", "Version", "State", "Since", "Needed By Snapshots"}, keys))
	}
	return exitOK
}

// otherKeyRows lists the keys that the seals had before, or that are to replace theirs.
func otherKeyRows(members []sealMember) (rows [][]string) {
	for _, m := range members {
		for _, k := range m.OtherKeys {
			rows = append(rows, []string{m.Name, k.KeyID, cmp.Or(k.KeyVersion, "-"), k.State, k.Since,
				strconv.Itoa(k.Snapshots)})
		}
	}
	return rows
}

func nodeRows(nodes []sealNode) [][]string {
	rows := [][]string{}
	for _, n := range nodes {
		if n.Note != "" {
			rows = append(rows, []string{n.Node, yesNo(n.Active), "-", "unknown", n.Note})
		}
		for _, s := range n.Seals {
			would := yesNo(s.WouldUnseal)
			switch {
			case !s.Configured:
				would = "not configured"
			case s.Class != "":
				would = "no: " + s.Class
			}
			rows = append(rows, []string{n.Node, yesNo(n.Active), s.Name, would, s.LastProof})
		}
	}
	return rows
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

func sealsAddCommand(b *base) *command {
	b.formatted()
	policy, replaces := "", ""
	b.flags.StringVar(&policy, "policy", "", "the `policy` with the new seal, as \"operator seals policy\" takes it")
	b.flags.StringVar(&replaces, "replaces", "", "take the root key from these seals in the same commit, because they "+
		"are lost: `NAME`,...")
	b.own("policy", "replaces")
	b.nonEmpty("policy", "replaces")
	return &command{base: b, name: "operator seals add", args: "NAME", least: 1, most: 1,
		synopsis: "Make a configured seal hold the root key too",
		about: `Makes the seal NAME hold the root key too, while the servers serve. Add its stanza to the configuration of
every node first. The nodes read it themselves, and each proves with its own credentials that it can use the seal; only
then does the seal enter the sealed record, in one commit. The threshold of the policy stays; where the policy has
groups, -policy says where NAME belongs.

With -replaces, the named seals lose the root key in the same commit, as by "operator seals remove": they are not asked,
so they may be lost. That needs a quorum of shares (operator authorize -purpose=seals -change="replace LOST with NAME").

The exit code is 2 while a node has not proven the seal: correct what the node reports and repeat the command. Needs
"update" and "sudo" on sys/seals/add.`,
		run: func(args []string) int {
			body := map[string]any{"name": args[0]}
			if policy != "" {
				body["policy"] = policy
			}
			if replaces != "" {
				body["replaces"] = strings.Split(replaces, ",")
			}
			return changeSeals(b, "sys/seals/add", body, "adding the seal")
		}}
}

func sealsRemoveCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator seals remove", args: "NAME", least: 1, most: 1,
		synopsis: "Take the root key from a seal",
		about: `Takes the root key from the seal NAME, in one commit: the other seals wrap a new root key, so that nothing
which NAME ever wrapped opens what is written from now on. NAME need not be available. Remove its stanza from the
configuration of every node afterwards. It lessens what can unseal the server, so it needs a quorum of shares besides
"update" and "sudo" on sys/seals/remove.`,
		run: func(args []string) int {
			return changeSeals(b, "sys/seals/remove", map[string]any{"name": args[0]}, "removing the seal")
		}}
}

func sealsPolicyCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator seals policy", args: "THRESHOLD | POLICY", least: 1, most: 1,
		synopsis: "Change which seals are needed to unseal",
		about: `Changes which of the seals that hold the root key are needed to unseal: a number of them, 1 means any; or a
policy that names each of them once, with groups one level deep.

    $ sealgate operator seals policy 2
    $ sealgate operator seals policy "any(hsm_a, hsm_b) and custodians"
    $ sealgate operator seals policy "2 of (hsm, any(kms_a, kms_b), custodians)"

To need more, run this command and change seal_policy in the configuration of every node afterwards; each node must have
proven every seal. To need less, change seal_policy and reload the nodes (SIGHUP) first, and have a quorum of shares
authorise it. A program before this version cannot read a record with groups: install this version on every node first,
and remove the groups before an older one is installed again. Needs "update" and "sudo" on sys/seals/policy.`,
		run: func(args []string) int {
			body := map[string]any{"policy": args[0]}
			threshold, err := strconv.Atoi(args[0])
			switch {
			case err == nil && threshold >= 1:
				body = map[string]any{"threshold": threshold}
			case err == nil || !strings.ContainsAny(args[0], "( "):
				b.errorf("THRESHOLD is a number of seals, at least 1; a POLICY is written as in \"any(hsm_a, hsm_b) and kms\"")
				return exitLocal
			}
			return changeSeals(b, "sys/seals/policy", body, "changing the seal policy")
		}}
}

func sealsRewrapCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator seals rewrap", args: "[NAME]", most: 1,
		synopsis: "Wrap the root key again by the newest version of a seal's key",
		about: `Makes the seal NAME, or every seal, wrap its part of the root key again by the newest version of its key.
The server does so automatically when a key gets a new version. Needs "update" and "sudo" on sys/seals/rewrap.`,
		run: func(args []string) int {
			body := map[string]any{}
			if len(args) > 0 {
				body["name"] = args[0]
			}
			return changeSeals(b, "sys/seals/rewrap", body, "rewrapping the root key")
		}}
}

func sealsRotateKeyCommand(b *base) *command {
	b.formatted()
	keyID := ""
	b.flags.StringVar(&keyID, "key-id", "", "use this key, which was made by other means, instead of a new one: its "+
		"CKA_ID in hexadecimal")
	b.own("key-id")
	return &command{base: b, name: "operator seals rotate-key", args: "NAME", least: 1, most: 1,
		synopsis: "Make a new key of a seal, or a new version of it",
		about: `Makes a new key of the seal NAME and wraps the root key by it, in one commit. The old one stays readable;
snapshots from before need it, until "operator seals retire" ends that.

In an HSM the new key has the same label and a new CKA_ID, so no configuration changes; the stanza must select the key
by key_label alone. Every node proves first that it can use the key, and the exit code is 2 until all have: correct what
they report and repeat the command, which continues. Where the HSM does not let this server make keys, make one with the
vendor's tools and give its id with -key-id.

transit, awskms and gcpckms make a new version, with "update" on keys/NAME/rotate, kms:RotateKeyOnDemand, or
roles/cloudkms.admin on the key. A key that is rotated where it is, in a cloud, is followed automatically. For other
seals, add a second seal with the new key and remove the first. Needs "update" and "sudo" on sys/seals/rotate-key.`,
		run: func(args []string) int {
			body := map[string]any{"name": args[0]}
			if keyID != "" {
				body["key_id"] = keyID
			}
			return changeSeals(b, "sys/seals/rotate-key", body, "rotating the seal's key")
		}}
}

func sealsRetireCommand(b *base) *command {
	b.formatted()
	key, destroy := "", false
	b.flags.StringVar(&key, "key", "", "the id or version of the old key; needed where the seal has several")
	b.flags.BoolVar(&destroy, "destroy", false, "destroy the key, where the seal's provider can; snapshots that need it "+
		"cannot be opened by this seal then")
	b.own("key", "destroy")
	return &command{base: b, name: "operator seals retire", args: "NAME", least: 1, most: 1,
		synopsis: "End the use of an old key of a seal",
		about: `Ends the use of a key that the seal NAME had before a rotation ("operator seals list" shows them), or of one
that was to replace the seal's and does not. It warns of recent snapshots that need the key. Without -destroy the key
stays where it is; where mounts may use it from then on, because its seal was removed or has another key, that needs a
quorum of shares: see "operator authorize".

With -destroy the key is destroyed (pkcs11), or its version scheduled for destruction (gcpckms). That needs a quorum
of shares too. A key that this server made for a rotation that was not finished needs none. Needs
"update" and "sudo" on sys/seals/retire.`,
		run: func(args []string) int {
			body := map[string]any{"name": args[0], "destroy": destroy}
			if key != "" {
				body["key"] = key
			}
			return changeSeals(b, "sys/seals/retire", body, "retiring the old key")
		}}
}

// changeSeals requests a change of the seals, and prints its result.
func changeSeals(b *base, path string, body map[string]any, doing string) int {
	return b.withClient(func(client *api.Client) int {
		var raw json.RawMessage
		if err := callData(context.Background(), client, http.MethodPut, path, body, &raw); err != nil {
			return b.fail(doing, err)
		}
		var c sealChange
		if err := json.Unmarshal(raw, &c); err != nil {
			return b.fail(doing, fmt.Errorf("unexpected response: %w", err))
		}
		if b.format() != "table" {
			if code := encodeRaw(b, raw); code != exitOK {
				return code
			}
		} else {
			b.warnings(c.Warnings)
			showSealChange(b, &c)
		}
		if !c.Done {
			return exitServer
		}
		return exitOK
	})
}

func showSealChange(b *base, c *sealChange) {
	if !c.Done {
		b.printf("Nothing was changed yet: these nodes have not proven that they can use the seal.\n")
		for _, w := range c.Waiting {
			b.printf("  %s\n", w)
		}
		b.printf("Repeat the command to continue.\n")
		return
	}
	b.printf("Success! The root key is held by: %s (generation %d)\n", c.Policy, c.Generation)
}

// forecastAnswer is the response of sys/seals/forecast.
type forecastAnswer struct {
	WouldUnseal bool     `json:"would_unseal"`
	AllNodes    bool     `json:"all_nodes"`
	Critical    []string `json:"critical_losses"`
	ProvenAt    string   `json:"proven_at"`
	Text        string   `json:"text"`
	Survives    string   `json:"survives_text"`
	Expires     []struct {
		Seal string `json:"seal"`
		What string `json:"what"`
		At   string `json:"at"`
		Node string `json:"node"`
		Soon bool   `json:"soon"`
	} `json:"expires"`
	Dangers []struct {
		Seal   string `json:"seal"`
		What   string `json:"what"`
		Remedy string `json:"remedy"`
		Node   string `json:"node"`
	} `json:"dangers"`
	Nodes []struct {
		Node        string   `json:"node"`
		Active      bool     `json:"active"`
		WouldUnseal bool     `json:"would_unseal"`
		Critical    []string `json:"critical_losses"`
		ProvenAt    string   `json:"proven_at"`
		Cause       string   `json:"cause"`
	} `json:"nodes"`
}

func forecastCommand(b *base) *command {
	b.formatted()
	strict := false
	b.flags.BoolVar(&strict, "strict", false, "the exit code is also 2 if the loss of one seal would make it false, if a "+
		"key is scheduled for destruction, a credential expires soon, or a PIN's tries are used up")
	b.own("strict")
	return &command{base: b, name: "operator forecast",
		synopsis: "Show whether the servers would unseal if they restarted",
		about: `Shows whether each node of the cluster would unseal if all of them restarted now, by what they last proved;
which single loss would make that false; and what ends next: keys that will be destroyed, credentials and certificates
that expire and are not renewed, tries of a PIN. Needs "read" on sys/seals/forecast.

The exit code is 0 if every node would unseal, 2 otherwise, and 1 on a local error.`,
		run: func([]string) int { return b.withClient(func(c *api.Client) int { return forecast(b, c, strict) }) }}
}

func forecast(b *base, client *api.Client, strict bool) int {
	var raw json.RawMessage
	if err := callData(context.Background(), client, http.MethodGet, "sys/seals/forecast", nil, &raw); err != nil {
		return b.fail("reading the forecast", err)
	}
	var f forecastAnswer
	if err := json.Unmarshal(raw, &f); err != nil {
		return b.fail("reading the forecast", fmt.Errorf("unexpected response: %w", err))
	}
	if b.format() != "table" {
		if code := encodeRaw(b, raw); code != exitOK {
			return code
		}
	} else {
		showForecast(b, &f)
	}
	if !f.AllNodes || strict && (len(f.Critical)+len(f.Dangers) > 0 || f.endsSoon()) {
		return exitServer
	}
	return exitOK
}

// endsSoon reports whether a key or a credential ends soon.
func (f *forecastAnswer) endsSoon() bool {
	for _, e := range f.Expires {
		if e.Soon {
			return true
		}
	}
	return false
}

func showForecast(b *base, f *forecastAnswer) {
	b.printf("%s\n", f.Text)
	if f.Survives != "" {
		b.printf("%s\n", f.Survives)
	}
	b.printf("\n")
	rows := [][]string{}
	for _, n := range f.Nodes {
		rows = append(rows, []string{n.Node, yesNo(n.Active), yesNo(n.WouldUnseal),
			cmp.Or(strings.Join(n.Critical, ", "), "-"), cmp.Or(n.ProvenAt, "never")})
	}
	b.printf("%s", table([]string{"Node", "Active", "Would Unseal", "Stays Sealed Without", "Proven At"}, rows))
	for _, n := range f.Nodes {
		if n.Cause != "" {
			b.printf("\n%s: %s\n", n.Node, n.Cause)
		}
	}
	for _, e := range f.Expires {
		b.printf("\n%s: %s at %s\n", e.Seal, e.What, e.At)
	}
	for _, d := range f.Dangers {
		b.printf("\n%s on %s: %s: %s\n", d.Seal, d.Node, d.What, d.Remedy)
	}
}
