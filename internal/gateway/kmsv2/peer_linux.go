package kmsv2

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// peerUID returns the user of the process that opened the connection.
func peerUID(c net.Conn) (uint32, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("kmsv2: the connection is not of a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("kmsv2: %w", err)
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("kmsv2: the user of the peer is not known: %w", err)
	}
	return cred.Uid, nil
}
