package transit

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
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

type decryptResult struct {
	Plaintext string `json:"plaintext"`
	Error     string `json:"error,omitempty"`
	Reference string `json:"reference"`
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
	all := make([]encryptResult, len(items))
	var o outcome
	var used uses
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := &all[i]
		r.Reference, _ = f.text("reference")
		err := func() error {
			t, err := f.readText("plaintext", k, i)
			if err != nil {
				return err
			}
			out, version, err := b.sealText(ctx, c, "", k, &t)
			r.Ciphertext, r.KeyVersion = string(out), version
			return err
		}()
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		if o.note(err); err != nil {
			r.KeyVersion, r.Error = 0, itemText(err)
			continue
		}
		used.add(r.KeyVersion)
	}
	used.count(k, c)
	return o.status(c, &mount.Response{Data: results[encryptResult]{all}})
}

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
	all := make([]decryptResult, len(items))
	var o outcome
	var used uses
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := &all[i]
		r.Reference, _ = f.text("reference")
		t, err := f.readText("ciphertext", k, i)
		if err == nil {
			plain, version, failed := b.open(ctx, c, c.plain[:0], k, &t)
			r.Plaintext = base64.StdEncoding.EncodeToString(plain)
			clear(plain)
			if err = failed; err == nil {
				used.add(version)
			}
		}
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		if o.note(err); err != nil {
			r.Plaintext, r.Error = "", itemText(err)
		}
	}
	used.count(k, c)
	return o.status(c, &mount.Response{Data: results[decryptResult]{all}})
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
