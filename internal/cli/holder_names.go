package cli

import (
	"fmt"
	"strings"
)

// checkHolders compares the names with the number of shares: servers other than Sealgate ignore the
// names.
func checkHolders(names []string, shares int) error {
	if len(names) == 0 || len(names) == shares {
		return nil
	}
	return fmt.Errorf("-holders has %d names for %d shares: name every holder, in the order of the shares, or none",
		len(names), shares)
}

// whose lists the holder of each share.
func whose(names []string) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%d %s", i+1, name)
	}
	return "Holders: " + strings.Join(parts, ", ") + ".\n"
}
