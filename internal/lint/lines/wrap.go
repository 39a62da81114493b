package main

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	lineComment = regexp.MustCompile(`^(\s*//)( .*)?$`)
	listItem    = regexp.MustCompile(`^( +(?:[-*+•]|\d+[.)]) +)\S`)
)

// wrap returns a file whose line comments fit. It breaks a paragraph or list item anew from its
// first line that is too wide, and leaves alone what is laid out by hand: headings, indented lines,
// directives and expected outputs.
func wrap(src []byte) []byte {
	m := mark(src)
	wide := map[int]bool{}
	for _, p := range m.check(src) {
		wide[p.line] = true
	}
	lines := strings.Split(string(src), "\n")
	var out []string
	for i := 0; i < len(lines); {
		if _, comment := m.limit[i+1]; !comment || !wide[i+1] || byHand(lines, i) {
			out = append(out, lines[i])
			i++
			continue
		}
		n := m.paragraph(lines, i)
		out = append(out, fill(lines[i:i+n], hanging(lines, i))...)
		i += n
	}
	return []byte(strings.Join(out, "\n"))
}

// paragraph returns how many lines, from one that is too wide, are to be broken anew; at least one.
func (m marks) paragraph(lines []string, start int) int {
	first := lineComment.FindStringSubmatch(lines[start])
	rest := hanging(lines, start)
	for i := start + 1; i < len(lines); i++ {
		next := lineComment.FindStringSubmatch(lines[i])
		if _, comment := m.limit[i+1]; !comment || next == nil || next[1] != first[1] || m.free[i+1] {
			return i - start
		}
		text, ok := strings.CutPrefix(next[2], rest)
		if !ok || text == "" || text[0] == ' ' || text[0] == '\t' || listItem.MatchString(next[2]) {
			return i - start
		}
	}
	return len(lines) - start
}

// hanging returns the indentation of the lines that continue a line.
func hanging(lines []string, i int) string {
	c := lineComment.FindStringSubmatch(lines[i])
	if item := listItem.FindStringSubmatch(c[2]); item != nil {
		return strings.Repeat(" ", utf8.RuneCountInString(item[1]))
	}
	return c[2][:len(c[2])-len(strings.TrimLeft(c[2], " "))]
}

// byHand reports whether a line is a heading, or indented without belonging to a list.
func byHand(lines []string, i int) bool {
	c := lineComment.FindStringSubmatch(lines[i])
	if c == nil || strings.HasPrefix(c[2], " #") {
		return true
	}
	rest := hanging(lines, i)
	for ; i >= 0 && len(rest) > 1; i-- {
		above := lineComment.FindStringSubmatch(lines[i])
		if above == nil || !strings.HasPrefix(above[2], " ") {
			return true
		}
		if item := listItem.FindStringSubmatch(above[2]); item != nil {
			return utf8.RuneCountInString(item[1]) != len(rest)
		}
	}
	return false
}

// fill breaks lines of one comment anew.
func fill(lines []string, rest string) (out []string) {
	first := lineComment.FindStringSubmatch(lines[0])
	slashes, begin := first[1], rest
	if item := listItem.FindStringSubmatch(first[2]); item != nil {
		begin = item[1]
	}
	words := strings.Fields(strings.TrimPrefix(first[2], begin))
	for _, line := range lines[1:] {
		words = append(words, strings.Fields(lineComment.FindStringSubmatch(line)[2])...)
	}
	line := slashes + begin + words[0]
	for _, word := range words[1:] {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > commentWidth {
			out = append(out, line)
			line = slashes + rest + word
			continue
		}
		line += " " + word
	}
	return append(out, line)
}
