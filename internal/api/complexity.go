package api

import (
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
)

// errComplex refuses JSON that costs more to decode than a request is worth.
func errComplex(format string, args ...any) error {
	return fault.New(fault.Invalid, "refused JSON input due to high complexity: %s", fmt.Sprintf(format, args...))
}

// perValue is roughly what Go needs for one decoded value beside its bytes: an interface, its
// content, its share of a map.
const perValue = 64

// checkJSON bounds what decoding body may take: depth of nesting, number of strings, memory. It
// reads each byte once, allocates nothing, and leaves it to the decoder to check the syntax. It
// returns the estimate of the memory.
func checkJSON(body []byte, l *Limits) (memory int64, err error) {
	var depth int
	var strings int64
	inString := false
	for i := 0; i < len(body); i++ {
		c := body[i]
		if inString {
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch c {
		case '"':
			inString = true
			if strings++; strings > l.JSONStrings {
				return 0, errComplex("more than %d strings (max_request_json_strings)", l.JSONStrings)
			}
			memory += perValue
		case '{', '[':
			if depth++; depth > l.JSONDepth {
				return 0, errComplex("nested deeper than %d", l.JSONDepth)
			}
			memory += perValue
		case '}', ']':
			depth--
		case ',':
			memory += perValue
		}
	}
	if memory += int64(len(body)); memory > l.JSONMemory {
		return 0, errComplex("decoding it would take about %d bytes; at most %d are allowed (max_request_json_memory)",
			memory, l.JSONMemory)
	}
	return memory, nil
}

// checkJSON bounds what decoding a body of the request may take, and reserves it.
func (q *Request) checkJSON(body []byte) error {
	memory, err := checkJSON(body, q.Limits)
	if err != nil {
		return err
	}
	return q.reserveMemory(memory - perByte*int64(len(body))) // the rest was reserved for the body
}
