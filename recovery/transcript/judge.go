package transcript

import (
	"crypto/ed25519"
	"iter"
	"slices"
)

// candidate is one possible original of an altered record.
type candidate struct {
	seq      uint64
	previous Hash
	list     []named
}

// judge decides whether a record is genuine, and if it was altered, what was altered. want and
// before are the number and the link that follow from the record's position in the file.
//
// The signature decides: judge tries the record as it is, then with the number, the link and the
// listed hashes replaced by those that follow from its position and its values. The differences
// from the candidate whose signature is valid were altered.
func judge(p *parsed, public ed25519.PublicKey, want uint64, before Hash) (found, []Problem) {
	actual := p.record.hashes()
	for i := range actual {
		if p.unread[actual[i].name] != "" {
			actual[i].hash = p.listed[i].hash // without a value, the signature decides about the listed hash
		}
	}
	// If the signature confirms the claimed hash, a comparison replaces a signature check per
	// candidate.
	claimed := verify(public, p.hash, p.signature)
	for c := range candidates(p, actual, want, before, claimed) {
		h := listHash(c.seq, c.previous, c.list)
		if claimed && h != p.hash || !claimed && !verify(public, h, p.signature) {
			continue
		}
		return found{c.seq, c.previous, h, true}, append(p.problems, p.against(c, h, actual)...)
	}
	problems := p.problems
	for i, n := range actual {
		problems = append(problems, p.value(n, p.listed[i])...)
	}
	text := "does not verify: the record was rewritten, or the signature is altered or of another key"
	if claimed {
		text = "is valid for other content: values were altered together with their hashes"
	} else if h := listHash(p.seq, p.previous, p.listed); h == p.hash && len(problems) == 0 {
		text = "does not verify for a consistent record: the signature is altered or of another key"
	}
	return found{p.seq, p.previous, p.hash, false}, append(problems, Problem{Field: "signature", Text: text})
}

// candidates iterates over the possible originals, the record as it is first: with its own number
// or that of its position, its own link or that to the record before, and for each listed hash that
// does not match its value, the listed one or the value's. With many of these, or if each try costs
// a signature check, it replaces all of them or none.
func candidates(p *parsed, actual []named, want uint64, before Hash, cheap bool) iter.Seq[candidate] {
	var differ []int
	for i := range actual {
		if actual[i] != p.listed[i] {
			differ = append(differ, i)
		}
	}
	all, step := 1<<len(differ)-1, 1
	if len(differ) > 8 || !cheap {
		step = max(all, 1)
	}
	return func(yield func(candidate) bool) {
		for mask := 0; mask <= all; mask += step {
			list := slices.Clone(p.listed)
			for bit, i := range differ {
				if mask>>bit&1 == 1 {
					list[i] = actual[i]
				}
			}
			for _, seq := range slices.Compact([]uint64{p.seq, want}) {
				for _, previous := range slices.Compact([]Hash{p.previous, before}) {
					if !yield(candidate{seq, previous, list}) {
						return
					}
				}
			}
		}
	}
}

// against lists the differences between the file and the signed record, whose hash is h.
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

// value compares a value with its expected hash.
func (p *parsed) value(actual, right named) []Problem {
	if why := p.unread[actual.name]; why != "" {
		return []Problem{{Field: actual.name, Text: why}}
	}
	if actual != right {
		return []Problem{{Field: actual.name, Text: "was altered: it does not match its hash"}}
	}
	return nil
}
