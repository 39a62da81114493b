//go:build !windows

package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// marker is the environment variable that turns a process into a worker. Its value says whether
// descriptor 4 has a PIN.
const marker = "SEALGATE_HSM_WORKER"

// Values of marker.
const (
	withoutPIN = "1"
	withPIN    = "2"
)

const maxPIN = 4096

func init() {
	if v := os.Getenv(marker); v == withoutPIN || v == withPIN {
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
	if os.Getenv(marker) == withPIN {
		var err error
		if pin, err = readPIN(os.NewFile(4, "pin")); err != nil {
			return err
		}
	}
	if err := os.Unsetenv(marker); err != nil {
		return err
	}
	f := os.NewFile(3, "parent")
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("descriptor 3 is not a socket: %w", err)
	}
	_ = f.Close() // FileConn has a duplicate
	err = serve(conn, pin, func(c setup) (ck.Library, string, error) {
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
