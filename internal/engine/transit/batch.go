package transit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
)

// results is the answer to a batch: one result for each item, in the same order.
type results[R any] struct {
	Results []R `json:"batch_results"`
}

type encryptResult struct {
	Ciphertext string `json:"ciphertext,omitempty"`
	KeyVersion int    `json:"key_version,omitempty"`
	Error      string `json:"error,omitempty"`
	Reference  string `json:"reference"`
}

// checkItems finds what makes the whole batch unreadable: each item must have the field.
func checkItems(items []fields, name, missing string) error {
	var wrong []string
	for i, f := range items {
		v, ok := f[name]
		switch v.(type) {
		case string:
		default:
			if !ok {
				wrong = append(wrong, fmt.Sprintf("'[%d].%s' %s", i, name, missing))
			} else {
				wrong = append(wrong, fmt.Sprintf("'[%d].%s' expected type 'string', got unconvertible type '%s'", i,
					name, typeName(v)))
			}
		}
	}
	if wrong == nil {
		return nil
	}
	return keys.Errors("failed to parse batch input: %s", strings.Join(wrong, "\n"))
}

func checkContexts(items []fields) (given bool, err error) {
	for i, f := range items {
		has := f.given("context") && f["context"] != ""
		if i > 0 && has != given {
			return false, errMixed
		}
		given = has
	}
	return given, nil
}

// itemsFault reports whether an error is about one item. Others, of the storage or a device, end
// the whole batch: the server logs their cause, and to try again may help.
func itemsFault(err error) bool { return fault.Is(err, fault.Invalid) || fault.Is(err, fault.TooLarge) }

// outcome counts what became of the items.
type outcome struct{ good, bad int }

func (o *outcome) note(err error) {
	if err == nil {
		o.good++
	} else {
		o.bad++
	}
}

// status gives the answer its code: 400 where an item was wrong, with the results as data all the
// same; another one, if the request says which, where some items succeeded.
func (o *outcome) status(c *call, a *mount.Response) (*mount.Response, error) {
	if o.bad == 0 {
		return a, nil
	}
	a.Status = http.StatusBadRequest
	if o.good == 0 || !c.data.given("partial_failure_response_code") {
		return a, nil
	}
	code, err := c.data.number("partial_failure_response_code")
	switch {
	case err != nil:
		return nil, err
	case code >= http.StatusOK && code <= 599: // what OpenBao calls valid, and what can carry a body
		a.Status = code
	case code != 0:
		a.Warnings = append(a.Warnings,
			"invalid HTTP response code override from partial_failure_response_code, reverting to 400")
	}
	return a, nil
}

func (b *backend) encryptBatch(ctx context.Context, c *call, items []fields) (*mount.Response, error) {
	if err := checkItems(items, "plaintext", errNoPlaintext.Error()); err != nil {
		return nil, err
	}
	derived, err := checkContexts(items)
	if err != nil {
		return nil, err
	}
	k, err := b.keyToEncrypt(ctx, c, derived)
	if err != nil {
		return nil, err
	}
	var o outcome
	var used uses
	w := newBatchWriter(len(items) * (encryptedItem + len(items[0]["plaintext"].(string))))
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := w.next()
		w.out = append(w.out, `{"ciphertext":"`...)
		version, err := b.encryptItem(ctx, c, &w.out, f, k, i)
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		if o.note(err); err != nil {
			w.out = append(w.out[:start], `{"error":`...)
			w.text(itemText(err))
		} else {
			w.out = strconv.AppendInt(append(w.out, `","key_version":`...), int64(version), 10)
			used.add(version)
		}
		w.reference(f)
	}
	used.count(k, c)
	return o.status(c, &mount.Response{Data: w.end()})
}

// encryptItem appends an item's ciphertext.
func (b *backend) encryptItem(
	ctx context.Context, c *call, out *[]byte, f fields, k *keys.Key, i int,
) (version int, err error) {
	t, err := f.readText("plaintext", k, i)
	if err != nil {
		return 0, err
	}
	plain, err := base64.StdEncoding.AppendDecode(c.plain[:0], []byte(t.body))
	defer clear(plain)
	if err != nil {
		return 0, fault.New(fault.Invalid, "%s", err)
	}
	sealed, version, err := b.seal(ctx, c, *out, k, plain, &t)
	if err == nil {
		*out = sealed
	}
	return version, err
}

// batchWriter writes the results of a batch as JSON: a large batch is not held twice.
type batchWriter struct{ out []byte }

// encryptedItem is about what a result has beside the plaintext's length.
const encryptedItem = len(`{"ciphertext":"vault:v100:","key_version":100,"reference":""},`) + 2*overhead

func newBatchWriter(room int) *batchWriter {
	const most = 1 << 20 // the sizes are the client's
	return &batchWriter{append(make([]byte, 0, min(room, most)), `{"batch_results":[`...)}
}

// next separates an item from the one before it, and returns where it begins.
func (w *batchWriter) next() int {
	if w.out[len(w.out)-1] != '[' {
		w.out = append(w.out, ',')
	}
	return len(w.out)
}

// text appends a JSON string.
func (w *batchWriter) text(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil { // strings always encode
				panic(err)
			}
			w.out = append(w.out, quoted...)
			return
		}
	}
	w.out = append(append(append(w.out, '"'), s...), '"')
}

// reference ends an item with the name that the client gave it.
func (w *batchWriter) reference(f fields) {
	reference, _ := f.text("reference")
	w.out = append(w.out, `,"reference":`...)
	w.text(reference)
	w.out = append(w.out, '}')
}

func (w *batchWriter) end() json.RawMessage { return append(w.out, "]}"...) }

// uses counts the versions that a batch uses.
type uses map[int]uint64

func (u *uses) add(version int) {
	if *u == nil {
		*u = uses{}
	}
	(*u)[version]++
}

func (u uses) count(k *keys.Key, c *call) {
	for version, n := range u {
		k.CountUse(version, n, c.by())
	}
}

func (b *backend) decryptBatch(ctx context.Context, c *call, k *keys.Key, items []fields) (*mount.Response, error) {
	if err := checkItems(items, "ciphertext", errNoCiphertext.Error()); err != nil {
		return nil, err
	}
	if _, err := checkContexts(items); err != nil {
		return nil, err
	}
	var o outcome
	var used uses
	w := newBatchWriter(len(items) * (len(`{"plaintext":"","reference":""},`) + len(items[0]["ciphertext"].(string))))
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w.next()
		w.out = append(w.out, `{"plaintext":"`...)
		t, err := f.readText("ciphertext", k, i)
		if err == nil {
			plain, version, failed := b.open(ctx, c, c.plain[:0], k, &t)
			if err = failed; err == nil {
				w.out = base64.StdEncoding.AppendEncode(w.out, plain)
				used.add(version)
			}
			clear(plain)
		}
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		w.out = append(w.out, '"')
		if o.note(err); err != nil {
			w.out = append(w.out, `,"error":`...)
			w.text(itemText(err))
		}
		w.reference(f)
	}
	used.count(k, c)
	return o.status(c, &mount.Response{Data: w.end()})
}

func (b *backend) rewrapBatch(ctx context.Context, c *call, k *keys.Key, items []fields) (*mount.Response, error) {
	if _, err := checkContexts(items); err != nil {
		return nil, err
	}
	all := make([]encryptResult, len(items))
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := &all[i]
		r.Reference, _ = f.text("reference")
		out, version, err := b.rewrapOne(ctx, c, k, f, i)
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		if err != nil {
			r.Error = itemText(err)
			continue
		}
		r.Ciphertext, r.KeyVersion = string(out), version
	}
	return &mount.Response{Data: results[encryptResult]{all}}, nil
}
