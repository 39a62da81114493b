package api

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// parse reads path, query and operation of a request.
func (q *Request) parse() error {
	rest, ok := strings.CutPrefix(q.HTTP.URL.Path, "/v1/")
	if !ok {
		return errNoSuchPage
	}
	if err := CheckPath(rest); err != nil {
		return err
	}
	q.Path = rest
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
	for i := range len(path) {
		if path[i] < ' ' || path[i] == 0x7f {
			return fault.New(fault.Invalid, "the path has a control character at byte %d", i)
		}
	}
	if !isClean(path) {
		return fault.New(fault.Invalid, "the path has an empty or relative segment; name it in full: %q", cleanPath(path))
	}
	return nil
}

// isClean reports whether a path has no empty or relative segment. A slash at the end is none.
func isClean(path string) bool {
	begin := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		segment := path[begin:i]
		if segment == "." || segment == ".." || segment == "" && i < len(path) {
			return false
		}
		begin = i + 1
	}
	return true
}

// cleanPath removes empty and relative segments; a slash at the end stays.
func cleanPath(p string) string {
	rooted := strings.HasPrefix(p, "/")
	clean := path.Clean("/" + p)
	if !rooted {
		clean = clean[1:]
	}
	if strings.HasSuffix(p, "/") && clean != "" && !strings.HasSuffix(clean, "/") {
		clean += "/"
	}
	return clean
}

// redirectClean sends a client that gave a path with empty or relative segments to the clean path:
// policies, quotas and the audit trail see no other.
func (q *Request) redirectClean() *Answer {
	given := q.HTTP.URL.Path
	if strings.HasPrefix(given, "/") && isClean(given[1:]) {
		return nil
	}
	clean := cleanPath(given)
	if !strings.HasPrefix(clean, "/v1/") {
		return nil
	}
	to := url.URL{Path: clean, RawQuery: q.HTTP.URL.RawQuery}
	q.redirect(to.String())
	return &Answer{}
}

// canonicalize gives a path of the table the one form that is authorised, audited and routed.
func (q *Request) canonicalize() error {
	if strings.HasSuffix(q.Path, "/") && q.Op != mount.List && q.Op != mount.Scan {
		if !q.Route.Folder {
			return fault.New(fault.Invalid, "the path ends in a slash, which only lists do; name it without")
		}
		q.Path, q.Rest = strings.TrimSuffix(q.Path, "/"), strings.TrimSuffix(q.Rest, "/")
	}
	if q.Route.Fold && q.Rest != "" {
		q.foldAt(len(q.Path)-len(q.Rest), len(q.Path))
		q.Rest = q.Path[q.fold:]
	}
	return nil
}

// foldAt puts the name in Path[start:end] in lower case.
func (q *Request) foldAt(start, end int) {
	lower := strings.ToLower(q.Path[start:end])
	q.Folded = q.Folded || lower != q.Path[start:end]
	q.Path, q.fold = q.Path[:start]+lower+q.Path[end:], start
}

// foldName puts a name in the path of a mount in lower case if the mount's backend ignores its
// case.
func (h *Handler) foldName(q *Request) {
	if !q.Route.Mount {
		return
	}
	role, err := h.roleFor(q)
	if err != nil {
		return // sealed: nothing is looked up
	}
	q.Role = role
	backend, _, rest, err := q.Locate()
	f, ok := backend.(mount.NameFolder)
	if err != nil || !ok {
		return
	}
	start, end := f.FoldedName(rest)
	if start == end {
		return
	}
	below := len(q.Path) - len(rest)
	q.foldAt(below+start, below+end)
	q.mounted.rest = q.Path[below:]
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
