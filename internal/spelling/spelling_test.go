package spelling

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"token_label", "tls_disable", "pin", "lib"}
	for name, want := range map[string]string{"tls_disabel": "tls_disable", "tokenlabel": "token_label",
		"pim": "pin", "elephant": ""} {
		if got := Nearest(name, known, 2); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := Distance(c.a, c.b); got != c.want || Distance(c.b, c.a) != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
