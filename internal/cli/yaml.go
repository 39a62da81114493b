package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// yaml writes the JSON form of v in YAML's block style. Strings and keys are double-quoted as in
// JSON, of which YAML 1.2 is a superset, unless they are plain words without another meaning in
// YAML.
func yaml(v any) (string, error) {
	var data bytes.Buffer
	if err := json.NewEncoder(&data).Encode(v); err != nil {
		return "", err
	}
	dec := json.NewDecoder(&data)
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return "", err
	}
	var s strings.Builder
	yamlNode(&s, tree, 0)
	return strings.TrimLeft(s.String(), "\n "), nil
}

// yamlNode writes the value after a "key:" or "-": a scalar on the same line, or a block on the
// next ones.
func yamlNode(s *strings.Builder, v any, depth int) {
	indent := strings.Repeat("  ", depth)
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			s.WriteString(" {}\n")
			return
		}
		s.WriteByte('\n')
		for _, k := range slices.Sorted(maps.Keys(v)) {
			s.WriteString(indent + yamlString(k) + ":")
			yamlNode(s, v[k], depth+1)
		}
	case []any:
		if len(v) == 0 {
			s.WriteString(" []\n")
			return
		}
		s.WriteByte('\n')
		for _, e := range v {
			s.WriteString(indent + "-")
			yamlNode(s, e, depth+1)
		}
	case string:
		s.WriteString(" " + yamlString(v) + "\n")
	case nil:
		s.WriteString(" null\n")
	default:
		fmt.Fprintf(s, " %v\n", v)
	}
}

func yamlString(v string) string {
	if plainWord(v) {
		return v
	}
	var quoted strings.Builder
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // no string fails
		return `""`
	}
	return visibleJSON(strings.TrimSpace(quoted.String()))
}

// plainWord reports whether v is a letter followed by letters, digits and _-./, and no keyword of
// YAML.
func plainWord(v string) bool {
	for i, r := range v {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789_-./", r)) {
			return false
		}
	}
	switch strings.ToLower(v) {
	case "", "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return true
}
