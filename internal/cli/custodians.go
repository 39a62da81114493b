package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// shareSet is the share set of one target: names and dates, never a value.
type shareSet struct {
	Generation uint64      `json:"generation"`
	Shares     int         `json:"shares"`
	Threshold  int         `json:"threshold"`
	Created    string      `json:"created"`
	Holders    []custodian `json:"holders"`
}

type custodian struct {
	Number     int    `json:"number"`
	Name       string `json:"name"`
	LastProven string `json:"last_proven"`
}

func custodiansCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator custodians", synopsis: "Show the holders of the shares",
		about: `Shows the holders of the unseal or recovery shares: the number and holder of each share, and when the share
was last given, to "operator prove" or to any ceremony.`,
		run: func([]string) int { return b.withClient(func(c *api.Client) int { return custodians(b, c) }) }}
}

func custodians(b *base, client *api.Client) int {
	var data json.RawMessage
	if err := callData(context.Background(), client, http.MethodGet, "sys/recovery/holders", nil, &data); err != nil {
		return b.fail("reading the holders of shares", err)
	}
	if b.format() != "table" {
		var all any
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		if err := dec.Decode(&all); err != nil {
			return b.fail("reading the holders of shares", err)
		}
		return b.encode(all)
	}
	var targets map[string]shareSet
	if err := json.Unmarshal(data, &targets); err != nil {
		return b.fail("reading the holders of shares", fmt.Errorf("unexpected response: %w", err))
	}
	for i, target := range slices.Sorted(maps.Keys(targets)) {
		if i > 0 {
			b.printf("\n")
		}
		c := targets[target]
		b.printf("%s shares: %d, of which %d are needed. Generation %d, since %s.\n\n",
			title(cmp.Or(shareKind[target], target)), c.Shares, c.Threshold, c.Generation, day(c.Created, "an unknown time"))
		rows := [][]string{}
		for _, h := range c.Holders {
			rows = append(rows, []string{strconv.Itoa(h.Number), h.Name, day(h.LastProven, "never")})
		}
		b.printf("%s", table([]string{"Share", "Holder", "Last Proven"}, rows))
	}
	return exitOK
}

// day formats a time to the minute; an invalid or zero time becomes otherwise.
func day(text, otherwise string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.IsZero() {
		return otherwise
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}
