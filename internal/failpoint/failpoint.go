//go:build !failpoints

// Package failpoint marks the durable steps of the program, so that tests can kill it exactly
// there.
//
// In an ordinary build [Point] is empty and costs nothing. A build with the tag "failpoints", which
// only tests make, reads SEALGATE_FAILPOINT, "name" or "name=N", and kills the process with SIGKILL
// when it reaches that point for the Nth time.
package failpoint

// Point marks a durable step: it precedes the write that it is named after, or follows it directly.
func Point(string) {}
