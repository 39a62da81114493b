package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

// deviceSpan is a key in an HSM or KMS with the records that it was to sign: that of its choice to
// that of its end.
type deviceSpan struct {
	name        string // "" where it signed none
	fingerprint string
	from, to    uint64
	missing     []uint64 // records without its signature
	known       string   // its name in -signers
}

// deviceSpans lists the keys that the chain itself names. The last one is to sign up to the end.
func deviceSpans(r *transcript.Report) (all []deviceSpan) {
	for i, k := range r.DeviceKeys {
		if k.Fingerprint == "" {
			continue
		}
		s := deviceSpan{fingerprint: k.Fingerprint, from: k.Record, to: max(k.Record, r.Head.Seq)}
		if i+1 < len(r.DeviceKeys) {
			s.to = r.DeviceKeys[i+1].Record
		}
		all = append(all, s)
	}
	return all
}

// namedInChain reports whether the chain says that a key in a device signs a record.
func namedInChain(spans []deviceSpan, record uint64, fingerprint string) bool {
	return slices.ContainsFunc(spans, func(s deviceSpan) bool {
		return s.fingerprint == fingerprint && s.from <= record && record <= s.to
	})
}

// checkDevices finds the records that lack the signature of a key in a device. That is a problem
// where required says so, or where signers has the key of one.
func checkDevices(r *transcript.Report, signed []coSigned, signers cosign.Signers, required bool) []deviceSpan {
	spans := deviceSpans(r)
	has := map[string]map[uint64]bool{}
	names := map[string]string{}
	for _, s := range signed {
		if !cosign.IsDevice(s.Name) {
			continue
		}
		if has[s.fingerprint] == nil {
			has[s.fingerprint] = map[uint64]bool{}
		}
		has[s.fingerprint][s.Seq], names[s.fingerprint] = true, s.Name
	}
	for i := range spans {
		s := &spans[i]
		s.name, s.known = names[s.fingerprint], signers[s.fingerprint]
		for seq := s.from; seq <= s.to; seq++ {
			if !has[s.fingerprint][seq] {
				s.missing = append(s.missing, seq)
			}
		}
	}
	pinned := pinnedDevices(signers)
	if required || len(pinned) > 0 {
		addDeviceProblems(r, spans, pinned)
	}
	return spans
}

// pinnedDevices are the signers that are keys in devices: their names by their fingerprints.
func pinnedDevices(signers cosign.Signers) map[string]string {
	all := map[string]string{}
	for print, name := range signers {
		if cosign.IsDevice(name) {
			all[print] = name
		}
	}
	return all
}

func addDeviceProblems(r *transcript.Report, spans []deviceSpan, pinned map[string]string) {
	bad := func(record uint64, name, text string, args ...any) {
		by := "a key in a device"
		if name != "" {
			by = fmt.Sprintf("%.60q", name)
		}
		r.Problems = append(r.Problems, transcript.Problem{Record: record,
			Text: coSignatureBy + by + ": " + fmt.Sprintf(text, args...)})
	}
	if len(spans) == 0 && len(pinned) == 0 {
		bad(0, "", "no record says that one signs")
	}
	for _, print := range slices.Sorted(maps.Keys(pinned)) {
		if !slices.ContainsFunc(spans, func(s deviceSpan) bool { return s.fingerprint == print }) {
			bad(0, pinned[print], "no record says that the key %s in -signers signs", print)
		}
	}
	for _, s := range spans {
		if len(pinned) > 0 && pinned[s.fingerprint] == "" {
			bad(s.from, s.name, "the key %s, which signs from here on, is none of -signers", s.fingerprint)
		}
		if len(s.missing) > 0 {
			bad(s.missing[0], s.name, "the key %s was to sign %s, and did not", s.fingerprint, recordRanges(s.missing))
		}
	}
}

// text is "device:pkcs11/notary with the key SHA256:..., from record 2 to 9, not signed: record 4".
func (s deviceSpan) text() string {
	text := "the key " + s.fingerprint
	if s.name != "" {
		text = s.name + " with " + text
	}
	text += ", from record " + fmt.Sprintf("%d to %d", s.from, s.to)
	if len(s.missing) > 0 {
		text += ", not signed: " + recordRanges(s.missing)
	}
	return text
}

// recordRanges is "record 4" or "records 4, 6 to 9" of ascending numbers.
func recordRanges(list []uint64) string {
	var out []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i == j {
			out = append(out, fmt.Sprint(list[i]))
		} else {
			out = append(out, fmt.Sprintf("%d to %d", list[i], list[j]))
		}
		i = j + 1
	}
	if len(list) == 1 {
		return "record " + out[0]
	}
	return "records " + strings.Join(out, ", ")
}
