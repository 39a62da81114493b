//go:build no_kmip

package sealtypes

import (
	"context"

	"github.com/sealgate/sealgate/seals"
)

var newKMIP = leftOut("kmip")

// CreateKMIPKey reports that the program cannot make keys for a seal of the type kmip.
func CreateKMIPKey(_ context.Context, c seals.Config, _ string) (string, error) {
	_, err := newKMIP(c)
	return "", err
}
