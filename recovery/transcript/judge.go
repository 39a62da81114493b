package transcript

import (
	"crypto/ed25519"
	"slices"
)

// candidate is one way in which a record could have been before it was altered.
type candidate struct {
	seq      uint64
	previous Hash
	list     []named
}

// judge finds out whether a record is genuine, and if it is not as it was signed, what was altered. want and before are the number and the
// link that it should have by its place in the file.
//
// The signature is the judge: the record is tried as it says it is, then with its number, its link and its list of hashes
// replaced by what follows from its place and its values. What the fitting one differs in was altered.
func judge(p *parsed, public ed25519.PublicKey, want uint64, before Hash) (found, []Problem) {
	actual := p.record.hashes()
	for i := range actual {
		if p.unread[actual[i].name] != "" {
			actual[i].hash = p.listed[i].hash // there is no value to compare: trust the list, and let the signature judge it
		}
	}
	for _, c := range candidates(p, actual, want, before) {
		h := listHash(c.seq, c.previous, c.list)
		if !verify(public, h, p.signature) {
			continue
		}
		return found{c.seq, c.previous, h, true}, append(p.problems, p.against(c, h, actual)...)
	}
	problems := p.problems
	for i, n := range actual {
		problems = append(problems, p.value(n, p.listed[i])...)
	}
	text := "does not fit: the record was rewritten, or the signature is altered or of another key"
	if verify(public, p.hash, p.signature) {
		text = "is genuine for another content: values were altered together with their hashes"
	} else if h := listHash(p.seq, p.previous, p.listed); h == p.hash && len(problems) == 0 {
		text = "does not fit a record that is consistent in itself: the signature is altered or of another key"
	}
	return found{p.seq, p.previous, p.hash, false}, append(problems, Problem{Field: "signature", Text: text})
}

// candidates are tried in order: the record as it is comes first.
func candidates(p *parsed, actual []named, want uint64, before Hash) []candidate {
	var out []candidate
	lists := [][]named{p.listed}
	if !slices.Equal(p.listed, actual) {
		lists = append(lists, actual)
	}
	for _, list := range lists {
		for _, seq := range slices.Compact([]uint64{p.seq, want}) {
			for _, previous := range slices.Compact([]Hash{p.previous, before}) {
				out = append(out, candidate{seq, previous, list})
			}
		}
	}
	return out
}

// against tells in what the file differs from what was signed, whose hash is h.
func (p *parsed) against(c candidate, h Hash, actual []named) []Problem {
	var out []Problem
	differs := func(yes bool, field, text string) {
		if yes {
			out = append(out, Problem{Field: field, Text: text})
		}
	}
	differs(p.seq != c.seq, "seq", "was altered")
	differs(p.previous != c.previous, "previous", "was altered")
	for i, n := range actual {
		out = append(out, p.value(n, c.list[i])...)
		differs(p.listed[i] != c.list[i], n.name, "has an altered or missing hash in the list; its value is genuine")
	}
	differs(p.hash != h, "hash", "was altered")
	return out
}

// value compares a value with the hash that it should have.
func (p *parsed) value(actual, right named) []Problem {
	if why := p.unread[actual.name]; why != "" {
		return []Problem{{Field: actual.name, Text: why}}
	}
	if actual != right {
		return []Problem{{Field: actual.name, Text: "was altered: it does not match its hash"}}
	}
	return nil
}
