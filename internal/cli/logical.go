package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// withClient calls run with a client; an error in flags or environment is a local error.
func (b *base) withClient(run func(*api.Client) int) int {
	client, err := b.client()
	if err != nil {
		b.errorf("Error: %v", err)
		return exitLocal
	}
	return run(client)
}

// sanitize removes slashes at the ends of a path. Whitespace belongs to names.
func sanitize(path string) string { return strings.Trim(path, "/") }

// query turns k=v arguments into a query string.
func (b *base) query(args []string) (url.Values, error) {
	data, err := b.data(args)
	if err != nil {
		return nil, err
	}
	q := url.Values{}
	for k, v := range data {
		if many, ok := v.([]any); ok {
			for _, one := range many {
				q.Add(k, fmt.Sprint(one))
			}
			continue
		}
		q.Set(k, fmt.Sprint(v))
	}
	return q, nil
}

func readCommand(b *base) *command {
	b.formatted("raw").fielded()
	return &command{base: b, name: "read", args: "PATH [k=v...]", least: 1, most: -1, synopsis: "Read data",
		about: "Reads the data at a path, such as secret/app. Arguments k=v become query parameters.",
		run: func(args []string) int {
			path := sanitize(args[0])
			q, err := b.query(args[1:])
			if err != nil {
				b.errorf("Failed to parse K=V data: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				if b.format() == "raw" {
					return readRaw(b, client, path, q)
				}
				s, err := client.Logical().ReadWithData(path, q)
				if err != nil {
					return b.fail("reading "+path, err)
				}
				if s == nil {
					b.errorf("No value found at %s", path)
					return exitServer
				}
				return b.showSecret(s)
			})
		}}
}

func readRaw(b *base, client *api.Client, path string, q url.Values) int {
	resp, err := client.Logical().ReadRawWithDataWithContext(context.Background(), path, q)
	if err != nil {
		return b.fail("reading "+path, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(b.env.Stdout, resp.Body); err != nil {
		return b.fail("reading "+path, err)
	}
	return exitOK
}

func writeCommand(b *base) *command {
	return dataCommand(b, command{name: "write", synopsis: "Write data",
		about: `Writes data to a path. A value is given as k=v, read from a file (k=@file) or from standard input (k=-). "-"
and "@file" alone read all the data as a JSON object.`},
		func(client *api.Client, path string, data map[string]any) (*api.Secret, error) {
			return client.Logical().Write(path, data)
		})
}

func patchCommand(b *base) *command {
	return dataCommand(b, command{name: "patch", synopsis: "Change some fields of the data",
		about: `Changes the given fields and leaves the others as they are. Data is given as for write; null in a JSON
object removes a field.`},
		func(client *api.Client, path string, data map[string]any) (*api.Secret, error) {
			return client.Logical().JSONMergePatch(context.Background(), path, data)
		})
}

// dataCommand completes a command that sends the data of its arguments to a path.
func dataCommand(b *base, c command, send func(*api.Client, string, map[string]any) (*api.Secret, error)) *command {
	b.formatted().fielded()
	var force bool
	b.flags.BoolVar(&force, "force", false, c.name+" even without data")
	b.flags.BoolVar(&force, "f", false, "the same as -force")
	b.own("force", "f")
	c.base, c.args, c.least, c.most = b, "PATH [k=v | k=@file | k=- | - | @file ...]", 1, -1
	c.run = func(args []string) int {
		if len(args) == 1 && !force {
			b.errorf("Must supply data or use -force")
			return exitLocal
		}
		path := sanitize(args[0])
		data, err := b.data(args[1:])
		if err != nil {
			b.errorf("Failed to parse K=V data: %v", err)
			return exitLocal
		}
		return b.withClient(func(client *api.Client) int {
			s, err := send(client, path, data)
			return showWritten(b, s, err, "writing data to "+path, "Success! Data written to: "+path)
		})
	}
	return &c
}

// showWritten prints the response of a write. An error may come with a response, for example of a
// batch.
func showWritten(b *base, s *api.Secret, err error, doing, success string) int {
	if err != nil {
		if s != nil {
			_ = b.showSecret(s)
		}
		return b.fail(doing, err)
	}
	if s == nil {
		if b.format() == "table" && b.conn.field == "" {
			b.printf("%s\n", success)
		}
		return exitOK
	}
	return b.showSecret(s)
}

func deleteCommand(b *base) *command {
	b.formatted().fielded()
	return &command{base: b, name: "delete", args: "PATH [k=v...]", least: 1, most: -1, synopsis: "Delete data",
		about: "Deletes the data at a path. Arguments k=v become query parameters.",
		run: func(args []string) int {
			path := sanitize(args[0])
			q, err := b.query(args[1:])
			if err != nil {
				b.errorf("Failed to parse K=V data: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				s, err := client.Logical().DeleteWithData(path, q)
				return showWritten(b, s, err, "deleting "+path, "Success! Data deleted (if it existed) at: "+path)
			})
		}}
}
