//go:build !failpoints

// Package failpoint marks the durable steps of the program, so that tests can
// kill it exactly there.
//
// In an ordinary build [Point] is empty and costs nothing. A build with the tag
// "failpoints" (only tests make one) reads SEALGATE_FAILPOINT, "name" or
// "name=N", and kills the process with SIGKILL when it comes to that point for the Nth time.
package failpoint

// Point marks a durable step: it stands before the write that it is named after, or right behind it.
func Point(string) {}
