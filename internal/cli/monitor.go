package cli

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/openbao/openbao/api/v2"
)

var (
	logLevels  = []string{"trace", "debug", "info", "warn", "error"}
	logFormats = []string{"standard", "json"}
)

func monitorCommand(b *base) *command {
	var level, format string
	b.flags.StringVar(&level, "log-level", "info", "`level` to show from: "+strings.Join(logLevels, ", "))
	b.flags.StringVar(&format, "log-format", "standard", "`format` of the lines: "+strings.Join(logFormats, ", "))
	b.own("log-level", "log-format")
	return &command{base: b, name: "monitor", synopsis: "Follow the server's log",
		about: "Prints the server's log from now on, until interrupted. The level does not change the server's own " +
			"log level.",
		run: func([]string) int {
			level, format = strings.ToLower(level), strings.ToLower(format)
			if !slices.Contains(logLevels, level) {
				b.errorf("%s is an unknown log level. Valid log levels are: %v", level, logLevels)
				return exitLocal
			}
			if !slices.Contains(logFormats, format) {
				b.errorf("%s is an unknown log format. Valid log formats are: %v", format, logFormats)
				return exitLocal
			}
			ctx, stop := interruptible()
			defer stop()
			return b.withClient(func(client *api.Client) int {
				err := follow(ctx, client, level, format, func(line string) error {
					_, err := fmt.Fprintln(b.env.Stdout, visible(line))
					return err
				})
				if err != nil && ctx.Err() == nil {
					return b.fail("monitoring", err)
				}
				return exitOK
			})
		}}
}

// interruptible is a context that SIGINT and SIGTERM cancel.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// maxLogLine bounds one line of a server's log.
const maxLogLine = 1 << 20

// follow passes the lines of a server's log to line, until the server or ctx ends. It changes the
// client's timeout.
func follow(ctx context.Context, client *api.Client, level, format string, line func(string) error) error {
	client.SetClientTimeout(0) // a log has no end
	req := client.NewRequest(http.MethodGet, "/v1/sys/monitor")
	req.Params.Set("log_level", level)
	req.Params.Set("log_format", format)
	resp, err := client.RawRequestWithContext(ctx, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLogLine)
	for lines.Scan() {
		if err := line(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}
