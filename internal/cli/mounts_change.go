package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func (k *mountKind) tuneCommand(b *base) *command {
	m := &mountFlags{}
	m.define(b)
	lockout := &lockoutFlags{}
	if k.auth {
		m.forAuth(b)
		lockout.define(b)
	}
	return &command{base: b, name: k.command + " tune", args: "PATH", least: 1, most: 1,
		synopsis: "Change the settings of " + article(k.noun),
		about:    "Changes the settings of the " + k.noun + " at a path. Settings without a flag stay as they are.",
		run: func(args []string) int {
			where, ok := k.path(b, args[0])
			if !ok {
				return exitLocal
			}
			in := m.tuning(b)
			in.UserLockoutConfig = lockout.input(b)
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodPost, k.tune+where+"/tune", in, "tuning "+k.noun+" "+folder(where),
					"Success! Tuned the "+k.noun+" at: "+folder(where))
			})
		}}
}

func (k *mountKind) moveCommand(b *base) *command {
	return &command{base: b, name: k.command + " move", args: "SOURCE DESTINATION", least: 2, most: 2,
		synopsis: "Move " + article(k.noun) + " to another path", about: k.moveWarning,
		run: func(args []string) int {
			from, to := k.remount(args[0]), k.remount(args[1])
			return b.withClient(func(client *api.Client) int { return b.move(client, k.noun, from, to) })
		}}
}

// underAuth is the path of an auth method's mount in sys/remount.
func underAuth(path string) string {
	path = sanitize(path)
	if path != "auth" && !strings.HasPrefix(path, "auth/") {
		path = "auth/" + path
	}
	return folder(path)
}

// movePause is the time between two requests for the status of a move.
const movePause = time.Second

// move moves a mount and waits for the end of the move.
func (b *base) move(client *api.Client, noun, from, to string) int {
	about := fmt.Sprintf("%s %s to %s", noun, from, to)
	var start struct {
		MigrationID string `json:"migration_id"`
	}
	body := map[string]string{"from": from, "to": to}
	if err := callData(context.Background(), client, http.MethodPost, "sys/remount", body, &start); err != nil {
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
}
