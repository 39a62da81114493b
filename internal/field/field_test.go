package field

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestFields(t *testing.T) {
	t.Parallel()
	f := Map{
		"n": json.Number("5"), "s": " 7 ", "b": "true", "d": "1h30m", "l": "a, b,,c", "list": []any{"x", json.Number("1")},
		"m": map[string]any{"a": json.Number("1")}, "mj": `{"a":"b"}`, "ml": []any{"k=v=w"}, "null": nil,
	}
	var n, s, d int64
	var b bool
	var l, list []string
	m, mj, ml := map[string]string{}, map[string]string{}, map[string]string{}
	err := First(f.Number("n", &n), f.Number("s", &s), f.Flag("b", &b), f.Seconds("d", &d), f.Names("l", &l),
		f.Names("list", &list),
		f.Pairs("m", &m), f.Pairs("mj", &mj), f.Pairs("ml", &ml), f.Text("null", new(string)))
	if err != nil || n != 5 || s != 7 || !b || d != 5400 || strings.Join(l, "|") != "a|b|c" ||
		strings.Join(list, "|") != "x|1" ||
		m["a"] != "1" || mj["a"] != "b" || ml["k"] != "v=w" {
		t.Errorf("%v %v %v %v %v %v %v %v %v %v", err, n, s, b, d, l, list, m, mj, ml)
	}
	secret := Map{"x": map[string]any{"hunter2": "hunter2"}, "y": "hunter2"}
	for _, err := range []error{
		secret.Text("x", new(string)), secret.Flag("y", new(bool)), secret.Number("y", new(int64)),
		secret.Seconds("y", new(int64)),
		secret.Names("x", new([]string)), secret.Pairs("y", new(map[string]string)),
	} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
