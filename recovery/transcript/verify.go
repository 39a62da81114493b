package transcript

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// MaxFile bounds what [VerifyFile] holds in memory of a file: one record or, if the public key
// follows the records instead of preceding them, all records. The file itself may have any length.
const MaxFile = 64 << 20

// ErrFile is returned for a file that is not a chain: not JSON, a record too long, or without a key
// to verify it.
var ErrFile = errors.New("not a transcript")

// Problem is one defect of a file.
type Problem struct {
	Record uint64 // its number, 0 for the whole file
	Field  string // "" for the whole record
	Text   string
}

// String returns the problem in one line: `record 3: field "holders" was altered`.
func (p Problem) String() string {
	var b strings.Builder
	if p.Record > 0 {
		fmt.Fprintf(&b, "record %d: ", p.Record)
	}
	if p.Field != "" {
		fmt.Fprintf(&b, "field %q ", p.Field)
	}
	b.WriteString(p.Text)
	return b.String()
}

// Report is the result of a verification.
type Report struct {
	PublicKey   ed25519.PublicKey
	KeyFromFile bool // the key comes from the file, which proves consistency, not origin
	Records     int
	Head        Head // of the last genuine record; note it to detect removed records later
	// Checked lists the heads with which the chain was compared. Without one, records that are missing
	// at the end are not noticed.
	Checked []Checked
	// CoSignatures are those in the file, which this package does not verify.
	CoSignatures []CoSignature
	// DeviceKeys are the changes of the key in an HSM or KMS that co-signs, in the order of the chain,
	// as far as their records are unaltered.
	DeviceKeys []DeviceKey
	Problems   []Problem

	seen map[uint64]found
}

// OK reports whether there is no problem.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

func (r *Report) add(record uint64, field, text string, args ...any) {
	r.Problems = append(r.Problems, Problem{record, field, fmt.Sprintf(text, args...)})
}

// VerifyFile checks a chain in the JSON of [File]. public is the key that must have signed it, nil
// for the file's own. head is one that was noted earlier, or nil; the head in the file counts in
// any case. The error is [ErrFile]; the
// report contains all other problems.
func VerifyFile(r io.Reader, public ed25519.PublicKey, head *Head) (*Report, error) {
	f := &fileReader{input: &meter{r: r}, expected: public, names: map[string]bool{}}
	f.json = json.NewDecoder(f.input)
	f.check = &checker{report: &Report{PublicKey: public}, public: public, seen: map[uint64]found{}}
	if err := f.read(); err != nil {
		if !errors.Is(err, ErrFile) {
			err = fmt.Errorf("%w: %w", ErrFile, err)
		}
		return nil, err
	}
	f.check.finish(head)
	f.check.report.seen = f.check.seen
	return f.check.report, nil
}

// found is a record's place in the chain: the signed one if it is genuine, else the claimed one.
type found struct {
	seq      uint64
	previous Hash
	hash     Hash
	genuine  bool
}

// checker collects a file's records.
type checker struct {
	report *Report
	public ed25519.PublicKey
	last   found // the record before it in the file
	seen   map[uint64]found

	attested *Attested // the head in the file; nil: none
	keys     []DeviceKey
}

// farthest bounds the number that an unsigned record may claim, relative to its position.
const farthest = 1 << 20

func (c *checker) record(raw json.RawMessage) {
	want := c.last.seq + 1
	p, err := parse(raw)
	if err != nil {
		c.report.add(want, "", "is unreadable: %v", err)
		c.put(found{seq: want})
		return
	}
	f, problems := judge(p, c.public, want, c.last.hash)
	if !f.genuine && (f.seq == 0 || f.seq > want+farthest || c.seen[f.seq].genuine) {
		f.seq = want
	}
	for _, problem := range problems {
		c.report.add(f.seq, problem.Field, "%s", problem.Text)
	}
	if key, ok := p.record.DeviceKey(f.seq); ok && f.genuine && len(problems) == 0 {
		c.keys = append(c.keys, key)
	}
	c.put(f)
}

// put adds a record to the chain.
func (c *checker) put(f found) {
	before, twice := c.seen[f.seq]
	switch {
	case twice && f.genuine && before.genuine && before.hash == f.hash:
		c.report.add(f.seq, "", "occurs twice")
	case twice && f.genuine && before.genuine:
		c.report.add(f.seq, "", "has two different signed versions: the chain forked")
	case !twice && f.seq < c.last.seq:
		c.report.add(f.seq, "", "follows record %d: the order was changed", c.last.seq)
	}
	if !twice || f.genuine && !before.genuine {
		c.seen[f.seq] = f
	}
	c.last = f
}

// finish checks the whole chain: missing records, and whether each record follows its predecessor.
func (c *checker) finish(head *Head) {
	numbers := make([]uint64, 0, len(c.seen))
	for n := range c.seen {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	before := found{genuine: true}
	for _, n := range numbers {
		f := c.seen[n]
		if n > before.seq+1 {
			c.missing(before.seq+1, n-1, "")
		} else if f.genuine && before.genuine && f.previous != before.hash {
			c.report.add(n, "previous", "is not the hash of record %d: one of the two was inserted from another chain", n-1)
		}
		if f.genuine {
			c.report.Head = Head{Seq: n, Hash: f.hash}
		}
		before = f
	}
	c.heads(head, before.seq)
	c.wrongKey(numbers)
	slices.SortStableFunc(c.keys, func(a, b DeviceKey) int { return cmp.Compare(a.Record, b.Record) })
	c.report.DeviceKeys = slices.CompactFunc(c.keys, func(a, b DeviceKey) bool { return a.Record == b.Record })
}

// heads compares the chain with the head in the file and with the one that was noted earlier.
func (c *checker) heads(noted *Head, last uint64) {
	if a := c.attested; a != nil && !a.Verify(c.public) {
		c.report.add(0, "head", "does not verify: it was altered, or the key is another one")
	} else if a != nil {
		c.report.Checked = append(c.report.Checked, Checked{a.Head, a.At})
	}
	if noted != nil {
		c.report.Checked = append(c.report.Checked, Checked{Head: *noted})
	}
	compared := map[Head]bool{}
	for _, h := range c.report.Checked {
		if !compared[h.Head] {
			c.compare(h.Head, last)
		}
		compared[h.Head] = true
	}
}

func (c *checker) missing(from, to uint64, where string) {
	if from == to {
		c.report.add(from, "", "is missing%s", where)
		return
	}
	c.report.add(from, "", "is missing%s, and so are all records up to %d", where, to)
}

// compare checks the chain against a head that was noted earlier.
func (c *checker) compare(head Head, last uint64) {
	if head.Seq > last {
		c.missing(last+1, head.Seq, " at the end")
		return
	}
	if f, there := c.seen[head.Seq]; there && f.genuine && f.hash != head.Hash {
		c.report.add(head.Seq, "", "is genuine, but is not the record in the expected head: a holder of the key "+
			"rewrote the history")
	}
}

// wrongKey replaces the signature problems by one if the key signed no record.
func (c *checker) wrongKey(numbers []uint64) {
	for _, n := range numbers {
		if c.seen[n].genuine {
			return
		}
	}
	if len(numbers) < 1 {
		return
	}
	c.report.Problems = slices.DeleteFunc(c.report.Problems, func(p Problem) bool {
		return p.Field == "signature" || p.Field == "head"
	})
	c.report.add(0, "", "the key %s signed no record: it is the wrong key, or everything was rewritten",
		base64.StdEncoding.EncodeToString(c.public))
}
