package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"
)

// errJSON is returned for data that is not JSON, or nested too deeply.
var errJSON = errors.New("audit: the data is not JSON")

// maxDepth bounds recursion. Such bodies are refused earlier.
const maxDepth = 1024

// redactor copies JSON without white space and replaces every string value by a hash. Keys,
// numbers, booleans and null stay, except numbers that are credentials.
type redactor struct {
	src   []byte
	at    int
	dst   []byte
	value func(dst []byte, quoted []byte, plain bool) ([]byte, error) // writes one string, given with its quotes
	plain []string                                                    // keys whose strings stay in plain text
	// top-level "keys" and "key_info" become their counts
	elide bool
	// numbers below the names of credentials are hashed as the texts that they are taken for
	guarded    bool
	credential bool // the value being copied is below such a name
}

// credentials are the fields whose numbers are secrets: a password or a code may have digits alone,
// and a client may send it without quotes.
var credentials = []string{
	"code", "jwt", "key", "otp", "passcode", "password", "password_hash", "role_id", "secret_id", "token", "totp",
}

// run copies all of src.
func (r *redactor) run() ([]byte, error) {
	if err := r.any(0, false); err != nil {
		return nil, err
	}
	if r.space(); r.at != len(r.src) {
		return nil, errJSON
	}
	return r.dst, nil
}

func (r *redactor) space() {
	for r.at < len(r.src) && (r.src[r.at] == ' ' || r.src[r.at] == '\n' || r.src[r.at] == '\t' || r.src[r.at] == '\r') {
		r.at++
	}
}

// next skips white space and returns the next byte without consuming it; 0 at the end.
func (r *redactor) next() byte {
	if r.space(); r.at < len(r.src) {
		return r.src[r.at]
	}
	return 0
}

func (r *redactor) any(depth int, plain bool) error {
	if depth > maxDepth {
		return errJSON
	}
	switch c := r.next(); {
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.list(depth, plain)
	case c == '"':
		quoted, err := r.quoted()
		if err != nil {
			return err
		}
		r.dst, err = r.value(r.dst, quoted, plain)
		return err
	default:
		return r.literal()
	}
}

// literal copies a number, true, false or null.
func (r *redactor) literal() error {
	begin := r.at
	for r.at < len(r.src) {
		c := r.src[r.at]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' && c != '+' && c != '.' && c != 'E' {
			break
		}
		r.at++
	}
	if !json.Valid(r.src[begin:r.at]) {
		return errJSON
	}
	literal := r.src[begin:r.at]
	if r.credential && (literal[0] == '-' || literal[0] >= '0' && literal[0] <= '9') {
		quoted := append(append([]byte{'"'}, literal...), '"')
		defer clear(quoted)
		var err error
		r.dst, err = r.value(r.dst, quoted, false)
		return err
	}
	r.dst = append(r.dst, literal...)
	return nil
}

// quoted consumes a string and returns it with its quotes.
func (r *redactor) quoted() ([]byte, error) {
	begin := r.at
	for r.at++; r.at < len(r.src); r.at++ {
		switch c := r.src[r.at]; {
		case c == '\\':
			r.at++
		case c < ' ':
			return nil, errJSON
		case c == '"':
			r.at++
			return r.src[begin:r.at], nil
		}
	}
	return nil, errJSON
}

func (r *redactor) list(depth int, plain bool) error {
	r.at++
	r.dst = append(r.dst, '[')
	if r.next() == ']' {
		r.at++
		r.dst = append(r.dst, ']')
		return nil
	}
	for {
		if err := r.any(depth+1, plain); err != nil {
			return err
		}
		c := r.next()
		r.at++
		r.dst = append(r.dst, c)
		switch c {
		case ',':
		case ']':
			return nil
		default:
			return errJSON
		}
	}
}

func (r *redactor) object(depth int) error {
	r.at++
	r.dst = append(r.dst, '{')
	if r.next() == '}' {
		r.at++
		r.dst = append(r.dst, '}')
		return nil
	}
	for {
		if err := r.member(depth); err != nil {
			return err
		}
		c := r.next()
		r.at++
		r.dst = append(r.dst, c)
		switch c {
		case ',':
		case '}':
			return nil
		default:
			return errJSON
		}
	}
}

func (r *redactor) member(depth int) error {
	if r.next() != '"' {
		return errJSON
	}
	quoted, err := r.quoted()
	if err != nil {
		return err
	}
	text, err := unquote(quoted)
	if err != nil {
		return err
	}
	r.dst = appendString(r.dst, text)
	if r.next() != ':' {
		return errJSON
	}
	r.at++
	r.dst = append(r.dst, ':')
	if name := string(text); r.elide && depth == 0 && (name == "keys" || name == "key_info") {
		return r.count(depth + 1)
	}
	outer := r.credential
	r.credential = r.guarded && slices.Contains(credentials, string(text))
	err = r.any(depth+1, len(r.plain) > 0 && slices.Contains(r.plain, string(text)))
	r.credential = outer
	return err
}

// count writes the number of elements of a list or object, and copies any other value.
func (r *redactor) count(depth int) error {
	if c := r.next(); c != '[' && c != '{' {
		return r.any(depth, false)
	}
	begin, mark := r.at, len(r.dst)
	if err := r.any(depth, false); err != nil {
		return err
	}
	var list []json.RawMessage
	var object map[string]json.RawMessage
	n, part := 0, r.src[begin:r.at]
	if json.Unmarshal(part, &list) == nil {
		n = len(list)
	} else if json.Unmarshal(part, &object) == nil {
		n = len(object)
	}
	r.dst = strconv.AppendInt(r.dst[:mark], int64(n), 10)
	return nil
}

// unquote decodes a JSON string like encoding/json.
func unquote(quoted []byte) ([]byte, error) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner, nil
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, errJSON
	}
	return []byte(text), nil
}

const hexDigits = "0123456789abcdef"

// appendString appends a text as a JSON string in valid UTF-8 on one line.
func appendString[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	begin := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(text[i:min(len(text), i+utf8.UTFMax)]))
			if r == '\u2028' || r == '\u2029' { // some readers treat these as line ends
				dst = append(append(dst, text[begin:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&15])
				i += n
				begin = i
				continue
			}
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		dst = append(dst, text[begin:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			if c >= utf8.RuneSelf {
				dst = append(dst, `\ufffd`...)
			} else {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
		}
		i++
		begin = i
	}
	return append(append(dst, text[begin:]...), '"')
}
