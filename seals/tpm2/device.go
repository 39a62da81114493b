package tpm2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	maxResponse = 4096
	headLen     = 10 // tag u16, size u32, code u32
)

var errAnswer = errors.New("the answer is not one of a TPM")

// device is an open TPM: a character device, or a socket of a virtual TPM.
type device struct {
	io.ReadWriteCloser
	whole bool // one read returns one response
}

// open opens a path, or a socket named by "unix:" and its path.
func open(path string, deadline time.Time) (*device, error) {
	if socket, ok := strings.CutPrefix(path, "unix:"); ok {
		conn, err := net.DialTimeout("unix", socket, time.Until(deadline))
		for errors.Is(err, syscall.EAGAIN) && time.Until(deadline) > 0 { // another program is connected
			time.Sleep(5 * time.Millisecond)
			conn, err = net.DialTimeout("unix", socket, time.Until(deadline))
		}
		if err != nil {
			return nil, err
		}
		_ = conn.SetDeadline(deadline)
		return &device{ReadWriteCloser: conn}, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &device{ReadWriteCloser: f, whole: true}, nil
}

// Codes by which a TPM asks for the same command again.
const (
	rcYielded = 0x908
	rcTesting = 0x90a
	rcRetry   = 0x922

	retries = 40
)

// Send implements transport.TPM.
func (d *device) Send(command []byte) (response []byte, err error) {
	for n := range retries {
		if response, err = d.once(command); err != nil {
			return nil, err
		}
		switch binary.BigEndian.Uint32(response[6:]) {
		case rcYielded, rcTesting, rcRetry:
			time.Sleep(time.Duration(n) * time.Millisecond)
			continue
		}
		return response, nil
	}
	return response, nil
}

func (d *device) once(command []byte) ([]byte, error) {
	if _, err := d.Write(command); err != nil {
		return nil, err
	}
	buf := make([]byte, maxResponse)
	if d.whole {
		n, err := d.Read(buf)
		if err != nil {
			return nil, err
		}
		return checked(buf[:n])
	}
	if _, err := io.ReadFull(d, buf[:headLen]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(buf[2:])
	if n < headLen || n > maxResponse {
		return nil, fmt.Errorf("%w: it has %d bytes", errAnswer, n)
	}
	if _, err := io.ReadFull(d, buf[headLen:n]); err != nil {
		return nil, err
	}
	return checked(buf[:n])
}

func checked(b []byte) ([]byte, error) {
	if len(b) < headLen || int(binary.BigEndian.Uint32(b[2:])) != len(b) {
		return nil, fmt.Errorf("%w: %d bytes", errAnswer, len(b))
	}
	return b, nil
}
