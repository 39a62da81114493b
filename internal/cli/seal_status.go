package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// backendStatus is the response of sys/seal-backend-status: Vault's fields and Sealgate's.
type backendStatus struct {
	Healthy      bool          `json:"healthy"`
	FullyWrapped bool          `json:"fully_wrapped"`
	WouldUnseal  *bool         `json:"would_unseal"` // nil: the server is not Sealgate
	Backends     []backendSeal `json:"backends"`
	Warnings     []string      `json:"warnings"`
}

type backendSeal struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Healthy     bool     `json:"healthy"`
	Configured  bool     `json:"configured"`
	LastProof   string   `json:"last_proof"`
	Class       string   `json:"failure_class"`
	Cause       string   `json:"failure"`
	Remedy      string   `json:"remedy"`
	KeyState    string   `json:"key_state"`
	KeyNewest   string   `json:"key_newest_version"`
	Deletion    string   `json:"key_deletion"`
	KeyTrouble  string   `json:"key_state_trouble"`
	RewrapDue   bool     `json:"rewrap_due"`
	Needed      []needed `json:"needed_keys"`
	Unhealthy   string   `json:"unhealthy_since"`
	Protection  string   `json:"key_protection"`
	WouldUnseal bool     `json:"would_unseal"`
}

type needed struct {
	KeyID      string `json:"key_id"`
	KeyVersion string `json:"key_version"`
	For        string `json:"for"`
}

func sealStatusCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator seal-status", synopsis: "Show the health of each seal and the keys that " +
		"are still needed",
		about: `Shows for each seal whether its last attempt to decrypt the stored root key succeeded, and when; the state
of its key; and which versions of the key are still needed. All other versions may be disabled or destroyed. It needs
no token.

The exit code is 0 if every seal would unseal the server and no key is scheduled for deletion, 2 otherwise,
and 1 on an error.`,
		run: func([]string) int { return b.withClient(func(c *api.Client) int { return sealBackends(b, c) }) }}
}

func sealBackends(b *base, client *api.Client) int {
	client.ClearNamespace()
	var raw json.RawMessage
	if err := call(client, http.MethodGet, "sys/seal-backend-status", nil, &raw); err != nil {
		return min(b.fail("checking the seals", err), exitLocal)
	}
	var st backendStatus
	if err := json.Unmarshal(raw, &st); err != nil || st.WouldUnseal == nil {
		return min(b.fail("checking the seals", errors.Join(errors.New("unexpected response: this is not a Sealgate server"),
			err)), exitLocal)
	}
	if b.format() != "table" {
		var all any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&all); err != nil {
			return min(b.fail("checking the seals", err), exitLocal)
		}
		if code := b.encode(all); code != exitOK {
			return code
		}
	} else {
		showBackends(b, &st)
	}
	for _, s := range st.Backends {
		if s.Configured && !s.WouldUnseal || s.Deletion != "" {
			return exitServer
		}
	}
	return exitOK
}

func showBackends(b *base, st *backendStatus) {
	b.warnings(st.Warnings)
	var p pairs
	p.add("Would Unseal", *st.WouldUnseal)
	p.add("Every Seal Healthy", st.Healthy)
	p.add("Fully Wrapped", st.FullyWrapped)
	b.printf("%s\n", p)
	rows, keys := [][]string{}, [][]string{}
	for _, s := range st.Backends {
		would := "no"
		switch {
		case !s.Configured:
			would = "not configured"
		case s.WouldUnseal:
			would = "yes"
		}
		rows = append(rows, []string{s.Name, s.Type, would, s.LastProof, s.KeyState, s.Deletion})
		for _, k := range s.Needed {
			keys = append(keys, []string{s.Name, cmp.Or(k.KeyVersion, "-"), cmp.Or(s.KeyNewest, "-"), k.KeyID, k.For})
		}
	}
	b.printf("%s", table([]string{"Seal", "Type", "Would Unseal", "Last Proof", "Key State", "Key Deletion"}, rows))
	if len(keys) > 0 {
		b.printf("\n%s", table([]string{"Seal", "Version Needed", "Newest", "Key", "For"}, keys))
	}
	for _, s := range st.Backends {
		showTrouble(b, s)
	}
}

// showTrouble prints the problems of one seal and their remedies.
func showTrouble(b *base, s backendSeal) {
	switch {
	case s.Class == "":
	case s.Cause == "": // a client without a token does not see it
		b.printf("\n%s: %s\n", s.Name, s.Class)
	default:
		b.printf("\n%s: %s: %s\n  remedy: %s\n", s.Name, s.Class, s.Cause, s.Remedy)
	}
	if !s.Configured {
		b.printf("\n%s: this seal still wraps the root key but is no longer configured; configure it again, or run "+
			"'sealgate operator seals remove %s'\n", s.Name, s.Name)
	}
	if s.RewrapDue {
		b.printf("\n%s: its key has a newer version; the server will rewrap the root key with it automatically\n", s.Name)
	}
	if s.KeyTrouble != "" {
		b.printf("\n%s: the state of its key is only partly known: %s\n", s.Name, strings.TrimSpace(s.KeyTrouble))
	}
}
