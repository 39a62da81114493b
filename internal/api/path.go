package api

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// parse reads path, query and operation of a request.
func (q *Request) parse() error {
	path, ok := strings.CutPrefix(q.HTTP.URL.Path, "/v1/")
	if !ok {
		return errNoSuchPage
	}
	if err := CheckPath(path); err != nil {
		return err
	}
	q.Path = path
	if q.HTTP.URL.RawQuery != "" {
		query, err := url.ParseQuery(q.HTTP.URL.RawQuery)
		if err != nil {
			return fault.New(fault.Invalid, "the query after the ? cannot be read: escape its parameters as in "+
				"application/x-www-form-urlencoded")
		}
		q.parsed.query, q.Query = query, query
	}
	if err := q.operation(); err != nil {
		return err
	}
	q.parsed.op = q.Op
	switch q.Op {
	case mount.List, mount.Scan:
		if !strings.HasSuffix(q.Path, "/") {
			q.Path += "/"
		}
	case mount.Update, mount.Patch:
		if strings.HasSuffix(q.Path, "/") {
			return fault.New(fault.Invalid, "cannot write to a path ending in '/'")
		}
	}
	return nil
}

// CheckPath refuses what no client means and a storage could misinterpret.
func CheckPath(path string) error {
	if !utf8.ValidString(path) {
		return fault.New(fault.Invalid, "the path is not valid UTF-8")
	}
	begin := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if path[i] < ' ' || path[i] == 0x7f {
				return fault.New(fault.Invalid, "the path has a control character at byte %d", i)
			}
			continue
		}
		segment := path[begin:i]
		if segment == "." || segment == ".." {
			return fault.New(fault.Invalid, "the path has a relative segment (%q); name the path in full", segment)
		}
		if segment == "" && i < len(path) {
			return fault.New(fault.Invalid, "the path has an empty segment (two slashes in a row, or one in front); "+
				"name the path without")
		}
		begin = i + 1
	}
	return nil
}

// operation derives the operation from the method, ?list= and ?scan=.
func (q *Request) operation() error {
	list, err := q.Flag("list")
	if err != nil {
		return err
	}
	scan, err := q.Flag("scan")
	if err != nil {
		return err
	}
	switch q.HTTP.Method {
	case http.MethodGet:
		if q.help, err = q.Flag("help"); err != nil {
			return err
		}
		switch {
		case list && scan:
			return ErrBadParam
		case list:
			q.Op = mount.List
		case scan:
			q.Op = mount.Scan
		}
	case http.MethodHead:
	case "LIST":
		q.Op = mount.List
	case "SCAN":
		q.Op = mount.Scan
	case http.MethodPost, http.MethodPut:
		q.Op = mount.Update
	case http.MethodPatch:
		q.Op = mount.Patch
	case http.MethodDelete:
		q.Op = mount.Delete
	case "HELP":
		q.help = true
	default:
		return errNoMethod
	}
	return nil
}
