package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// harden applies what needs no configuration, before the process reads a PIN.
func harden() {
	_ = os.WriteFile("/proc/self/comm", []byte("hsm-worker"), 0) // first: then the folder becomes root's
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

// forbidden are system calls that a PKCS#11 library does not need and that would lead out of the
// process. io_uring is among them because it bypasses the filter.
var forbidden = []string{
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp",
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
	"mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_by_handle_at",
	"add_key", "request_key", "keyctl", "swapon", "swapoff", "acct", "quotactl",
}

// confine restricts the process before it loads the library. What the kernel lacks is left out and
// is missing in the result; what was configured and cannot be applied is an error.
func confine(c setup) (string, error) {
	applied := []string{"no core dumps"}
	if c.memory > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: c.memory, Max: c.memory}); err != nil {
			return "", fmt.Errorf("limiting the memory of the HSM worker: %w", err)
		}
		applied = append(applied, fmt.Sprintf("%d MiB of memory", c.memory>>20))
	}
	if c.paths != nil {
		if err := restrictFiles(c); err != nil {
			return "", fmt.Errorf("restricting the files of the HSM worker (allow_paths needs Landlock): %w", err)
		}
		applied = append(applied, "landlock")
	}
	if !seccomp.Supported() {
		if !c.network {
			return "", fmt.Errorf("network = false needs seccomp, which this kernel lacks")
		}
		return strings.Join(applied, ", "), nil
	}
	if err := filter(c.network); err != nil {
		return "", fmt.Errorf("filtering the system calls of the HSM worker: %w", err)
	}
	applied = append(applied, "seccomp")
	if !c.network {
		applied = append(applied, "no network")
	}
	return strings.Join(applied, ", "), nil
}

// filter forbids system calls on all threads.
func filter(network bool) error {
	groups := []seccomp.SyscallGroup{{Action: seccomp.ActionErrno, Names: forbidden}}
	if !network {
		groups = append(groups, seccomp.SyscallGroup{
			Action: seccomp.ActionErrno,
			NamesWithCondtions: []seccomp.NameWithConditions{{
				Name: "socket",
				Conditions: seccomp.ArgumentConditions{
					{Argument: 0, Operation: seccomp.NotEqual, Value: unix.AF_UNIX},
				},
			}},
		})
	}
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy:     seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: groups},
	})
}

// system are the folders that libraries read: shared objects, configuration, devices, time zones.
var system = []string{"/usr", "/lib", "/lib64", "/lib32", "/etc", "/opt", "/sys", "/proc"}

// restrictFiles allows reading of system folders and the library's own folder, and writing below
// the paths.
func restrictFiles(c setup) error {
	read := system
	if strings.Contains(c.lib, "/") {
		real, err := filepath.EvalSymlinks(c.lib)
		if err != nil {
			return err
		}
		read = append(read[:len(read):len(read)], filepath.Dir(real), filepath.Dir(c.lib))
	}
	var write []string
	for _, p := range c.paths {
		if _, err := os.Stat(p); err != nil {
			return err
		}
		write = append(write, p)
	}
	return landlock.V3.RestrictPaths(
		landlock.RODirs(read...).IgnoreIfMissing(),
		landlock.RWDirs("/dev", "/run").IgnoreIfMissing(),
		landlock.RWDirs(write...),
	)
}
