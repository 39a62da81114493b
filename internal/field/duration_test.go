package field

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   any
		want time.Duration
	}{
		{nil, 0}, {"", 0}, {json.Number("90"), 90 * time.Second}, {"90", 90 * time.Second}, {"1h30m", 90 * time.Minute},
		{"2d", 48 * time.Hour}, {1.5, 1500 * time.Millisecond}, {7, 7 * time.Second}, {" 5s ", 5 * time.Second},
		{"-1", -time.Second},
	} {
		if got, err := ParseDuration(tc.in); err != nil || got != tc.want {
			t.Errorf("ParseDuration(%v) = %v, %v; want %v", tc.in, got, err, tc.want)
		}
	}
	for _, bad := range []any{"x", "1x", "d", true, []any{}, "1e300", json.Number("9223372037"), "NaN", "Inf", "NaNd",
		strings.Repeat("9", 400)} {
		if got, err := ParseDuration(bad); err == nil {
			t.Errorf("ParseDuration(%v) = %v", bad, got)
		}
	}
}
