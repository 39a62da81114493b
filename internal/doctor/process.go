package doctor

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/config"
)

// leastFiles is the recommended limit of open files: each client takes one.
const leastFiles = 4096

// process checks the resource limits: those of the running server if its pid file names it, else
// those of this process.
func (e *exam) process() {
	on := e.on("process", "this one", config.Pos{})
	// A server sets its own limit of core dumps, so that the one of this process says nothing.
	core, files, known := uint64(0), limitsOf(unix.RLIMIT_NOFILE), true
	pid := e.pid()
	if pid > 0 {
		if c, f, ok := limitsOfProcess(pid); ok {
			on.about, core, files = fmt.Sprintf("server, process %d", pid), c, f
		} else {
			known = false
		}
	}
	before := len(e.report.Findings)
	if known && core > 0 {
		on.warn("ulimit -c 0, or LimitCORE=0 in its systemd unit", "a crash may write memory with keys to a core dump")
	}
	switch {
	case e.cfg != nil && e.cfg.AllowDebugging:
		on.warn("remove unsafe_allow_debugging and restart the server", "unsafe_allow_debugging is set: processes of the "+
			"server's user can read its memory with all keys")
	case pid > 0 && readableByEquals(fmt.Sprintf("/proc/%d", pid)):
		on.warn("restart it with this version, and see its log for the cause", "processes of the server's user can read its "+
			"memory with all keys")
	}
	e.lockedMemory(on, pid)
	if known && files < leastFiles {
		on.warn("ulimit -n 65536, or LimitNOFILE=65536 in its systemd unit", "it may open only %d files, and each client "+
			"takes one", files)
	}
	if names := swaps("/proc/swaps"); len(names) > 0 {
		on.warn("swapoff -a, encrypt it, or MemorySwapMax=0 in its systemd unit",
			"memory with keys may be written to swap: %s", strings.Join(names, ", "))
	}
	if len(e.report.Findings) == before {
		on.ok("no core dumps, no swap, %d open files", files)
	}
}

// leastLocked is how much memory the server locks for its keys at first.
const leastLocked = 64 << 10

// lockedMemory checks that the keys of the running server are in locked memory, or that a server
// with the limits of this process could lock it.
func (e *exam) lockedMemory(on topic, pid int) {
	const remedy = "raise the limit of locked memory (LimitMEMLOCK=1M in its systemd unit, ulimit -l 1024), or disable " +
		"swap and set disable_mlock = true"
	if e.cfg != nil && e.cfg.DisableMlock {
		return
	}
	if pid > 0 {
		if locked, ok := lockedBy(fmt.Sprintf("/proc/%d/status", pid)); ok && locked < leastLocked {
			on.warn(remedy, "its keys are not in locked memory and may be written to swap")
		}
		return
	}
	if limit := limitsOf(unix.RLIMIT_MEMLOCK); limit < leastLocked && os.Geteuid() != 0 {
		on.warn(remedy, "it may lock %d bytes of memory and needs %d for its keys", limit, leastLocked)
	}
}

// lockedBy reads how many bytes a process has locked, from a line such as "VmLck:       64 kB".
func lockedBy(status string) (uint64, bool) {
	raw, err := os.ReadFile(status)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmLck:" {
			kib, err := strconv.ParseUint(fields[1], 10, 54)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

// pid is that of the running server; 0 if it is not known.
func (e *exam) pid() int {
	if e.cfg == nil || e.cfg.PIDFile == "" {
		return 0
	}
	raw, err := os.ReadFile(e.cfg.PIDFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 0 || unix.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

func limitsOf(what int) uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(what, &l) != nil {
		return 0
	}
	return l.Cur
}

// readableByEquals reports whether processes of a server's user can read its memory, by its folder
// in /proc: the kernel gives the files of a process that is not dumpable to root. Of a server that
// runs as root it reports false, because there the owner says nothing.
func readableByEquals(proc string) bool {
	var process, file unix.Stat_t
	return unix.Stat(proc, &process) == nil && process.Uid != 0 &&
		unix.Stat(proc+"/environ", &file) == nil && file.Uid == process.Uid
}

// limitsOfProcess reads the soft limits from lines such as "Max open files            1024
// 524288               files".
func limitsOfProcess(pid int) (core, files uint64, ok bool) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, 0, false
	}
	defer f.Close()
	read := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		for name, to := range map[string]*uint64{"Max core file size": &core, "Max open files": &files} {
			rest, found := strings.CutPrefix(lines.Text(), name)
			fields := strings.Fields(rest)
			if !found || len(fields) == 0 {
				continue
			}
			if *to, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
				*to = ^uint64(0) // "unlimited"
			}
			read++
		}
	}
	return core, files, read == 2
}

// swaps are the swap devices and files, without compressed memory (zram).
func swaps(file string) (names []string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		if name, _, _ := strings.Cut(line, " "); i > 0 && name != "" && !strings.HasPrefix(name, "/dev/zram") {
			names = append(names, strings.Fields(name)[0])
		}
	}
	return names
}
