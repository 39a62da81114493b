//go:build no_awskms

package sealtypes

var newAWSKMS = leftOut("awskms")
