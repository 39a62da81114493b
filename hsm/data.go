package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// dataApplication is CKA_APPLICATION of this package's data objects.
const dataApplication = "sealgate"

// MaxData is the longest value of a data object.
const MaxData = 32 << 10

// ReadData returns the values of the private data objects (CKO_DATA) with a label. There is one
// where [Token.WriteData] made it, two where it was interrupted, none otherwise.
func (t *Token) ReadData(ctx context.Context, label string) (values [][]byte, err error) {
	var out [][]byte
	err = t.do(ctx, func(c *call) error {
		objects, err := findData(c, label)
		out = nil
		for _, o := range objects {
			if v, ok := o.Attributes[ck.AttrValue]; ok {
				out = append(out, v)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// WriteData stores a value in the private data object with a label, and reads it back. It changes
// the object where the token allows it; otherwise it makes a new one before it removes the old.
func (t *Token) WriteData(ctx context.Context, label string, value []byte) error {
	if label == "" || len(value) == 0 || len(value) > MaxData {
		return fmt.Errorf("%w: a data object needs a label and 1 to %d bytes", ErrConfig, MaxData)
	}
	value = bytes.Clone(value)
	return t.alter(ctx, func(c *call) error {
		maker, ok1 := c.session.(ck.KeyMaker)
		creator, ok2 := c.session.(ck.Creator)
		if !ok1 || !ok2 {
			return fmt.Errorf("%w: the library cannot make objects", ErrMechanism)
		}
		old, err := findData(c, label)
		if err != nil {
			return err
		}
		if len(old) == 1 && maker.Alter(old[0].Handle, ck.Attribute{Type: ck.AttrValue, Value: value}) == nil {
			return checkData(c, label, value)
		}
		handle, err := creator.Create(append(dataTemplate(label), ck.Attribute{Type: ck.AttrValue, Value: value}))
		if err != nil {
			return refusedData(err)
		}
		for _, o := range old {
			if err := maker.Destroy(o.Handle); err != nil && o.Handle != handle {
				return refusedData(err)
			}
		}
		return checkData(c, label, value)
	})
}

func dataTemplate(label string) []ck.Attribute {
	return []ck.Attribute{
		ck.Ulong(ck.AttrClass, ck.ClassData), ck.Bool(ck.AttrToken, true), ck.Bool(ck.AttrPrivate, true),
		ck.String(ck.AttrLabel, label), ck.String(ck.AttrApplication, dataApplication),
	}
}

func findData(c *call, label string) ([]ck.Object, error) {
	objects, err := c.session.Find(dataTemplate(label), []uint{ck.AttrValue}, maxMatches)
	if err != nil {
		return nil, fmt.Errorf("searching for the data object: %w", err)
	}
	return objects, nil
}

// checkData reads back what was written.
func checkData(c *call, label string, value []byte) error {
	objects, err := findData(c, label)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(objects, func(o ck.Object) bool { return bytes.Equal(o.Attributes[ck.AttrValue], value) }) {
		return nil
	}
	return fmt.Errorf("%w: the data object %q has another value after it was written", ErrKeyAttributes, label)
}

// refusedData classifies the refusal of a token that does not store an object.
func refusedData(err error) error {
	switch {
	case errors.Is(err, ck.SessionReadOnly), errors.Is(err, ck.TokenWriteProtected):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, ck.DeviceMemory):
		return fmt.Errorf("%w: %w", ErrTokenFull, err)
	}
	return err
}
