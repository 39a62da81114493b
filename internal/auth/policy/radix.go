package policy

import (
	"bytes"
	"slices"
	"strings"
)

// radix finds the longest of its texts that is a prefix of another text. The zero value is empty.
type radix struct {
	here  *candidate // of the text that ends at this node
	first []byte     // the distinct first bytes of the edges, searched without following the edges
	kids  []*branch  // in the same order as first
}

type branch struct {
	edge string
	radix
}

// insert adds a text, or replaces its candidate.
func (r *radix) insert(text string, c *candidate) {
	for text != "" {
		i := bytes.IndexByte(r.first, text[0])
		if i < 0 {
			at, _ := slices.BinarySearch(r.first, text[0])
			r.first = slices.Insert(r.first, at, text[0])
			r.kids = slices.Insert(r.kids, at, &branch{edge: text, radix: radix{here: c}})
			return
		}
		kid := r.kids[i]
		n := common(kid.edge, text)
		if n < len(kid.edge) {
			below := &branch{edge: kid.edge[n:], radix: kid.radix}
			kid.edge, kid.radix = kid.edge[:n], radix{first: []byte{below.edge[0]}, kids: []*branch{below}}
		}
		r, text = &kid.radix, text[n:]
	}
	r.here = c
}

func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// longest returns the candidate of the longest text that is a prefix of path.
func (r *radix) longest(path string) *candidate {
	best := r.here
	for path != "" {
		i := bytes.IndexByte(r.first, path[0])
		if i < 0 {
			return best
		}
		kid := r.kids[i]
		if !strings.HasPrefix(path, kid.edge) {
			return best
		}
		path, r = path[len(kid.edge):], &kid.radix
		if r.here != nil {
			best = r.here
		}
	}
	return best
}
