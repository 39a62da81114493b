package policy

import (
	"testing"
	"time"
)

func TestBelow(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]bool{
		"kv/team/*": true, "kv/team/a": true, "kv/team/data/+/x": true, "kv/*": true, "*": true, "k*": true, "kv/team": true,
		"kv/team/": true,
		"+/team/a": true, "+/+/a": true, "kv/+": true, "kv/+/": true, "+/te*": true, "kv/team/+": true, "kv/+/data/*": true,
		"kv/tea*":    true,
		"kv/teams/*": false, "kv/t": false, "kv": false, "kv/+a/x": false, "+/other/*": false, "kv/teams*": false,
		"sys/*": false, "kv/te": false, "+/x*": false,
	} {
		for caps, gives := range map[string]bool{`["read"]`: true, `["deny"]`: false} {
			p, err := Parse(`path "` + pattern + `" { capabilities = ` + caps + ` }`)
			if err != nil {
				t.Fatal(err)
			}
			if got := Compile(time.Unix(0, 0), p).Below("kv/team/"); got != (want && gives) {
				t.Errorf("%q %s: %v", pattern, caps, got)
			}
		}
	}
}
