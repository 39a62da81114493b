// Package localstack runs LocalStack's KMS for tests, without a container, and puts faults in front of it.
//
//	aws := localstack.Shared(t)     // one for all tests of a process
//	arn := aws.CreateKey(t)
//	p := localstack.NewProxy(t, aws)
//	p.Refuse("", localstack.Throttled) // what LocalStack cannot do
//	// give p.URL to an AWS SDK as its endpoint, with any credentials
//
// It guarantees that a LocalStack it started is gone, with its folder, when it is stopped and also when the test's process dies in
// whatever way; that it listens on 127.0.0.1 alone; and that nothing of the user's own AWS configuration is read.
//
// LocalStack is not AWS: it checks no signature and no permission, forgets its keys when it stops, and does not tell which
// key material it used. [Proxy] adds the last, and refuses on demand what AWS would refuse.
//
// It is installed into build/localstack by .ci/localstack, and this package fails where it is not. It is a test kit and never
// linked into the program.
package localstack
