package field

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// ParseDuration parses a duration of a request: seconds as a number or text, or a text with units,
// such as "90s", "1h30m" or "7d".
func ParseDuration(v any) (time.Duration, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case json.Number:
		return parseText(v.String())
	case string:
		return parseText(strings.TrimSpace(v))
	case float64:
		return seconds(v)
	case int:
		return seconds(float64(v))
	}
	return 0, errDuration
}

var errDuration = fault.New(fault.Invalid,
	`not a duration: give seconds as a number, or a text such as "90s", "1h30m" or "7d"`)

func parseText(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil {
			return 0, errDuration
		}
		return seconds(n * 24 * 60 * 60)
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return seconds(n)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errDuration
	}
	return d, nil
}

// seconds refuses values out of range, which a conversion would silently change.
func seconds(n float64) (time.Duration, error) {
	ns := n * float64(time.Second)
	if math.IsNaN(ns) || ns >= math.MaxInt64 || ns <= math.MinInt64 {
		return 0, errDuration
	}
	return time.Duration(ns), nil
}
