package e2e

import "syscall"

// childAttr has the kernel kill a server whose starter died, so that an interrupted test run leaves
// none behind.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// groupAttr does the same, and makes a process group of the child and its own children, so that a
// signal can reach them all.
func groupAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
