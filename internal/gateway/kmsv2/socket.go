package kmsv2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	kms "k8s.io/kms/apis/v2"
)

// Server serves one socket.
type Server struct {
	path string
	grpc *grpc.Server
	l    *net.UnixListener
	made os.FileInfo // of the socket: another process may have replaced it

	once sync.Once
}

// maxMessage bounds a request: a ciphertext, a key_id and annotations.
const maxMessage = 64 << 10

// Listen opens the socket with mode 0600. It takes over the socket of a process that has ended, and
// fails where one still answers. uids are the users whose processes may call; root and the server's
// own user always may.
func Listen(ctx context.Context, path string, uids []uint32, s *Service) (*Server, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("kmsv2: the socket %q is not an absolute path; abstract sockets have no permissions", path)
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := takeOver(ctx, path); err != nil {
		return nil, err
	}
	// Under another name until its mode is set, so that there is no moment without protection.
	fresh := filepath.Join(filepath.Dir(path), fmt.Sprintf(".kms-%d", os.Getpid()))
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("kmsv2: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("kmsv2: the socket %s cannot be made: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	srv := &Server{path: path, l: l}
	if err := srv.publish(fresh); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(fresh))
	}
	srv.grpc = grpc.NewServer(
		grpc.Creds(&peerCreds{allowed: append(slices.Clone(uids), 0, uint32(os.Geteuid()))}),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(16<<10),
		grpc.MaxConcurrentStreams(64), grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	kms.RegisterKeyManagementServiceServer(srv.grpc, s)
	return srv, nil
}

func (s *Server) publish(fresh string) (err error) {
	if err := os.Chmod(fresh, 0o600); err != nil {
		return fmt.Errorf("kmsv2: %w", err)
	}
	if s.made, err = os.Lstat(fresh); err != nil {
		return fmt.Errorf("kmsv2: %w", err)
	}
	if err := os.Rename(fresh, s.path); err != nil {
		return fmt.Errorf("kmsv2: the socket %s cannot be made: %w", s.path, err)
	}
	return nil
}

// checkFolder refuses a folder in which other users can replace the socket.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("kmsv2: the folder of the socket: %w; make it with mode 0700", err)
	case !info.IsDir():
		return fmt.Errorf("kmsv2: %s is not a folder", dir)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0:
		return fmt.Errorf("kmsv2: other users can write to %s and replace the socket; give it mode 0700", dir)
	}
	return nil
}

// takeOver refuses a path that is in use by another process or is no socket. A stale socket stays
// until it is replaced.
func takeOver(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kmsv2: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("kmsv2: %s exists and is not a socket; remove it or choose another path", path)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil
	}
	return errors.Join(fmt.Errorf("kmsv2: another process serves %s; stop it or choose another path", path), c.Close())
}

// Serve answers until [Server.Shutdown].
func (s *Server) Serve() error {
	if err := s.grpc.Serve(s.l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("kmsv2: %w", err)
	}
	return nil
}

// Shutdown accepts no more calls, waits for those under way until ctx ends, and removes the socket
// if it is still its own.
func (s *Server) Shutdown(ctx context.Context) error {
	var err error
	s.once.Do(func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.grpc.GracefulStop()
		}()
		select {
		case <-done:
		case <-ctx.Done():
			s.grpc.Stop()
			<-done
		}
		if closed := s.l.Close(); closed != nil && !errors.Is(closed, net.ErrClosed) {
			err = closed
		}
		if now, failed := os.Lstat(s.path); failed == nil && os.SameFile(now, s.made) {
			err = errors.Join(err, os.Remove(s.path))
		}
	})
	return err
}

// peerCreds admits processes of some users, by what the kernel says of them.
type peerCreds struct{ allowed []uint32 }

// peerInfo is the process at the other end.
type peerInfo struct {
	credentials.CommonAuthInfo
	uid uint32
}

// AuthType implements credentials.AuthInfo.
func (peerInfo) AuthType() string { return "unix peer" }

// ServerHandshake implements credentials.TransportCredentials.
func (p *peerCreds) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	uid, err := peerUID(c)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(p.allowed, uid) {
		return nil, nil, fmt.Errorf("kmsv2: a process of user %d may not use the socket", uid)
	}
	return c, peerInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, uid}, nil
}

// ClientHandshake implements credentials.TransportCredentials: these are a server's.
func (p *peerCreds) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("kmsv2: these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (p *peerCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix peer"}
}

// Clone implements credentials.TransportCredentials.
func (p *peerCreds) Clone() credentials.TransportCredentials { return p }

// OverrideServerName implements credentials.TransportCredentials.
func (p *peerCreds) OverrideServerName(string) error { return nil }

// maxUID bounds what a caller chooses of an audit entry.
const maxUID = 128

func callOf(ctx context.Context, uid string) Call {
	c := Call{UID: strings.ToValidUTF8(uid[:min(len(uid), maxUID)], "?")}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(peerInfo); ok {
			c.Peer = fmt.Sprint(info.uid)
		}
	}
	return c
}
