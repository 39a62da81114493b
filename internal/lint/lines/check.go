package main

import (
	"bytes"
	"go/scanner"
	"go/token"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	codeWidth    = 120
	commentWidth = 100
	longWord     = 60
)

var (
	generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	directive = regexp.MustCompile(`^//([a-z]+:[a-z]|export |nolint)`)
)

type problem struct{ line, width, limit int }

// marks are what the tokens say of each line, by its number.
type marks struct {
	limit map[int]int  // of lines that are only a comment
	free  map[int]bool // lines of any width
}

func check(src []byte) []problem {
	if generated.Match(src) {
		return nil
	}
	return mark(src).check(src)
}

func (m marks) check(src []byte) (found []problem) {
	number := 0
	for text := range bytes.Lines(src) {
		number++
		limit := codeWidth
		if l, ok := m.limit[number]; ok {
			limit = l
		}
		width := utf8.RuneCount(bytes.TrimRight(text, "\r\n"))
		if width > limit && !m.free[number] {
			found = append(found, problem{number, width, limit})
		}
	}
	return found
}

// mark reads the tokens of a file. A file with errors is marked as far as it can be read: the
// compiler reports them.
func mark(src []byte) marks {
	m := marks{limit: map[int]int{}, free: map[int]bool{}}
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, scanner.ScanComments)
	var (
		before  token.Token // the token before, without comments
		preface []int       // the lines of comments since then
		last    int         // the line on which the token before ends
		output  bool        // in the expected output of an example
	)
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return m
		}
		first := file.Line(pos)
		end := first + strings.Count(lit, "\n")
		switch tok {
		case token.COMMENT:
			m.free[first] = m.free[first] || directive.MatchString(lit) || output
			output = output || strings.HasPrefix(lit, "// Output:") || strings.HasPrefix(lit, "// Unordered output:")
			m.words(first, lit)
			for line := first; line <= end && first != last; line++ {
				m.limit[line] = commentWidth
				preface = append(preface, line)
			}
			continue
		case token.SEMICOLON:
			if lit == "\n" { // the scanner's own, at the end of a line
				before = token.SEMICOLON
				continue
			}
		case token.STRING:
			if before == token.IMPORT && lit == `"C"` { // what stands before it is C
				for _, line := range preface {
					delete(m.limit, line)
				}
			}
			tag := before == token.IDENT || before == token.RPAREN || before == token.RBRACK || before == token.RBRACE
			m.free[first] = m.free[first] || tag
			for line := first; first < end && line <= end; line++ {
				m.free[line] = true
			}
			m.words(first, lit)
		}
		if tok != token.STRING && tok != token.IMPORT {
			preface = preface[:0]
		}
		before, last, output = tok, end, false
	}
}

// words marks the lines of a literal or comment that hold a word too long to go on a line of its
// own.
func (m marks) words(first int, text string) {
	line := first
	for part := range strings.Lines(text) {
		for word := range strings.FieldsSeq(part) {
			if utf8.RuneCountInString(word) > longWord {
				m.free[line] = true
			}
		}
		line++
	}
}
