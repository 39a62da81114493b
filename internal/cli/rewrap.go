package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/openbao/openbao/api/v2"
)

// rewrapCommands encrypt data again by the newest key, and destroy old keys.
var rewrapCommands = []func(*base) *command{
	rewrapStartCommand, rewrapStatusCommand, rewrapPauseCommand, rewrapResumeCommand, rewrapCancelCommand, retireCommand,
}

func rewrapStartCommand(b *base) *command {
	b.formatted()
	rate, retire := 0, false
	b.flags.IntVar(&rate, "rate", 0, "most entries per second; 0: as many as foreground requests allow")
	b.flags.BoolVar(&retire, "retire", false, "then destroy the older keys")
	b.own("rate", "retire")
	return &command{base: b, name: "operator rewrap start",
		synopsis: "Encrypt all data again by the newest key",
		about: `Encrypts every stored entry of an older term again by the newest one, in the background: writes of clients
always win, and reads slow the rewrap down. It continues after a restart and at another leader. Needs "update" and
"sudo" on sys/rotate/rewrap.`,
		run: func([]string) int {
			return b.withClient(func(c *api.Client) int {
				return showRewrap(b, c, http.MethodPut, "sys/rotate/rewrap", map[string]any{"rate": rate, "retire": retire},
					"starting the rewrap")
			})
		}}
}

func rewrapStatusCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator rewrap status", synopsis: "Show the progress of the rewrap",
		about: `Shows the state of the last rewrap, what remains, and an estimate. Needs "read" on sys/rotate/rewrap.`,
		run: func([]string) int {
			return b.withClient(func(c *api.Client) int {
				return showRewrap(b, c, http.MethodGet, "sys/rotate/rewrap", nil, "reading the rewrap")
			})
		}}
}

func rewrapPauseCommand(b *base) *command {
	return controlRewrap(b, "pause", "Pause the rewrap", "Pauses the rewrap. What it has done stays.")
}

func rewrapResumeCommand(b *base) *command {
	return controlRewrap(b, "resume", "Resume the rewrap", "Resumes the rewrap, or changes its rate while it runs.")
}

func rewrapCancelCommand(b *base) *command {
	return controlRewrap(b, "cancel", "End the rewrap", "Ends the rewrap. What it has done stays.")
}

func controlRewrap(b *base, action, synopsis, about string) *command {
	b.formatted()
	rate := -1
	if action == "resume" {
		b.flags.IntVar(&rate, "rate", -1, "most entries per second; 0: as many as foreground requests allow; -1: as before")
		b.own("rate")
	}
	return &command{base: b, name: "operator rewrap " + action, synopsis: synopsis,
		about: about + fmt.Sprintf(` Needs "update" and "sudo" on
sys/rotate/rewrap/%s.`, action),
		run: func([]string) int {
			return b.withClient(func(c *api.Client) int {
				body := map[string]any{}
				if rate >= 0 {
					body["rate"] = rate
				}
				return showRewrap(b, c, http.MethodPut, "sys/rotate/rewrap/"+action, body, "changing the rewrap")
			})
		}}
}

func retireCommand(b *base) *command {
	b.formatted()
	force := false
	b.flags.BoolVar(&force, "yes", false, "do it; otherwise it is only shown what would be destroyed")
	b.own("yes")
	return &command{base: b, name: "operator retire", synopsis: "Destroy the keys that no entry needs",
		about: `Shows which older terms of the keyring would be destroyed, which entries still need them, and which
snapshots hold their keys. With -yes it destroys them, once a count has shown that no entry needs one. Needs "read", and
"update" and "sudo", on sys/rotate/retire.`,
		run: func([]string) int {
			return b.withClient(func(c *api.Client) int {
				if code := showRetirement(b, c, force); code != exitOK || !force {
					return code
				}
				return showRewrap(b, c, http.MethodPut, "sys/rotate/retire", map[string]any{}, "destroying old keys")
			})
		}}
}

func showRetirement(b *base, client *api.Client, quiet bool) int {
	var raw json.RawMessage
	if err := callData(context.Background(), client, http.MethodGet, "sys/rotate/retire", nil, &raw); err != nil {
		return b.fail("reading the old keys", err)
	}
	if b.format() != "table" {
		if quiet {
			return exitOK // one document is printed
		}
		return encodeRaw(b, raw)
	}
	var r struct {
		Terms    []int    `json:"terms"`
		Entries  int64    `json:"entries"`
		Exact    bool     `json:"exact"`
		Warnings []string `json:"warnings"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return b.fail("reading the old keys", fmt.Errorf("unexpected response: %w", err))
	}
	slices.Sort(r.Warnings)
	b.warnings(r.Warnings)
	var p pairs
	p.add("Old Terms", r.Terms)
	p.add("Entries That Need Them", r.Entries)
	p.add("Exact", yesNo(r.Exact))
	b.printf("%s", p)
	return exitOK
}
