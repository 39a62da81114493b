package worker

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/secret"
)

// PIN is a PIN for workers. It lies in a sealed memory file, so that it is not in this process's
// address space but for the moments when it is stored and compared.
type PIN struct {
	f *os.File
	n int
}

// KeepPIN stores a copy of the PIN.
func KeepPIN(s *secret.Bytes) (*PIN, error) {
	if s.Len() > maxPIN {
		return nil, fmt.Errorf("the PIN has %d bytes; the limit is %d", s.Len(), maxPIN)
	}
	fd, err := unix.MemfdCreate("pin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("a memory file for the PIN: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pin")
	_, err = f.Write(s.Expose())
	if err == nil {
		const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("a memory file for the PIN: %w", err)
	}
	return &PIN{f: f, n: s.Len()}, nil
}

// Len is the PIN's length.
func (p *PIN) Len() int {
	if p == nil {
		return 0
	}
	return p.n
}

// Equal compares in constant time.
func (p *PIN) Equal(o *PIN) bool {
	a, b := p.read(), o.read()
	defer a.Destroy()
	defer b.Destroy()
	return a.Equal(b)
}

func (p *PIN) read() *secret.Bytes {
	if p == nil {
		return nil
	}
	b := make([]byte, p.n)
	if _, err := p.f.ReadAt(b, 0); err != nil && err != io.EOF {
		clear(b)
		return nil
	}
	return secret.New(b)
}

// Destroy frees the memory.
func (p *PIN) Destroy() {
	if p != nil {
		_ = p.f.Close()
	}
}

// file returns a descriptor for a child.
func (p *PIN) file() (*os.File, error) {
	fd, err := unix.FcntlInt(p.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pin"), nil
}
