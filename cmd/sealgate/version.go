package main

// release is the version that clients are told. Below 1.10 they expect root tokens of the form "s." and 24
// characters, and one-time passwords of 26, which is what this server makes.
const release = "0.1.0"

// revision is the source's, set by the linker.
var revision = ""
