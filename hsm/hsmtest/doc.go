// Package hsmtest measures: a bare loop on miekg/pkcs11, without pool, deadline or recovery, and a comparison with it. It
// is for benchmarks alone and is never linked into the program.
package hsmtest
