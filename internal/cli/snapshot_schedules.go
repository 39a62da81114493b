package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// schedulesAnswer is the response of sys/snapshots.
type schedulesAnswer struct {
	Schedules []struct {
		Name    string `json:"name"`
		Target  string `json:"target"`
		Next    string `json:"next"`
		Overdue bool   `json:"overdue"`
		Last    struct {
			Verified string `json:"verified"`
			Snapshot string `json:"snapshot"`
			Failing  string `json:"failing"`
			Error    string `json:"error"`
		} `json:"last"`
	} `json:"schedules"`
}

func snapshotSchedulesCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator snapshot schedules",
		synopsis: "Show the scheduled snapshots",
		about: `Shows the snapshots that the active node takes as the snapshot stanzas of its configuration say: where,
when the last was taken and verified, and why the last attempt failed. Needs "read" on sys/snapshots.

The exit code is 2 if the last attempt of a schedule failed, or if one is overdue.`,
		run: func([]string) int { return b.withClient(func(c *api.Client) int { return schedules(b, c) }) }}
}

func schedules(b *base, client *api.Client) int {
	var raw json.RawMessage
	if err := callData(context.Background(), client, http.MethodGet, "sys/snapshots", nil, &raw); err != nil {
		return b.fail("reading the schedules", err)
	}
	var a schedulesAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return b.fail("reading the schedules", fmt.Errorf("unexpected response: %w", err))
	}
	bad := false
	rows := [][]string{}
	for _, s := range a.Schedules {
		state := "ok"
		switch {
		case s.Last.Failing != "":
			state = "failing since " + s.Last.Failing
		case s.Overdue:
			state = "overdue"
		}
		bad = bad || state != "ok"
		rows = append(rows, []string{s.Name, s.Target, state, cmp.Or(s.Last.Verified, "never"),
			cmp.Or(s.Last.Snapshot, "-"), s.Next})
	}
	if b.format() != "table" {
		if code := encodeRaw(b, raw); code != exitOK {
			return code
		}
	} else {
		b.printf("%s", table([]string{"Schedule", "Target", "State", "Last Verified", "Snapshot", "Next"}, rows))
		for _, s := range a.Schedules {
			if s.Last.Error != "" {
				b.printf("\n%s: %s\n", s.Name, s.Last.Error)
			}
		}
	}
	if bad {
		return exitServer
	}
	return exitOK
}
