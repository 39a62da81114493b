// Package kubernetes proves the KMS v2 gateway with the code of a Kubernetes API server: it
// encrypts, rotates, restarts, loses the plugin and moves its clock. That code is in a module of
// its own, testdata/kubernetes, because it is large; `make test-kubernetes` builds and runs it.
package kubernetes
