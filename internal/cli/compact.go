package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func compactCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator compact", synopsis: "Shrink the file of the embedded storage",
		about: `Rewrites the file of the storage "bbolt" without its free space, while the server answers, and shows its size
before and after. Without it the file keeps its size, and new entries use the free space. Needs as much free disk space
as the new file takes, and "update" and "sudo" on sys/storage/compact. etcd and PostgreSQL have a maintenance of their
own.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int { return compact(b, client) })
		}}
}

// compactTime bounds the wait for the answer.
const compactTime = 24 * time.Hour

func compact(b *base, client *api.Client) int {
	ctx, stop := interruptible()
	defer stop()
	client.SetClientTimeout(compactTime)
	var sizes struct {
		Before int64 `json:"bytes_before"`
		After  int64 `json:"bytes_after"`
	}
	if err := callData(ctx, client, http.MethodPut, "sys/storage/compact", nil, &sizes); err != nil {
		return b.fail("compacting the storage", err)
	}
	if b.format() != "table" {
		return b.encode(sizes)
	}
	b.printf("%s", columns([][]string{
		{"Size Before", fmt.Sprintf("%.1f MB", float64(sizes.Before)/1e6)},
		{"Size After", fmt.Sprintf("%.1f MB", float64(sizes.After)/1e6)},
	}))
	return exitOK
}
