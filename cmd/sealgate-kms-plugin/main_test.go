package main

import "testing"

func TestRun(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"-version"}, 0},
		{[]string{"-help"}, 0},
		{nil, 1},
		{[]string{"-config", "/none/plugin.hcl"}, 1},
		{[]string{"check"}, 1},
		{[]string{"check", "-socket", "/none/kms.sock", "-timeout", "1s"}, 1},
		{[]string{"server"}, 1},
	} {
		if code := run(c.args); code != c.code {
			t.Errorf("%v: exit code %d, not %d", c.args, code, c.code)
		}
	}
}
