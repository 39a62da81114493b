package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func rotateCommand(b *base) *command {
	b.formatted()
	rewrap, retire, compromised, rate := false, false, false, 0
	b.flags.BoolVar(&rewrap, "rewrap", false, "encrypt all data again by the new key, in the background")
	b.flags.BoolVar(&retire, "retire", false, "with -rewrap: then destroy the older keys")
	b.flags.BoolVar(&compromised, "compromised", false,
		"others may have the old keys: replace the root key too, rewrap all data, and destroy the old keys")
	b.flags.IntVar(&rate, "rate", 0, "most entries per second of the rewrap; 0: as many as foreground requests allow")
	b.own("rewrap", "retire", "compromised", "rate")
	return &command{base: b, name: "operator rotate", synopsis: "Make a new data encryption key",
		about: `Adds a term to the keyring: new writes are encrypted with a new key, and existing data stays readable. The
shares and the root key do not change. -rewrap also encrypts existing data again, and -retire then destroys the keys
that nothing needs any more; "operator rewrap status" shows the progress.

-compromised is for keys that others may have: it replaces the root key and the barrier key in one step, does both of
these, ends batch tokens, and lists what must be changed outside. Tokens, policies, mounts and the like are encrypted
again first; from then on such records are refused by the old keys. It cannot be cancelled, and a pause lasts until the
next change of leadership or restart. In a cluster the active node then steps down.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int {
				if rewrap || retire || compromised {
					body := map[string]any{"rewrap": rewrap, "retire": retire, "compromised": compromised, "rate": rate}
					return showRewrap(b, client, http.MethodPost, "sys/rotate", body, "rotating key")
				}
				if err := call(client, http.MethodPost, "sys/rotate", nil, nil); err != nil {
					return b.fail("rotating key", err)
				}
				if b.format() == "table" { // before the next request, which may be denied
					b.printf("Success! Rotated key\n\n")
				}
				return keyStatus(b, client)
			})
		}}
}

func keyStatusCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator key-status", synopsis: "Show the data encryption key's term",
		about: `Shows the term of the current data encryption key, its install time and its count of encryptions; then each
term, with the entries that are stored under it.`,
		run: func([]string) int { return b.withClient(func(c *api.Client) int { return keyStatus(b, c) }) }}
}

// keyState is the response of sys/key-status. Vault's has the first three members.
type keyState struct {
	Term        int       `json:"term"`
	InstallTime time.Time `json:"install_time"`
	Encryptions int64     `json:"encryptions"`
	Limit       uint64    `json:"encryption_limit,omitempty"`
	Remaining   uint64    `json:"encryptions_remaining,omitempty"`
	Exact       *bool     `json:"exact,omitempty"`
	Terms       []keyTerm `json:"terms,omitempty"`
}

type keyTerm struct {
	Term        int       `json:"term"`
	Active      bool      `json:"active"`
	InstallTime time.Time `json:"install_time"`
	Encryptions int64     `json:"encryptions"`
	Entries     *int64    `json:"entries,omitempty"`
	Bytes       *int64    `json:"bytes,omitempty"`
}

func keyStatus(b *base, client *api.Client) int {
	var status keyState
	if err := callData(context.Background(), client, http.MethodGet, "sys/key-status", nil, &status); err != nil {
		return b.fail("reading key status", err)
	}
	if b.format() != "table" {
		return b.encode(status)
	}
	b.printf("%s", columns([][]string{
		{"Key Term", text(status.Term)},
		{"Install Time", status.InstallTime.UTC().Format(time.RFC822)},
		{"Encryption Count", text(status.Encryptions)},
	}))
	if len(status.Terms) == 0 {
		return exitOK
	}
	rows := [][]string{}
	for _, t := range status.Terms {
		entries, size := "-", "-"
		if t.Entries != nil && t.Bytes != nil {
			entries, size = text(*t.Entries), text(*t.Bytes)
		}
		rows = append(rows, []string{text(t.Term), yesNo(t.Active), t.InstallTime.UTC().Format(time.RFC822),
			text(t.Encryptions), entries, size})
	}
	b.printf("\n%s", table([]string{"Term", "Active", "Install Time", "Encryptions", "Entries", "Bytes"}, rows))
	b.printf("\nEncryptions left by the current key: %d of %d\n", status.Remaining, status.Limit)
	if status.Exact != nil && !*status.Exact {
		b.printf("The entries are not known exactly; they are counted in the background.\n")
	}
	return exitOK
}

// rewrapState is the response of sys/rotate/rewrap.
type rewrapState struct {
	State     string   `json:"state"`
	Phase     string   `json:"phase"`
	Target    int      `json:"target_term"`
	Retire    bool     `json:"retire"`
	Rate      int      `json:"rate"`
	Entries   int64    `json:"entries"`
	Remaining *int64   `json:"remaining"`
	Percent   *float64 `json:"percent"`
	PerSecond float64  `json:"entries_per_second"`
	Estimate  *float64 `json:"estimated_seconds"`
	Started   string   `json:"started"`
	Ended     string   `json:"ended"`
	Retired   []int    `json:"retired_terms"`
	Damaged   []string `json:"damaged"`
	Problem   string   `json:"problem"`
	Change    []struct {
		What string `json:"what"`
		Do   string `json:"do"`
	} `json:"change_outside"`
}

// showRewrap requests something of the rewrap, and prints its state.
func showRewrap(b *base, client *api.Client, method, path string, body any, doing string) int {
	var raw json.RawMessage
	if err := callData(context.Background(), client, method, path, body, &raw); err != nil {
		return b.fail(doing, err)
	}
	if b.format() != "table" {
		return encodeRaw(b, raw)
	}
	var s rewrapState
	if err := json.Unmarshal(raw, &s); err != nil {
		return b.fail(doing, fmt.Errorf("unexpected response: %w", err))
	}
	if s.State == "none" {
		b.printf("No rewrap was started.\n")
		return exitOK
	}
	var p pairs
	p.add("State", s.State)
	p.add("Phase", s.Phase)
	p.add("Newest Term", s.Target)
	p.add("Entries Rewrapped", s.Entries)
	if s.Remaining != nil {
		p.add("Entries Remaining", *s.Remaining)
	}
	if s.Percent != nil {
		p.add("Percent", fmt.Sprintf("%.1f", *s.Percent))
	}
	p.add("Entries Per Second", fmt.Sprintf("%.0f", s.PerSecond))
	if s.Estimate != nil {
		p.add("Estimate", time.Duration(*s.Estimate*float64(time.Second)).Round(time.Second))
	}
	p.add("Started", s.Started)
	if s.Ended != "" {
		p.add("Ended", s.Ended)
	}
	if len(s.Retired) > 0 {
		p.add("Destroyed Terms", s.Retired)
	}
	if s.Problem != "" {
		p.add("Problem", s.Problem)
	}
	for _, path := range s.Damaged {
		p.add("Damaged", path)
	}
	b.printf("%s", p)
	if len(s.Change) > 0 {
		rows := [][]string{}
		for _, c := range s.Change {
			rows = append(rows, []string{c.What, c.Do})
		}
		b.printf("\nThe old keys could have read what follows; replacing them does not change it:\n\n%s",
			table([]string{"What", "What to Do"}, rows))
	}
	return exitOK
}
