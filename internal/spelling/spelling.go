// Package spelling finds the known name that a misspelt one most likely means, for error messages.
package spelling

import "slices"

// Nearest returns the known name with the least edit distance to name, of two equally near the
// first in alphabetical order; "" if the least distance is above most.
func Nearest(name string, known []string, most int) string {
	best, least := "", most+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := Distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// Distance is the Levenshtein distance in bytes: how many must be added, removed or replaced to
// turn a into b.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
