package main

import (
	"bytes"
	"go/format"
	"go/scanner"
	"go/token"
	"slices"
	"strings"
	"unicode/utf8"
)

// breakCode breaks lines of code that are too wide: behind a comma or an operator, in a literal at
// a space, or by giving the comment behind the code a line of its own. What it cannot break it
// leaves alone. The file must be as gofmt leaves it, and is so afterwards.
func breakCode(src []byte) []byte {
	given := map[string]bool{} // lines that do not get better
	for {
		next, line := breakOne(src, given)
		if line == "" {
			return src
		}
		out, err := format.Source(next)
		if err != nil || bytes.Equal(out, src) {
			given[line] = true
			continue
		}
		src = out
	}
}

// breakOne breaks the first line that is too wide and not given up, and returns it; "" if there is
// none.
func breakOne(src []byte, given map[string]bool) (out []byte, line string) {
	m := mark(src)
	lines := strings.Split(string(src), "\n")
	for _, p := range m.check(src) {
		line = lines[p.line-1]
		if _, comment := m.limit[p.line]; comment || given[line] {
			continue
		}
		if broken := breakLine(line, tokens(src, p.line)); broken != "" {
			lines[p.line-1] = broken
			return []byte(strings.Join(lines, "\n")), line
		}
		given[line] = true
	}
	return nil, ""
}

type lexeme struct {
	begin, end int // bytes in the line
	token      token.Token
	text       string
}

// tokens returns those of one line, without semicolons that are not written.
func tokens(src []byte, line int) (all []lexeme) {
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, scanner.ScanComments)
	for {
		pos, tok, lit := s.Scan()
		at := file.Position(pos)
		switch {
		case tok == token.EOF || at.Line > line:
			return all
		case at.Line < line || tok == token.SEMICOLON && lit == "\n":
			continue
		case lit == "" || !tok.IsLiteral() && tok != token.COMMENT:
			lit = tok.String()
		}
		all = append(all, lexeme{at.Column - 1, at.Column - 1 + len(lit), tok, lit})
	}
}

// breakLine returns a line in two or three, or "".
func breakLine(line string, all []lexeme) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, "\t"))]
	if last := len(all) - 1; last > 0 && all[last].token == token.COMMENT {
		code := strings.TrimRight(line[:all[last].begin], " ")
		if !strings.HasPrefix(all[last].text, "// ") || strings.HasPrefix(line[len(indent):], "}") {
			return ""
		}
		return indent + all[last].text + "\n" + code
	}
	b := best{line: line, cost: 1 << 30}
	depth := 0
	for i, l := range all {
		next := token.ILLEGAL
		if i+1 < len(all) {
			next = all[i+1].token
		}
		switch l.token {
		case token.LPAREN, token.LBRACK, token.LBRACE:
			depth++
		case token.RPAREN, token.RBRACK, token.RBRACE:
			depth--
		case token.COMMA, token.LOR:
			b.consider(l.end, 35*depth, "")
		case token.LAND:
			cost := 35 * depth
			if slices.ContainsFunc(all, func(l lexeme) bool { return l.token == token.LOR }) {
				cost += 60 // which binds less
			}
			b.consider(l.end, cost, "")
		case token.ADD, token.ASSIGN, token.DEFINE:
			b.consider(l.end, 35*depth+30, "")
		case token.STRING:
			if next == token.COLON || next == token.LBRACK || next == token.PERIOD { // a key, or a literal that is used
				continue
			}
			for _, at := range spaces(l) {
				b.consider(l.begin+at, 35*depth+60, l.text[:1]+" +")
			}
		}
	}
	switch {
	case b.at == 0:
		return ""
	case b.insert != "":
		return line[:b.at] + b.insert + "\n" + indent + "\t" + b.insert[:1] + line[b.at:]
	}
	return line[:b.at] + "\n" + indent + "\t" + strings.TrimLeft(line[b.at:], " ")
}

// best is the cheapest break of a line: far to the right, outside of brackets, with a rest worth a
// line.
type best struct {
	line     string
	at, cost int
	insert   string
}

func (b *best) consider(at, cost int, insert string) {
	column := utf8.RuneCountInString(b.line[:at])
	cost += codeWidth - column
	if utf8.RuneCountInString(b.line[at:]) < 20 {
		cost += 40
	}
	if at < len(b.line) && column+len(insert) <= codeWidth && cost < b.cost {
		b.at, b.cost, b.insert = at, cost, insert
	}
}

// spaces returns where a long literal can be broken: behind the spaces in it.
func spaces(l lexeme) (at []int) {
	if len(l.text) < 50 || strings.Contains(l.text, "\n") {
		return nil
	}
	for i := 2; i < len(l.text)-2; i++ {
		if l.text[i-1] == ' ' && l.text[i] != ' ' {
			at = append(at, i)
		}
	}
	return at
}
