package worker

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is memory that parent and child share: for each session one slot with a request and its
// response, and for each side a word that says whether it polls. A side that finds the other one
// polling puts a frame into the slot; otherwise it sends the frame through the socket, which wakes
// the other side. So the ring needs no system calls, and nothing waits for it alone.
//
//	0     parent polls u32
//	64    child polls u32
//	128   slots in use u32: all are below it
//	4096  states of the slots u32, 64 bytes apart
//	8192  slots: a request of at most 4096 bytes, a response likewise; both are frames
//
// A slot's state changes in this order: free, requested (by the parent), taken, done (by the
// child), free. Who sends a frame takes it back from requested or done if the other side ended its
// polling meanwhile. The size is sealed, so the child cannot truncate the memory. The parent
// believes nothing of it: it copies a response once, bounds its length, and keeps its own list of
// what it asked for.
type ring struct {
	file *os.File
	mem  []byte
}

// Layout and states of the ring.
const (
	ringSlots = 64
	ringFrame = 4096 // the longest frame
	ringHead  = 8192
	ringSize  = ringHead + ringSlots*2*ringFrame

	slotFree      = 0
	slotRequested = 1
	slotTaken     = 2
	slotDone      = 3
)

// newRing makes the memory. The file is for the child.
func newRing() (*ring, error) {
	fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("a memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "ring")
	err = f.Truncate(ringSize)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err == nil {
		var r *ring
		if r, err = mapRing(f); err == nil {
			return r, nil
		}
	}
	_ = f.Close()
	return nil, fmt.Errorf("a memory file: %w", err)
}

// mapRing maps the memory of a file that newRing made.
func mapRing(f *os.File) (*ring, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, ringSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	r := &ring{file: f, mem: mem}
	runtime.AddCleanup(r, func(mem []byte) { _ = unix.Munmap(mem) }, mem)
	return r, nil
}

// sent closes the file, which the child has now.
func (r *ring) sent() {
	if r != nil && r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}

func (r *ring) word(at int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&r.mem[at])) }

func (r *ring) parentPolls() *atomic.Uint32 { return r.word(0) }
func (r *ring) childPolls() *atomic.Uint32  { return r.word(64) }
func (r *ring) inUse() *atomic.Uint32       { return r.word(128) }

func (r *ring) state(slot int) *atomic.Uint32 { return r.word(4096 + slot*64) }

// request is where the slot's request is written and read.
func (r *ring) request(slot int) []byte { return r.area(2 * slot) }

// response likewise.
func (r *ring) response(slot int) []byte { return r.area(2*slot + 1) }

func (r *ring) area(i int) []byte {
	at := ringHead + i*ringFrame
	return r.mem[at : at+ringFrame : at+ringFrame]
}

// frameIn returns the frame at the start of a slot's area, without its length; nil if the length is
// impossible. It reads the length once.
func frameIn(area []byte) []byte {
	n := int(binary.LittleEndian.Uint32(area)) + 4
	if n < head || n > len(area) {
		return nil
	}
	return area[4:n]
}

// osYield gives the processor to another thread that is ready.
func osYield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
