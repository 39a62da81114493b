package policy

import (
	"strconv"
	"strings"
)

// filter builds, from a list's folder and a name in it, the path that decides whether the name is
// shown. It accepts this subset of OpenBao's templates,
//
//	{{ .path }}  {{ .key }}  {{ .path | replace "a" "b" }}
//
// with text around them, and refuses the rest: a full template would be a program that runs for
// each name.
type filter struct {
	parts []part
}

// part is a text, or a field with its replacements.
type part struct {
	text    string
	field   byte // 'p' the folder, 'k' the name; 0 only text
	replace []string
}

const maxFilter = 4096

// filter parses a template.
func (f field) filter() (*filter, error) {
	text, err := f.value.text(f)
	if err != nil {
		return nil, err
	}
	if len(text) > maxFilter {
		return nil, f.bad("%s has %d bytes; at most %d are accepted", f.name, len(text), maxFilter)
	}
	out := &filter{}
	for text != "" {
		before, rest, found := strings.Cut(text, "{{")
		if before != "" {
			out.parts = append(out.parts, part{text: before})
		}
		if !found {
			break
		}
		action, after, ended := cutAction(rest)
		p, ok := parseAction(action)
		if !ended || !ok {
			return nil, f.bad(`%s may contain only {{ .path }} and {{ .key }}, each optionally with | replace "old" "new"`,
				f.name)
		}
		out.parts = append(out.parts, p)
		text = after
	}
	if len(out.parts) == 0 {
		return nil, f.bad("%s is empty", f.name)
	}
	return out, nil
}

// cutAction cuts at the "}}" that is not inside a quoted text.
func cutAction(text string) (action, after string, ok bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], "}}"):
			return text[:i], text[i+2:], true
		}
	}
	return "", "", false
}

// parseAction parses the text between the braces.
func parseAction(action string) (p part, ok bool) {
	action = strings.TrimSpace(action)
	rest, isPath := strings.CutPrefix(action, ".path")
	if p.field = 'p'; !isPath {
		if rest, ok = strings.CutPrefix(action, ".key"); !ok {
			return p, false
		}
		p.field = 'k'
	}
	rest = strings.TrimSpace(rest)
	for rest != "" {
		if rest, ok = strings.CutPrefix(rest, "|"); !ok {
			return p, false
		}
		if rest, ok = strings.CutPrefix(strings.TrimSpace(rest), "replace "); !ok {
			return p, false
		}
		for range 2 {
			quoted, err := strconv.QuotedPrefix(strings.TrimSpace(rest))
			if err != nil {
				return p, false
			}
			rest = strings.TrimSpace(rest)[len(quoted):]
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return p, false
			}
			p.replace = append(p.replace, text)
		}
		if p.replace[len(p.replace)-2] == "" { // an empty text would match between all characters
			return p, false
		}
		rest = strings.TrimSpace(rest)
	}
	return p, true
}

// maxFiltered bounds the length of a resulting path.
const maxFiltered = 64 << 10

func (f *filter) path(folder, name string) string {
	var b strings.Builder
	for _, p := range f.parts {
		text := p.text
		switch p.field {
		case 'p':
			text = folder
		case 'k':
			text = name
		}
		for i := 0; i < len(p.replace); i += 2 {
			if len(text)+strings.Count(text, p.replace[i])*len(p.replace[i+1]) > maxFiltered {
				return "" // no policy allows anything on ""
			}
			text = strings.ReplaceAll(text, p.replace[i], p.replace[i+1])
		}
		b.WriteString(text)
	}
	return b.String()
}
