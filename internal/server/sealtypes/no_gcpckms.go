//go:build no_gcpckms

package sealtypes

var newGCPCKMS = leftOut("gcpckms")
