// Package hsmtest is for benchmarks: a bare loop on miekg/pkcs11, without pool, deadline or
// recovery, and a comparison with it. It is never linked into the program.
package hsmtest
