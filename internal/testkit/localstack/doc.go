// Package localstack runs LocalStack's KMS, or its S3, for tests, without a container, with a
// proxy that injects faults.
//
//	aws := localstack.Shared(t)     // one for all tests of a process
//	arn := aws.CreateKey(t)
//	p := localstack.NewProxy(t, aws)
//	p.Refuse("", localstack.Throttled) // what LocalStack cannot do
//	// give p.URL to an AWS SDK as its endpoint, with any credentials
//
// It guarantees that a LocalStack ends, and its folder is removed, when it is stopped and when the
// test process ends for any reason; that it listens on 127.0.0.1 only; and that the user's AWS
// configuration is not read.
//
// LocalStack is not AWS: it checks no signature and no permission, forgets its keys when it stops,
// and does not report which key material it used. [Proxy] adds the last, and refuses on demand what
// AWS would refuse.
//
// .ci/localstack installs it into build/localstack; without it, tests of this package fail. The
// package is for tests alone and is never linked into the program.
package localstack
