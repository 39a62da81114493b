//go:build no_transit

package sealtypes

var newTransit = leftOut("transit")
