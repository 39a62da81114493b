//go:build no_alicloudkms

package sealtypes

var newAliCloudKMS = leftOut("alicloudkms")
