//go:build !windows

package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Environment variables of a worker.
const (
	marker     = "SEALGATE_HSM_WORKER" // "1" turns a process into a worker
	ringMarker = "SEALGATE_HSM_RING"   // the descriptor of the ring, if there is one
	pinMarker  = "SEALGATE_HSM_PIN"    // the descriptor of the PIN, if there is one
)

const maxPIN = 4096

func init() {
	if os.Getenv(marker) == "1" {
		main()
	}
}

// run prepares the process and serves its parent.
func run() error {
	// The parent ends its worker. A signal to the process group or the control group must not do it
	// earlier.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	harden()
	var pin []byte
	var shared *ring
	var err error
	if f := inherited(pinMarker); f != nil {
		if pin, err = readPIN(f); err != nil {
			return err
		}
	}
	if f := inherited(ringMarker); f != nil {
		if shared, err = mapRing(f); err != nil {
			return fmt.Errorf("the shared memory: %w", err)
		}
		shared.sent() // the memory stays
	}
	for _, name := range []string{marker, ringMarker, pinMarker} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	f := os.NewFile(3, "parent")
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("descriptor 3 is not a socket: %w", err)
	}
	_ = f.Close() // FileConn has a duplicate
	err = serve(conn, pin, shared, func(c setup) (ck.Library, string, error) {
		confinement, err := confine(c)
		if err != nil {
			return nil, "", err
		}
		lib, err := ck.Load(c.lib)
		return lib, confinement, err
	})
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil // the parent closed the connection, or ended
	}
	return err
}

// inherited returns the file whose descriptor an environment variable names, nil without one.
func inherited(name string) *os.File {
	fd, err := strconv.Atoi(os.Getenv(name))
	if err != nil || fd < 3 {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// readPIN reads the parent's memory file, or a pipe.
func readPIN(f *os.File) ([]byte, error) {
	defer f.Close()
	buf := make([]byte, maxPIN)
	n, err := f.ReadAt(buf, 0) // the parent and its earlier workers share the file's offset
	if errors.Is(err, syscall.ESPIPE) {
		n, err = io.ReadFull(f, buf)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	return buf[:n:n], nil
}
