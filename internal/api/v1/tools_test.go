package v1

import (
	"strings"
	"testing"
)

func TestTools(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, tc := range []struct {
		path, body string
		code       int
		words      string
	}{
		{"sys/tools/random", "", 200, `"random_bytes":"`},
		{"sys/tools/random/8", `{"format":"hex"}`, 200, `"random_bytes":"`},
		{"sys/tools/random/platform/8", "", 200, `"random_bytes":"`},
		{"sys/tools/random/seal/8", "", 200, "no seal/entropy augmentation available, using platform entropy source"},
		{"sys/tools/random/bogus/8", "", 400, `unsupported entropy source \"bogus\"; must be \"platform\" or ` +
			`\"seal\", or \"all\"`},
		{"sys/tools/random/0", "", 400, "'bytes' cannot be less than 1"},
		{"sys/tools/random", `{"bytes":"131073"}`, 400, "'bytes' should be less than 131072"},
		{"sys/tools/random", `{"bytes":99999999999999}`, 400, "'bytes' should be less than 131072"},
		{"sys/tools/hash", `{"input":"YQ=="}`, 200, `"sum":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"`},
		{"sys/tools/hash/sha3-256", `{"input":"YQ==","format":"base64"}`, 200,
			`"sum":"gAhL8vugJHVyb+ssqy2CFeqxS8a92L+yyBUSVwMuzYs="`},
		{"sys/tools/hash/md5", `{"input":"YQ=="}`, 400, "unsupported algorithm md5"},
		{"sys/tools/hash", `{"input":"!"}`, 400, "unable to decode input as base64: illegal base64 data at input byte 0"},
		{"sys/tools/hash", `{}`, 400, "input missing"},
	} {
		a := w.do("POST", tc.path, tc.body)
		if a.Code != tc.code || !strings.Contains(a.Body.String(), tc.words) {
			t.Errorf("%s %s: %d %s; want %d with %s", tc.path, tc.body, a.Code, a.Body, tc.code, tc.words)
		}
	}
	w.token = ""
	if a := w.do("POST", "sys/tools/random", ""); a.Code != 403 {
		t.Errorf("without a token: %d", a.Code)
	}
}
