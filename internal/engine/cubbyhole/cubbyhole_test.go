package cubbyhole

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func TestCubbyhole(t *testing.T) {
	t.Parallel()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	d, err := New(store, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(accessor string, op mount.Operation, path string, data map[string]any) string {
		t.Helper()
		r, err := d.Handle(t.Context(), &mount.Request{Operation: op, Path: path, Data: data,
			Identity: token.Identity{Accessor: accessor, Root: true}})
		return shown(t, r, err)
	}
	for i := range 150 {
		ask("one", mount.Create, fmt.Sprintf("a/%d/x", i), map[string]any{"k": "v"})
	}
	ask("one", mount.Create, "top", map[string]any{"k": "one"})
	ask("two", mount.Create, "top", map[string]any{"k": "two"})
	for accessor, want := range map[string]string{"one": `{"k":"one"} lease 0`, "two": `{"k":"two"} lease 0`,
		"three": "nothing"} {
		if got := ask(accessor, mount.Read, "top", nil); got != want {
			t.Errorf("%s reads %s", accessor, got)
		}
	}
	if got := ask("two", mount.List, "", nil); got != `{"keys":["top"]} lease 0` {
		t.Errorf("two lists %s", got)
	}
	for range 2 {
		if err := d.(mount.TokenDataRemover).RemoveTokenData(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
	}
	left := keysBelow(t, store, "")
	if len(left) != 1 || !strings.HasSuffix(left[0], "/top") || ask("one", mount.List, "", nil) != "nothing" {
		t.Errorf("left are %v", left)
	}
	if _, err := d.Handle(t.Context(), &mount.Request{Operation: mount.Read, Path: "top"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without an accessor: %v", err)
	}
}

func shown(t testing.TB, r *mount.Response, err error) string {
	t.Helper()
	if err != nil {
		return "error: " + err.Error()
	}
	if r == nil {
		return "nothing"
	}
	data, err := json.Marshal(r.Data)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s lease %d", data, r.LeaseDuration)
}

func keysBelow(t testing.TB, s mount.Storage, prefix string) (all []string) {
	t.Helper()
	names, err := s.List(t.Context(), prefix, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			all = append(all, keysBelow(t, s, prefix+name)...)
		} else {
			all = append(all, prefix+name)
		}
	}
	return all
}
