package bbolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"os"

	"github.com/sealgate/sealgate/internal/storage"
)

// The layout of a bbolt file (version 2), as far as it is checked here. Numbers are in the
// machine's byte order. A page:
//
//	id u64 | flags u16 | count u16 | overflow u32 | elements
//
// A branch element is "pos u32 | ksize u32 | page u64", a leaf element "flags u32 | pos u32 | ksize
// u32 | vsize u32"; pos counts from the element. A leaf element with flag 1 is a bucket: its value
// is "root page u64 | sequence u64", followed by an inline page if the root is 0.
const (
	pageHeader  = 16
	elementSize = 16
	branchPage  = 0x01
	leafPage    = 0x02
	metaPage    = 0x04
	freePage    = 0x10
	bucketLeaf  = 0x01

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	// magic, version, page size, flags u32;
	// root, sequence, freelist, high-water mark, transaction, checksum u64
	metaSize    = 64
	noFreelist  = ^uint64(0)
	maxDepth    = 64
	maxPageSize = 1 << 16
)

var native = binary.NativeEndian

// dbMeta is a decoded meta page.
type dbMeta struct {
	pageSize                   uint64
	root, free, highWater, txn uint64
	at                         uint64 // of its page in the file
}

// checker walks a file. It reads it with system calls, not through a memory map, so damage cannot
// cause a fault.
type checker struct {
	file   io.ReaderAt
	pace   func() error // called for each page; nil does nothing
	meta   dbMeta
	seen   []bool // by page: reachable, or part of the free list
	depth  int
	inline bool     // within an inline bucket
	metas  int      // valid meta pages
	bufs   [][]byte // by depth, for the pages on the way down
}

// verify refuses a file whose structure would mislead the library: truncated, with invalid pages,
// with pages used twice, in a cycle, or both used and free. It does not check values; their
// checksums do.
func verify(f *os.File) (*checker, error) {
	c, err := examine(f)
	if err != nil {
		return nil, err
	}
	return c, c.named(f, c.verify())
}

// examine reads the meta pages, and refuses a truncated file. Its cost does not grow with the file.
func examine(f *os.File) (*checker, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, ioError(f.Name(), "reading", err)
	}
	c := &checker{file: f}
	return c, c.named(f, c.examine(uint64(info.Size())))
}

func (c *checker) examine(size uint64) (err error) {
	if c.meta, err = c.latestMeta(size); err == nil && c.meta.highWater > size/c.meta.pageSize {
		err = damagef("it is truncated: it has %d bytes, of which %d are in use", size, c.meta.highWater*c.meta.pageSize)
	}
	return err
}

// named returns the error of a verification with the file's name and the remedy.
func (c *checker) named(f *os.File, err error) error {
	var damage damageError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &damage):
		return lost(f.Name(), string(damage))
	}
	var page pageError
	if errors.As(err, &page) {
		return storage.Classified(storage.Failed, fmt.Errorf("%w: %w: the file %s: %w; check the disk and its file system "+
			"(dmesg), then start the server again; if the page stays unreadable, configure a path on another disk, start the "+
			"server, and run `sealgate operator snapshot restore FILE`", storage.ErrCorrupt, storage.ErrUnreadable, f.Name(),
			page))
	}
	return ioError(f.Name(), "reading", err)
}

// warning is for the log.
func (c *checker) warning() string {
	if c.metas < 2 {
		return "one of the two meta pages is damaged; the last commits before the damage may be missing"
	}
	return ""
}

// damageError describes the damage.
type damageError string

func (d damageError) Error() string { return string(d) }

// pageError is a page that the disk cannot read.
type pageError struct {
	page  uint64
	cause error
}

func (p pageError) Error() string {
	return fmt.Sprintf("the disk cannot read page %d: %v", p.page, p.cause)
}

func (p pageError) Unwrap() error { return p.cause }

func damagef(format string, args ...any) error { return damageError(fmt.Sprintf(format, args...)) }

// verify walks the tree and the list of free pages.
func (c *checker) verify() error {
	c.unseen()
	if err := c.tree(c.meta.root, bounds{}); err != nil {
		return err
	}
	return c.freelist()
}

// verifyFree checks the form of the list of free pages alone.
func (c *checker) verifyFree() error {
	c.unseen()
	return c.freelist()
}

func (c *checker) unseen() {
	c.seen = make([]bool, c.meta.highWater)
	c.seen[0], c.seen[1] = true, true
}

// latestMeta returns the current meta page.
func (c *checker) latestMeta(size uint64) (dbMeta, error) {
	best, err := c.metaAt(0)
	if err != nil {
		return dbMeta{}, err
	}
	if best != nil {
		c.metas++
	}
	for at := uint64(1 << 10); at <= maxPageSize && at < size; at <<= 1 {
		m, err := c.metaAt(at)
		if err != nil {
			return dbMeta{}, err
		}
		if m == nil || m.pageSize != at || best != nil && m.pageSize != best.pageSize {
			continue
		}
		c.metas++
		if best == nil || m.txn > best.txn {
			best = m
		}
	}
	switch {
	case best == nil:
		return dbMeta{}, damagef("it has no valid meta page: it is damaged, or not a bbolt database")
	case best.highWater < 3:
		return dbMeta{}, damagef("its meta page is out of bounds")
	}
	return *best, nil
}

// metaAt returns nil for an invalid meta page.
func (c *checker) metaAt(at uint64) (*dbMeta, error) {
	page := make([]byte, pageHeader+metaSize)
	if _, err := c.file.ReadAt(page, int64(at)); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, pageError{0, err} // the meta pages begin the file
	}
	b := page[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	m := &dbMeta{pageSize: uint64(native.Uint32(b[8:])), root: native.Uint64(b[16:]), free: native.Uint64(b[32:]),
		highWater: native.Uint64(b[40:]), txn: native.Uint64(b[48:]), at: at}
	if native.Uint32(b) != metaMagic || native.Uint32(b[4:]) != metaVersion || native.Uint64(b[56:]) != sum.Sum64() ||
		m.pageSize < 1<<10 || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0 {
		return nil, nil
	}
	return m, nil
}

// page reads a page with its overflow and marks it as seen.
func (c *checker) page(id uint64) ([]byte, error) {
	if id < 2 || id >= c.meta.highWater {
		return nil, damagef("page %d is out of bounds", id)
	}
	if c.pace != nil {
		if err := c.pace(); err != nil {
			return nil, err
		}
	}
	b := c.buffer(int(c.meta.pageSize))
	if _, err := c.file.ReadAt(b, int64(id*c.meta.pageSize)); err != nil {
		return nil, pageError{id, err}
	}
	overflow := uint64(native.Uint32(b[12:]))
	if native.Uint64(b) != id || overflow >= c.meta.highWater-id {
		return nil, damagef("page %d has an invalid header", id)
	}
	for n := id; n <= id+overflow; n++ {
		if c.seen[n] {
			return nil, damagef("page %d is used twice", n)
		}
		c.seen[n] = true
	}
	if overflow == 0 {
		return b, nil
	}
	b = c.buffer(int((1 + overflow) * c.meta.pageSize))
	if _, err := c.file.ReadAt(b, int64(id*c.meta.pageSize)); err != nil {
		return nil, pageError{id, err}
	}
	return b, nil
}

// buffer returns the buffer of the current depth.
func (c *checker) buffer(size int) []byte {
	for len(c.bufs) <= c.depth {
		c.bufs = append(c.bufs, nil)
	}
	if cap(c.bufs[c.depth]) < size {
		c.bufs[c.depth] = make([]byte, size)
	}
	return c.bufs[c.depth][:size]
}

// bounds are the bounds of the keys of a subtree: low inclusive, high exclusive; nil means none.
// They point into the buffers of the pages above.
type bounds struct{ low, high []byte }

func (b bounds) hold(key []byte) bool {
	return len(key) > 0 && (b.low == nil || bytes.Compare(b.low, key) <= 0) &&
		(b.high == nil || bytes.Compare(key, b.high) < 0)
}

// tree walks the pages below id.
func (c *checker) tree(id uint64, within bounds) error {
	if c.depth++; c.depth > maxDepth {
		return damagef("page %d is nested too deeply", id)
	}
	defer func() { c.depth-- }()
	b, err := c.page(id)
	if err != nil {
		return err
	}
	switch flags := native.Uint16(b[8:]); flags {
	case branchPage:
		return c.branch(id, b, within)
	case leafPage:
		return c.leaf(id, b, within)
	default:
		return damagef("page %d has the flags %#x", id, flags)
	}
}

// elements returns the elements of a page, each with the bytes from its key on.
func elements(id uint64, b []byte, posAt int) iter.Seq2[[]byte, []byte] {
	count := min(int(native.Uint16(b[10:])), (len(b)-pageHeader)/elementSize)
	return func(yield func(element, rest []byte) bool) {
		for i := range count {
			at := pageHeader + i*elementSize
			element := b[at : at+elementSize]
			pos := min(uint64(native.Uint32(element[posAt:])), uint64(len(b)-at))
			if !yield(element, b[uint64(at)+pos:]) {
				return
			}
		}
	}
}

// branchElement is a reference to a subtree.
type branchElement struct {
	key  []byte
	page uint64
}

func (c *checker) branch(id uint64, b []byte, within bounds) error {
	var children []branchElement
	for element, rest := range elements(id, b, 0) {
		size := uint64(native.Uint32(element[4:]))
		if size > uint64(len(rest)) {
			return damagef("a key of page %d is out of bounds", id)
		}
		key := rest[:size:size]
		if n := len(children); !within.hold(key) || n > 0 && bytes.Compare(children[n-1].key, key) >= 0 {
			return damagef("the keys of page %d are out of order at %q", id, key)
		}
		children = append(children, branchElement{key, native.Uint64(element[8:])})
	}
	if len(children) == 0 || len(children) != int(native.Uint16(b[10:])) {
		return damagef("page %d has a wrong number of elements", id)
	}
	for i, each := range children {
		below := bounds{low: each.key, high: within.high}
		if i+1 < len(children) {
			below.high = children[i+1].key
		}
		if err := c.tree(each.page, below); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) leaf(id uint64, b []byte, within bounds) error {
	var last []byte
	count := 0
	for element, rest := range elements(id, b, 4) {
		flags, ksize, vsize := native.Uint32(element), uint64(native.Uint32(element[8:])), uint64(native.Uint32(element[12:]))
		if flags > bucketLeaf || ksize+vsize > uint64(len(rest)) {
			return damagef("an element of page %d is out of bounds", id)
		}
		key, value := rest[:ksize], rest[ksize:ksize+vsize]
		if !within.hold(key) || count > 0 && bytes.Compare(last, key) >= 0 {
			return damagef("the keys of page %d are out of order at %q", id, key)
		}
		if flags == bucketLeaf {
			if err := c.bucket(id, value); err != nil {
				return err
			}
		}
		last = key
		count++
	}
	if count != int(native.Uint16(b[10:])) {
		return damagef("page %d has a wrong number of elements", id)
	}
	return nil
}

// bucket walks a bucket's tree, or its inline page, which holds no nested buckets.
func (c *checker) bucket(id uint64, value []byte) error {
	switch {
	case len(value) < pageHeader || c.inline:
		return damagef("page %d holds a bucket out of bounds", id)
	case native.Uint64(value) != 0:
		return c.tree(native.Uint64(value), bounds{})
	case len(value) < 2*pageHeader || native.Uint16(value[pageHeader+8:]) != leafPage:
		return damagef("page %d holds a bucket that is not a leaf", id)
	}
	c.inline = true
	defer func() { c.inline = false }()
	return c.leaf(id, value[pageHeader:], bounds{})
}

// freelist checks that no page is both in use and free.
func (c *checker) freelist() error {
	if c.meta.free == noFreelist {
		return damagef("its list of free pages is missing")
	}
	b, err := c.page(c.meta.free)
	if err != nil {
		return err
	}
	if native.Uint16(b[8:]) != freePage {
		return damagef("the list of free pages is not at page %d", c.meta.free)
	}
	count, list := uint64(native.Uint16(b[10:])), b[pageHeader:]
	if count == 0xFFFF {
		count, list = native.Uint64(list), list[8:]
	}
	if count > uint64(len(list))/8 {
		return damagef("the list of free pages is out of bounds")
	}
	last := uint64(0)
	for i := range count {
		id := native.Uint64(list[8*i:])
		if id <= last || id < 2 || id >= c.meta.highWater || c.seen[id] {
			return damagef("page %d cannot be free", id)
		}
		last = id
	}
	return nil
}
