package policy

import (
	"sort"
	"strings"
)

// radix finds, of the texts in it, the longest with which another begins. The zero value is empty.
type radix struct {
	here *candidate // for the text up to this node
	kids []*branch  // by the first byte of their edges, which differ
}

type branch struct {
	edge string
	radix
}

// place is where the branch for a byte is, or would be.
func (r *radix) place(c byte) (int, bool) {
	low, high := 0, len(r.kids)
	for low < high {
		mid := int(uint(low+high) / 2)
		if r.kids[mid].edge[0] < c {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(r.kids) && r.kids[low].edge[0] == c
}

// insert adds a text; the same text again replaces it.
func (r *radix) insert(text string, c *candidate) {
	for text != "" {
		i, ok := r.place(text[0])
		if !ok {
			r.kids = append(r.kids, &branch{edge: text, radix: radix{here: c}})
			sort.Slice(r.kids, func(a, b int) bool { return r.kids[a].edge[0] < r.kids[b].edge[0] })
			return
		}
		kid := r.kids[i]
		n := common(kid.edge, text)
		if n < len(kid.edge) {
			below := &branch{edge: kid.edge[n:], radix: kid.radix}
			kid.edge, kid.radix = kid.edge[:n], radix{kids: []*branch{below}}
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

// longest gives the candidate of the longest text with which path begins.
func (r *radix) longest(path string) *candidate {
	best := r.here
	for path != "" {
		i, ok := r.place(path[0])
		if !ok || !strings.HasPrefix(path, r.kids[i].edge) {
			return best
		}
		path, r = path[len(r.kids[i].edge):], &r.kids[i].radix
		if r.here != nil {
			best = r.here
		}
	}
	return best
}
