package raw

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

type rawAnswer struct {
	Value string `json:"value"`
}

// encodingBase64 is the encoding of entries that are not text.
const encodingBase64 = "base64"

func checkEncoding(name string) error {
	if name != "" && name != encodingBase64 {
		return fault.New(fault.Invalid, "encoding %q is unknown: leave it out for text, or give base64", name)
	}
	return nil
}

// rawRead shows an entry, as text or, with ?encoding=base64, in any form. Nothing is guessed: an
// entry that is not text would be damaged by showing it as text.
func rawRead(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	encoding := q.Query.Get("encoding")
	if err := checkEncoding(encoding); err != nil {
		return nil, err
	}
	value, err := q.Raw.Get(ctx, q.Rest)
	switch {
	case fault.Is(err, fault.NotFound):
		return api.Done()
	case err != nil:
		return nil, err
	case encoding == encodingBase64:
		return api.Show(rawAnswer{base64.StdEncoding.EncodeToString(value)})
	case !utf8.Valid(value):
		return nil, fault.New(fault.Invalid, "the entry is not text: read it with encoding=base64")
	}
	return api.Show(rawAnswer{string(value)})
}

func rawList(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	prefix := q.Rest
	if prefix == "/" {
		prefix = ""
	}
	names, err := q.Raw.List(ctx, prefix)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return api.Keys(names)
}

// nothingShown is Vault's answer to writes of raw entries.
func nothingShown() (*api.Answer, error) { return api.Show(json.RawMessage("null")) }

// rawWrite overwrites an entry. A new one needs compression_type, so that a mistyped path is
// noticed.
func rawWrite(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	value, err := readRawValue(field.Map(data))
	if err != nil {
		return nil, err
	}
	if _, given := data["compression_type"]; !given {
		_, err := q.Raw.Get(ctx, q.Rest)
		if fault.Is(err, fault.NotFound) {
			return nil, fault.New(fault.Invalid,
				"cannot figure out compression type because entry does not exist; to make a new one give compression_type=none")
		}
		if err != nil && !fault.Is(err, fault.Internal) { // a damaged entry can be overwritten: raw storage is there for that
			return nil, err
		}
	}
	if err := q.Raw.Put(ctx, q.Rest, value); err != nil {
		return nil, err
	}
	return nothingShown()
}

func readRawValue(f field.Map) ([]byte, error) {
	var text, encoding, compression string
	for name, into := range map[string]*string{"value": &text, "encoding": &encoding, "compression_type": &compression} {
		if err := f.Text(name, into); err != nil {
			return nil, err
		}
	}
	if err := checkEncoding(encoding); err != nil {
		return nil, err
	}
	switch _, given := f["value"]; {
	case !given:
		return nil, fault.New(fault.Invalid, "missing required field 'value'")
	case compression != "" && compression != "none":
		return nil, fault.New(fault.Invalid, "compression_type %q is not supported: entries are stored as they are; "+
			"give none", compression)
	case encoding == "":
		return []byte(text), nil
	}
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "'value' is not valid base64")
	}
	return value, nil
}

func rawDelete(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := q.Raw.Delete(ctx, q.Rest); err != nil {
		return nil, err
	}
	return nothingShown()
}
