package bbolt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A mark lets Open verify a large file after the start instead of before it. It is the file
// ".sealgate.db.mark" beside the database, written in place and never trusted for data: whatever is
// wrong with it, Open verifies the whole file first, as it does without one.
//
//	magic "SGBM" | version u8 = 1 | state u8 | inode u64 | ctime i64, ns | boot id 32 bytes |
//	transaction u64 | CRC-32C u32 of the current meta page | CRC-32C u32 of the list of free pages |
//	CRC-32C u32 of all before
//
// The writer marks the file as busy before each group of commits, and as idle after it. So a mark
// that matches proves that the last process to write the file was this program, that nobody has
// changed, copied or replaced it since (inode and change time), that the kernel has lost no write
// (the same boot, or a clean end), and that the list of free pages, which decides what the next
// write overwrites, is what the library wrote. A mark that is only busy proves the same of the meta
// page, or of the next one, that the process was about to write when it was killed.
//
// What remains is damage that a disk does silently at rest. Open has never noticed it in time for a
// file that stays open; the verification in the background finds it a few seconds later.
const (
	markName    = ".sealgate.db.mark"
	markVersion = 1
	markSize    = 4 + 2 + 8 + 8 + 32 + 8 + 4 + 4 + 4

	// largeFile is the size from which a file has a mark: a smaller one is verified within 20 ms.
	largeFile = 32 << 20

	// ctimeTick is more than the resolution of a change time in Linux (10 ms at 100 Hz).
	ctimeTick = 12 * time.Millisecond
)

// States of a mark.
const (
	markBusy     = 1 << iota // a group may be partly written
	markClean                // the store was closed
	markVerified             // the whole file was verified since it was opened
)

// fileMark is a decoded mark.
type fileMark struct {
	state      byte
	inode      uint64
	ctime      int64
	boot       [32]byte // SHA-256 of the kernel's boot id; zero where there is none
	txn        uint64
	meta, free uint32
}

func (m *fileMark) marshal() []byte {
	b := append(make([]byte, 0, markSize), "SGBM"...)
	b = append(b, markVersion, m.state)
	b = binary.BigEndian.AppendUint64(b, m.inode)
	b = binary.BigEndian.AppendUint64(b, uint64(m.ctime))
	b = append(b, m.boot[:]...)
	b = binary.BigEndian.AppendUint64(b, m.txn)
	b = binary.BigEndian.AppendUint32(b, m.meta)
	b = binary.BigEndian.AppendUint32(b, m.free)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func unmarshalMark(b []byte) (m fileMark, ok bool) {
	if len(b) != markSize || string(b[:4]) != "SGBM" || b[4] != markVersion ||
		binary.BigEndian.Uint32(b[markSize-4:]) != crc32.Checksum(b[:markSize-4], castagnoli) {
		return m, false
	}
	m = fileMark{state: b[5], inode: binary.BigEndian.Uint64(b[6:]), ctime: int64(binary.BigEndian.Uint64(b[14:])),
		boot: [32]byte(b[22:54]), txn: binary.BigEndian.Uint64(b[54:]), meta: binary.BigEndian.Uint32(b[62:]),
		free: binary.BigEndian.Uint32(b[66:])}
	return m, true
}

// bootID returns a hash of the kernel's boot id; zero where there is none.
func bootID() (id [32]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(strings.TrimSpace(string(text))) == 0 {
		return id
	}
	return sha256.Sum256(text)
}

// observe returns the mark of a file as it is now.
func observe(f *os.File, c *checker, boot [32]byte) (m fileMark, err error) {
	if err := identity(f, &m); err != nil {
		return m, err
	}
	m.boot, m.txn = boot, c.meta.txn
	if m.meta, err = c.metaSum(); err != nil {
		return m, err
	}
	m.free, err = c.freeSum()
	return m, err
}

// identity reads what a copy, a replacement or a change of the file changes.
func identity(f *os.File, m *fileMark) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return ioError(f.Name(), "reading", err)
	}
	m.inode, m.ctime = st.Ino, st.Ctim.Nano()
	return nil
}

// metaSum returns the checksum of the current meta page.
func (c *checker) metaSum() (uint32, error) {
	page := make([]byte, pageHeader+metaSize)
	if _, err := c.file.ReadAt(page, int64(c.meta.at)); err != nil {
		return 0, err
	}
	return crc32.Checksum(page, castagnoli), nil
}

// freeSum returns the checksum of the list of free pages.
func (c *checker) freeSum() (uint32, error) {
	if c.meta.free < 2 || c.meta.free >= c.meta.highWater {
		return 0, damagef("the list of free pages is missing")
	}
	at := int64(c.meta.free * c.meta.pageSize)
	header := make([]byte, pageHeader+8)
	if _, err := c.file.ReadAt(header, at); err != nil {
		return 0, err
	}
	count, start := uint64(native.Uint16(header[10:])), uint64(pageHeader)
	if count == 0xFFFF {
		count, start = native.Uint64(header[pageHeader:]), pageHeader+8
	}
	size := (1 + uint64(native.Uint32(header[12:]))) * c.meta.pageSize
	if count > (size-start)/8 {
		return 0, damagef("the list of free pages is out of bounds")
	}
	sum := crc32.New(castagnoli)
	_, err := io.Copy(sum, io.NewSectionReader(c.file, at, int64(start+8*count)))
	return sum.Sum32(), err
}

// trusted reports whether a file is as the last process left it, so that it may be verified after
// the start. The checker has the current meta page. The caller holds the lock of the file.
func trusted(f *os.File, c *checker) bool {
	b, err := os.ReadFile(markPath(f.Name()))
	if err != nil {
		return false
	}
	before, ok := unmarshalMark(b)
	if !ok {
		return false
	}
	now, err := observe(f, c, bootID())
	if err != nil || now.inode != before.inode {
		return false
	}
	booted := now.boot == before.boot && now.boot != [32]byte{}
	clean := before.state&markClean != 0
	switch {
	case !clean && (!booted || before.state&markVerified == 0):
		return false
	case before.state&markBusy == 0:
		return now.ctime == before.ctime && now.txn == before.txn && now.meta == before.meta && now.free == before.free
	case now.txn == before.txn:
		return now.meta == before.meta && now.free == before.free
	}
	return now.txn == before.txn+1
}

func markPath(database string) string { return filepath.Join(filepath.Dir(database), markName) }

// marker keeps the mark of an open file up to date. A failure to write it costs the next Open a
// verification before the start, and nothing else.
type marker struct {
	mu       sync.Mutex // the writer and the verification in the background use it
	file     *os.File   // of the mark; nil while the database is small
	verified bool
	boot     [32]byte
	last     fileMark
}

// begin creates the mark of a large file.
func (k *marker) begin(db *os.File, verified bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, err := os.OpenFile(markPath(db.Name()), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	k.file, k.verified, k.boot = f, verified, bootID()
	return k.record(db, 0)
}

// record writes the file as it is.
func (k *marker) record(db *os.File, state byte) error {
	info, err := db.Stat()
	if err != nil {
		return err
	}
	c := &checker{file: db}
	if c.meta, err = c.latestMeta(uint64(info.Size())); err != nil {
		return err
	}
	if k.last, err = observe(db, c, k.boot); err != nil {
		return err
	}
	return k.write(state)
}

func (k *marker) write(state byte) error {
	if k.verified {
		state |= markVerified
	}
	k.last.state = state
	_, err := k.file.WriteAt(k.last.marshal(), 0)
	return err
}

// busy records that a group is about to be written.
func (k *marker) busy() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	return k.write(markBusy)
}

// idle records the file as it is after a group. It creates the mark of a file that became large.
func (k *marker) idle(db *os.File, size int64) error {
	k.mu.Lock()
	marked := k.file != nil
	k.mu.Unlock()
	if !marked {
		if size < largeFile {
			return nil
		}
		return k.begin(db, true) // a small file was verified when it was opened
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.record(db, 0)
}

// confirm records that the whole file was verified.
func (k *marker) confirm() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.verified = true
	if k.file == nil {
		return nil
	}
	return k.write(k.last.state)
}

// end closes the mark. A clean end waits until a later change of the database must have a later
// change time.
func (k *marker) end(db *os.File, clean bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	var err error
	if clean {
		var at fileMark
		if err = identity(db, &at); err == nil {
			time.Sleep(min(ctimeTick, time.Until(time.Unix(0, at.ctime).Add(ctimeTick))))
			if err = k.record(db, markClean); err == nil {
				err = k.file.Sync()
			}
		}
	}
	err = errors.Join(err, k.file.Close())
	k.file = nil
	return err
}
