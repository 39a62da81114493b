//go:build scale

package token

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// Fill adds n tokens for `make scale`, without the cost of their creation: it passes the operations
// to commit, in the order of their keys. The tokens are called name and a number, and expire at
// ends and in the seconds after it; with parent, they are children of that token.
func (s *Store) Fill(ctx context.Context, parent, name string, n int, ends time.Time,
	commit func(n int, op func(i int) storage.Op) error) error {
	var above []byte
	if parent != "" {
		e, err := s.find(ctx, parent)
		if err != nil {
			return err
		}
		above = e.digest[:]
	}
	type one struct {
		d digest
		i int
	}
	all := make([]one, n)
	for i := range all {
		all[i] = one{s.digest(fmt.Sprint(name, i)), i}
	}
	slices.SortFunc(all, func(a, b one) int { return bytes.Compare(a.d[:], b.d[:]) })
	record := func(i int) *Token {
		return &Token{Type: TypeService, Accessor: fmt.Sprint(name, "-accessor", i), Path: "auth/token/create", Parent: above,
			Policies: []string{"default"}, Created: s.now(), TTL: time.Hour, Renewable: true,
			Expires: ends.Add(time.Duration(i) * time.Millisecond)}
	}
	families := []func(one) storage.Op{
		func(o one) storage.Op {
			b, err := record(o.i).Marshal()
			if err != nil {
				panic(err)
			}
			return storage.Put(tokenKey(o.d), b)
		},
		func(o one) storage.Op { return storage.Put(leaseKey(record(o.i), o.d), mark) },
		func(o one) storage.Op { return storage.Put(childKey(digest(above), o.d), mark) },
		func(o one) storage.Op { return storage.Put(expiryKey(record(o.i).Expires, o.d), mark) },
		func(o one) storage.Op { return storage.Put(s.accessorKey(record(o.i).Accessor), marshalAccessor(o.d)) },
	}
	for k, family := range families {
		switch {
		case k == 2 && parent == "":
			continue
		case k == 3:
			slices.SortFunc(all, func(a, b one) int { return a.i - b.i })
		}
		if err := commit(n, func(i int) storage.Op { return family(all[i]) }); err != nil {
			return err
		}
	}
	return nil
}
