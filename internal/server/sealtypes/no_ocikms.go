//go:build no_ocikms

package sealtypes

var newOCIKMS = leftOut("ocikms")
