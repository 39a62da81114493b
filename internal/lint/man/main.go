// Command man writes the manual pages of the program from its help: `man PROGRAM FOLDER` writes
// sealgate.1.gz and one page for each command. The same program gives the same bytes.
package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: man PROGRAM FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(program, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	w := writer{program: program, folder: folder}
	return w.page(nil, "auto-unseal KMS and HSM gateway")
}

type writer struct{ program, folder string }

// page writes the page of a command, and those of its subcommands.
func (w writer) page(command []string, summary string) error {
	help, err := w.help(command)
	if err != nil {
		return err
	}
	name := strings.Join(append([]string{"sealgate"}, command...), "-")
	if err := w.save(name+".1.gz", render(name, summary, help)); err != nil {
		return err
	}
	for _, sub := range subcommands(help) {
		if err := w.page(append(command[:len(command):len(command)], sub[0]), sub[1]); err != nil {
			return err
		}
	}
	return nil
}

// help runs a command with -help.
func (w writer) help(command []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.program, append(command, "-help")...)
	cmd.Env = []string{"HOME=/nonexistent"} // no defaults of this user are in the text
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return "", fmt.Errorf("%s %s -help: %w", w.program, strings.Join(command, " "), err)
	}
	if !strings.HasPrefix(string(out), "Usage: ") {
		return "", fmt.Errorf("%s %s -help does not begin with its usage", w.program, strings.Join(command, " "))
	}
	return string(out), nil
}

var line = regexp.MustCompile(`(?m)^    ([a-z][a-z0-9-]*)  +(\S.*)$`)

// subcommands are the names and summaries below "Commands:" or "Subcommands:".
func subcommands(help string) [][2]string {
	_, rest, ok := strings.Cut(help, "ommands:\n")
	if !ok {
		return nil
	}
	list, _, _ := strings.Cut(rest, "\n\n")
	var all [][2]string
	for _, m := range line.FindAllStringSubmatch(list, -1) {
		all = append(all, [2]string{m[1], m[2]})
	}
	return all
}

// render makes a page: the help's usage and text, with its layout.
func render(name, summary, help string) string {
	usage, text, _ := strings.Cut(strings.TrimPrefix(help, "Usage: "), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"Sealgate\" \"Sealgate manual\"\n", strings.ToUpper(name))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(name), escape(lower(summary)))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", escape(usage))
	b.WriteString(".SH DESCRIPTION\n.nf\n")
	for l := range strings.Lines(strings.TrimSpace(text) + "\n") {
		l = escape(strings.TrimRight(l, "\n"))
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		b.WriteString(l + "\n")
	}
	b.WriteString(".fi\n")
	return b.String()
}

// lower makes the summary begin as manual pages do.
func lower(text string) string {
	if len(text) > 1 && strings.ToUpper(text[:2]) != text[:2] {
		return strings.ToLower(text[:1]) + text[1:]
	}
	return text
}

func escape(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\e`), "-", `\-`)
}

// save writes a compressed file that has no time in it.
func (w writer) save(name, text string) error {
	f, err := os.Create(filepath.Join(w.folder, name))
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = z.Write([]byte(text))
	return errors.Join(err, z.Close(), f.Close())
}
