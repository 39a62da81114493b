package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// Terminal reads secrets from a user.
type Terminal interface {
	// ReadSecret reads one line without echoing it.
	ReadSecret() ([]byte, error)
}

// ttyTerminal is the terminal of the process.
type ttyTerminal struct{ file *os.File }

// ReadSecret reads a line in raw mode: the library's own prompt loops for ever if the first key is
// control-D. A signal restores the terminal before it ends the process; otherwise the user's shell
// would not echo any more.
func (t ttyTerminal) ReadSecret() ([]byte, error) {
	fd := int(t.file.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
		case s := <-signals:
			_ = term.Restore(fd, before)
			endBySignal(s)
		}
	}()
	line, err := hiddenLine(t.file)
	close(done)
	signal.Stop(signals)
	if restoreErr := term.Restore(fd, before); restoreErr != nil {
		err = errors.Join(err, restoreErr)
	}
	if errors.Is(err, errInterrupted) {
		endBySignal(syscall.SIGINT)
	}
	return line, err
}

// endBySignal ends the process by the signal, so that the parent process sees it.
func endBySignal(s os.Signal) {
	signal.Reset()
	if number, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), number)
	}
}

var (
	errInterrupted = errors.New("interrupted")
	errLongLine    = errors.New("the line is too long")
)

// maxLine bounds what is typed or pasted at a prompt.
const maxLine = 4096

// hiddenLine reads a line from a terminal in raw mode and handles the editing keys.
func hiddenLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, maxLine) // never moved, so that no copy of a secret is left behind
	var one [1]byte
	for {
		n, err := r.Read(one[:])
		if n == 0 {
			if err == nil {
				err = io.EOF // the terminal hung up
			}
			return line, err
		}
		switch c := one[0]; {
		case c == '\r' || c == '\n':
			return line, nil
		case c == 3: // control-C
			clear(line)
			return nil, errInterrupted
		case c == 4: // control-D
			if len(line) > 0 {
				return line, nil
			}
			return nil, io.EOF
		case c == 8 || c == 127: // backspace
			line = line[:max(0, len(line)-1)]
		case c == 21: // control-U
			line = line[:0]
		case len(line) == maxLine:
			clear(line)
			return nil, errLongLine
		case c >= 32:
			line = append(line, c)
		}
	}
}

// terminal returns the terminal on standard input; nil if it is none or prompts are forbidden.
func (b *base) terminal() Terminal {
	if b.conn.nonInteractive {
		return nil
	}
	if b.env.Terminal != nil {
		return b.env.Terminal
	}
	f, ok := b.env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return ttyTerminal{f}
}

// Returned when a prompt is needed but not possible or not allowed.
var (
	errNoTerminal     = errors.New("standard input is not a terminal, so that no prompt is possible")
	errNonInteractive = errors.New("-non-interactive forbids the prompt")
)

// prompt asks for a secret on standard error, so that standard output can be piped.
func (b *base) prompt(question string) (string, error) {
	if b.conn.nonInteractive {
		return "", errNonInteractive
	}
	t := b.terminal()
	if t == nil {
		return "", errNoTerminal
	}
	fmt.Fprint(b.env.Stderr, question)
	data, err := t.ReadSecret()
	fmt.Fprintln(b.env.Stderr)
	defer clear(data)
	if err != nil {
		return "", fmt.Errorf("nothing was entered: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", errors.New("nothing was entered")
	}
	return text, nil
}

// maxInput bounds the size of a file or standard input.
const maxInput = 32 << 20

// readAll reads "-" from standard input and anything else as a file.
func (b *base) readAll(name string) ([]byte, error) {
	in := b.env.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	} else if in == nil {
		return nil, errors.New("standard input is closed")
	}
	data, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("more than %d bytes", maxInput)
	}
	return data, err
}

// secretsFrom reads secrets from standard input for "-" or from a file for "@file", one per line.
// Any other argument is the secret itself.
func (b *base) secretsFrom(arg string) ([]string, error) {
	name, isFile := strings.CutPrefix(arg, "@")
	if arg != "-" && !isFile {
		return []string{strings.TrimSpace(arg)}, nil
	}
	data, err := b.readAll(name)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	var all []string
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			all = append(all, line)
		}
	}
	if err := lines.Err(); err != nil || len(all) == 0 {
		return nil, errors.New("it is empty: one secret per line is expected")
	}
	return all, nil
}

// oneSecret is secretsFrom for exactly one secret.
func (b *base) oneSecret(arg string) (string, error) {
	all, err := b.secretsFrom(arg)
	switch {
	case err != nil:
		return "", err
	case len(all) > 1:
		return "", errors.New("it has more than one line")
	}
	return all[0], nil
}
