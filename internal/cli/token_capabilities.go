package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// showCapabilities reads the capabilities on one path and prints them sorted.
func showCapabilities(b *base, client *api.Client, where, path string, body any) int {
	s, err := send(client, http.MethodPost, where, body)
	if err != nil {
		return b.fail("listing capabilities", err)
	}
	var names []string
	if s != nil {
		if s.WrapInfo != nil {
			return b.showSecret(s)
		}
		all, ok := s.Data[path].([]any)
		if !ok {
			all, _ = s.Data["capabilities"].([]any) // the form for a single path
		}
		for _, one := range all {
			names = append(names, fmt.Sprint(one))
		}
		b.warnings(s.Warnings)
	}
	if len(names) == 0 {
		b.errorf("No capabilities found")
		return exitLocal
	}
	slices.Sort(names)
	if b.format() != "table" {
		return b.encode(names)
	}
	b.printf("%s\n", strings.Join(names, ", "))
	return exitOK
}
