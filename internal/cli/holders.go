package cli

import (
	"fmt"
	"strings"
)

// checkHolders compares the names with the number of shares here: servers of other make ignore the names, and would not notice.
func checkHolders(names []string, shares int) error {
	if len(names) == 0 || len(names) == shares {
		return nil
	}
	return fmt.Errorf("-holders has %d names for %d shares: name every holder, in the order of the shares, or none", len(names), shares)
}

// whose says which share is meant for whom.
func whose(names []string) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%d %s", i+1, name)
	}
	return "They are meant for: " + strings.Join(parts, ", ") + ".\n"
}
