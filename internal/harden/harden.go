// Package harden keeps other processes of the same user out of the memory of this one.
//
// After [Process], on Linux, the kernel writes no core dump of this process, lets no process
// without CAP_SYS_PTRACE trace it, and gives the files below /proc/PID (mem, environ, maps) to
// root. Root, and a process with CAP_SYS_PTRACE, still read all memory. On other systems it does
// nothing.
//
// A process that this one executes starts without these settings, except for the limit of core
// dumps.
package harden
