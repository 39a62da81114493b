package api

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// AppendString appends a JSON string; plain ASCII needs no encoder.
func AppendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil { // strings always encode
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func writeOrNull(buf *bytes.Buffer, v any, there bool) error {
	if !there {
		buf.WriteString("null")
		return nil
	}
	return writeJSON(buf, v)
}

// Render encodes a value as answers do.
func Render(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	err := writeJSON(&buf, v)
	return buf.Bytes(), err
}

// writeJSON writes a value without a newline after it.
func writeJSON(buf *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case json.RawMessage:
		buf.Write(v)
		return nil
	case Opaque:
		buf.Write(v)
		return nil
	case []string:
		if v == nil {
			buf.WriteString("null")
			return nil
		}
	}
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	buf.Truncate(buf.Len() - 1)
	return nil
}

// writeMembers writes an object without its braces, with a comma after its members if there are
// any.
func writeMembers(buf *bytes.Buffer, v any) error {
	start := buf.Len()
	if err := writeJSON(buf, v); err != nil {
		return err
	}
	object := buf.Bytes()[start:]
	if len(object) < 2 || object[0] != '{' || object[len(object)-1] != '}' {
		return fmt.Errorf("api: %T is no object", v)
	}
	n := copy(object, object[1:len(object)-1])
	buf.Truncate(start + n)
	if n > 0 {
		buf.WriteByte(',')
	}
	return nil
}
