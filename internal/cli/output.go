package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// printf prints text; see [visible].
func (b *base) printf(format string, args ...any) {
	_, _ = fmt.Fprint(b.env.Stdout, visible(fmt.Sprintf(format, args...))) // nobody is left to report it to
}

// exact prints what other programs read, byte for byte.
func exact(b *base, format string, args ...any) { fmt.Fprintf(b.env.Stdout, format, args...) }

// errorf prints a line to standard error; see [visible].
func (b *base) errorf(format string, args ...any) {
	_, _ = fmt.Fprintln(b.env.Stderr, visible(fmt.Sprintf(format, args...))) // as in printf
}

// fail prints an error of the server or the connection and returns the exit code. With
// -output-curl-string or -output-policy it prints what those ask for.
func (b *base) fail(doing string, err error) int {
	var curl *api.OutputStringError
	if errors.As(err, &curl) {
		if text, curlErr := curl.CurlString(); curlErr == nil {
			b.printf("%s\n", strings.ReplaceAll(sortHeaders(text), "$(bao print token)", "$(sealgate print token)"))
			return exitOK
		}
	}
	var policy *api.OutputPolicyError
	if errors.As(err, &policy) {
		if text, policyErr := policy.HCLString(); policyErr == nil {
			b.printf("%s\n", text)
			return exitOK
		}
	}
	b.errorf("Error %s: %s", doing, errorText(err))
	return exitServer
}

var curlHeader = regexp.MustCompile(`-H "[^"]*" `)

// sortHeaders sorts the headers of a curl command: the SDK takes them from a map.
func sortHeaders(curl string) string {
	headers := curlHeader.FindAllString(curl, -1)
	slices.Sort(headers)
	return curlHeader.ReplaceAllStringFunc(curl, func(string) string {
		first := headers[0]
		headers = headers[1:]
		return first
	})
}

// errorText is the error; for an error response it has one line for each of its errors.
func errorText(err error) string {
	var re *api.ResponseError
	if !errors.As(err, &re) {
		return err.Error()
	}
	var s strings.Builder
	s.WriteString("Error making API request.\n\n")
	if re.NamespacePath != "" && re.NamespacePath != "root/" {
		fmt.Fprintf(&s, "Namespace: %s\n", re.NamespacePath)
	}
	kind := "Errors"
	if re.RawError {
		kind = "Raw Message"
	}
	fmt.Fprintf(&s, "URL: %s %s\nCode: %d. %s:\n", re.HTTPMethod, re.URL, re.StatusCode, kind)
	for _, e := range re.Errors {
		if !re.RawError {
			e = "* " + strings.TrimRight(e, "\n")
		}
		s.WriteString("\n" + e)
	}
	if path := helpPath(re); path != "" {
		fmt.Fprintf(&s, "\n\nFor what this path takes: sealgate path-help %s", path)
	}
	return s.String()
}

// helpPath is the path whose help may explain a refusal: what was sent is wrong, or the path does
// not support it. A login says all that it may, and a sealed server has no help.
func helpPath(re *api.ResponseError) string {
	if re.StatusCode != http.StatusBadRequest && re.StatusCode != http.StatusMethodNotAllowed {
		return ""
	}
	u, err := url.Parse(re.URL)
	if err != nil {
		return ""
	}
	_, path, found := strings.Cut(u.Path, "/v1/")
	if !found || path == "sys/unseal" || path == "sys/init" || strings.Contains(path, "/login") ||
		strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' }) {
		return ""
	}
	return path
}

func (b *base) format() string {
	f := strings.ToLower(cmp.Or(b.conn.format, b.getenv("FORMAT"), "table"))
	if f == "pretty" {
		return "table"
	}
	return f
}

func (b *base) checkFormat() error {
	switch f := b.format(); f {
	case "table", "json", "yaml":
	case "raw", "vault":
		if u := b.flags.Lookup("format"); u != nil && strings.Contains(u.Usage, f) {
			return nil
		}
		return fmt.Errorf("invalid output format: %s: only %s supports it", f,
			map[string]string{"raw": "read", "vault": "version"}[f])
	default:
		return fmt.Errorf("invalid output format: %s", f)
	}
	return nil
}

// encode prints v as JSON or YAML.
func (b *base) encode(v any) int {
	text, err := b.encoded(v)
	if err != nil {
		b.errorf("Error formatting the response: %v", err)
		return exitLocal
	}
	exact(b, "%s", text)
	return exitOK
}

func (b *base) encoded(v any) (string, error) {
	if b.format() == "yaml" {
		return yaml(v)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return visibleJSON(out.String()), nil
}

const gap = "    "

// columns formats rows in columns; an empty cell becomes n/a.
func columns(rows [][]string) string {
	var width []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len([]rune(cmp.Or(cell, "n/a"))))
		}
	}
	var s strings.Builder
	for _, r := range rows {
		for i, cell := range r {
			cell = cmp.Or(cell, "n/a")
			s.WriteString(cell)
			if i < len(r)-1 {
				s.WriteString(strings.Repeat(" ", width[i]-len([]rune(cell))) + gap)
			}
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// table formats rows under a header and a line of dashes.
func table(header []string, rows [][]string) string {
	dashes := make([]string, len(header))
	for i, h := range header {
		dashes[i] = strings.Repeat("-", len(h))
	}
	return columns(append([][]string{header, dashes}, rows...))
}

// pairs is a table of keys and values.
type pairs [][]string

func (p *pairs) add(key string, value any) { *p = append(*p, []string{key, fmt.Sprint(value)}) }

func (p pairs) String() string { return table([]string{"Key", "Value"}, p) }

func text(v any) string { return fmt.Sprint(v) }
