package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// movePause lies between two looks at a move that goes on.
const movePause = time.Second

// move moves a mount and waits until that is over.
func (b *base) move(what, from, to string) int {
	about := fmt.Sprintf("%s %s to %s", what, from, to)
	return b.withClient(func(client *api.Client) int {
		var start struct {
			MigrationID string `json:"migration_id"`
		}
		err := callData(context.Background(), client, http.MethodPost, "sys/remount", map[string]string{"from": from, "to": to}, &start)
		if err != nil {
			return b.fail("moving "+about, err)
		}
		b.printf("Started moving %s, with migration ID %s\n", about, start.MigrationID)
		for {
			var status struct {
				MigrationInfo struct {
					Status string `json:"status"`
				} `json:"migration_info"`
			}
			err := callData(context.Background(), client, http.MethodGet, "sys/remount/status/"+start.MigrationID, nil, &status)
			if err != nil {
				return b.fail("checking migration status of "+about, err)
			}
			switch status.MigrationInfo.Status {
			case "success":
				b.printf("Success! Finished moving %s, with migration ID %s\n", about, start.MigrationID)
				return exitOK
			case "failure":
				b.errorf("Failure! Error encountered moving %s, with migration ID %s", about, start.MigrationID)
				return exitServer
			}
			b.printf("Waiting for terminal status in migration of %s, with migration ID %s\n", about, start.MigrationID)
			b.pause(movePause)
		}
	})
}
