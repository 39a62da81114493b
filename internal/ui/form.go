package ui

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxForm bounds a form: a policy or a secret of 1 MiB, escaped.
const maxForm = 2 << 20

// form is a decoded form. Values are bytes that are wiped: some are shares, tokens or passwords.
type form struct {
	names  []string
	values [][]byte
	buf    []byte
}

// readForm decodes a form in place, without copies of its values.
func readForm(r *http.Request) (*form, error) {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/x-www-form-urlencoded" {
		return nil, errors.New("its type is not application/x-www-form-urlencoded")
	}
	if r.ContentLength < 0 {
		return nil, errors.New("its length is not given")
	}
	if r.ContentLength > maxForm {
		return nil, &http.MaxBytesError{Limit: maxForm}
	}
	buf := make([]byte, r.ContentLength) // not grown while reading, which would leave copies
	f := &form{buf: buf}
	if _, err := io.ReadFull(r.Body, buf); err != nil {
		f.wipe()
		return nil, err
	}
	for pair := range bytes.SplitSeq(buf, []byte("&")) {
		name, value, _ := bytes.Cut(pair, []byte("="))
		name, okName := unescape(name)
		value, ok := unescape(value)
		if !ok || !okName {
			f.wipe()
			return nil, errors.New("an escape such as %41 is incomplete")
		}
		f.names, f.values = append(f.names, string(name)), append(f.values, value)
	}
	return f, nil
}

// unescape decodes in place.
func unescape(raw []byte) ([]byte, bool) {
	n := 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(raw) {
				return nil, false
			}
			high, ok1 := nibble(raw[i+1])
			low, ok2 := nibble(raw[i+2])
			if !ok1 || !ok2 {
				return nil, false
			}
			c, i = high<<4|low, i+2
		}
		raw[n] = c
		n++
	}
	return raw[:n], true
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// secret returns a value without white space around it; it is wiped with the form.
func (f *form) secret(name string) []byte {
	for i, n := range f.names {
		if n == name {
			return bytes.TrimSpace(f.values[i])
		}
	}
	return nil
}

// text returns a value that is no secret.
func (f *form) text(name string) string {
	for i, n := range f.names {
		if n == name {
			return strings.ReplaceAll(string(f.values[i]), "\r\n", "\n")
		}
	}
	return ""
}

func (f *form) wipe() { clear(f.buf) }

// formCookie holds the value that each form repeats. Its prefix keeps subdomains and plain HTTP
// from setting it.
const formCookie = "__Host-sealgate-form"

// formToken returns the value for the forms of a page, and sets the cookie if the browser has none.
func formToken(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(formCookie); err == nil && len(c.Value) >= 32 {
		return c.Value
	}
	value := random()
	http.SetCookie(w, cookie(formCookie, value))
	return value
}

func validFormToken(r *http.Request, f *form) bool {
	c, err := r.Cookie(formCookie)
	return err == nil && len(c.Value) >= 32 && subtle.ConstantTimeCompare([]byte(c.Value), f.secret("form")) == 1
}

func cookie(name, value string) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}
