//go:build no_tpm2

package sealtypes

var newTPM2 = leftOut("tpm2")
