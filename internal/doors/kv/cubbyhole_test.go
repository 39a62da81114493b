package kv

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/auth"
	"github.com/sealgate/sealgate/internal/doors"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func TestCubbyhole(t *testing.T) {
	t.Parallel()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	d, err := Cubbyhole(store, doors.Mount{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(accessor string, op doors.Operation, path string, data map[string]any) string {
		t.Helper()
		r, err := d.Handle(t.Context(), &doors.Request{Operation: op, Path: path, Data: data, Identity: auth.Identity{Accessor: accessor, Root: true}})
		return shown(t, r, err)
	}
	for i := range 150 {
		ask("one", doors.Create, fmt.Sprintf("a/%d/x", i), map[string]any{"k": "v"})
	}
	ask("one", doors.Create, "top", map[string]any{"k": "one"})
	ask("two", doors.Create, "top", map[string]any{"k": "two"})
	for accessor, want := range map[string]string{"one": `{"k":"one"} lease 0`, "two": `{"k":"two"} lease 0`, "three": "nothing"} {
		if got := ask(accessor, doors.Read, "top", nil); got != want {
			t.Errorf("%s reads %s", accessor, got)
		}
	}
	if got := ask("two", doors.List, "", nil); got != `{"keys":["top"]} lease 0` {
		t.Errorf("two lists %s", got)
	}
	for range 2 {
		if err := d.(doors.Forgetter).ForgetToken(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
	}
	left := keysBelow(t, store, "")
	if len(left) != 1 || !strings.HasSuffix(left[0], "/top") || ask("one", doors.List, "", nil) != "nothing" {
		t.Errorf("left are %v", left)
	}
	if _, err := d.Handle(t.Context(), &doors.Request{Operation: doors.Read, Path: "top"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without an accessor: %v", err)
	}
}
