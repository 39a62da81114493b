package server

import (
	"context"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/metrics"
)

// Shares of a limit: memory that Go may use of the cgroup's (the rest is for C libraries and
// stacks), and the use of descriptors at which a warning begins and ends.
const (
	memoryShare    = 0.9
	descriptorHigh = 0.8
	descriptorLow  = 0.7
)

// leastDescriptors is the limit of open files below which a start warns: each client takes one.
const leastDescriptors = 4096

// resourcesEvery is the time between two checks of the descriptors.
const resourcesEvery = 10 * time.Second

// limitMemory gives Go's runtime the memory limit of the cgroup, so that it collects garbage before
// the kernel kills the process. GOMEMLIMIT takes precedence.
func (p *instance) limitMemory() {
	if p.getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, ok := cgroupMemory(os.DirFS("/"))
	if !ok {
		return
	}
	debug.SetMemoryLimit(int64(float64(limit) * memoryShare))
	p.log.Info("memory limit set from the cgroup", "cgroup_bytes", limit, "share", memoryShare)
}

// Memory for requests: what is left of a limit after the program itself, of which half is for what
// the collector has not yet found; without a limit a quarter of the machine's memory.
const (
	ownMemory          = 40 << 20
	leastForRequests   = 8 << 20
	machinesForAServer = 4
)

// requestMemory is how much memory requests in flight may take together.
func requestMemory(configured, limit, machine int64) int64 {
	switch {
	case configured > 0:
		return configured
	case limit < math.MaxInt64:
		return max((limit-ownMemory)/2, leastForRequests)
	case machine > 0:
		return max(machine/machinesForAServer, leastForRequests)
	}
	return 0
}

// boundRequests limits the memory of requests in flight, so that they are refused before the kernel
// kills the process.
func (p *instance) boundRequests() {
	most := requestMemory(p.cfg.MaxRequestMemory, debug.SetMemoryLimit(-1), machineMemory(os.DirFS("/")))
	p.shared.Memory.Limit(most)
	p.log.Debug("memory for requests in flight", "bytes", most)
}

// machineMemory is the memory of the machine; 0 where Linux does not report it.
func machineMemory(root fs.FS) int64 {
	raw, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil || n > math.MaxInt64>>10 {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// cgroupMemory is the least memory limit of this process's cgroup and its parents; ok is false
// without one.
func cgroupMemory(root fs.FS) (limit int64, ok bool) {
	raw, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	limit = math.MaxInt64
	for line := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, file := "sys/fs/cgroup", "memory.max" // version 2 has one line, "0::/path"
		if parts[1] == "memory" {
			dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		for path := filepath.Clean("/" + parts[2]); ; path = filepath.Dir(path) {
			if text, err := fs.ReadFile(root, filepath.Join(dir, path, file)); err == nil {
				if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
					limit = min(limit, n)
				}
			}
			if path == "/" {
				break
			}
		}
	}
	const unlimited = 1 << 60 // version 1 has a large number instead of "max"
	return limit, limit < unlimited
}

// descriptors are the open files of this process and their limit.
func descriptors() (open, limit uint64) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0, 0
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return l.Cur, l.Cur // no descriptor is left to count them
	}
	return uint64(len(entries)), l.Cur
}

// sampleDescriptors adds the metrics of open files.
func sampleDescriptors(s *metrics.Sample) {
	open, limit := descriptors()
	s.Gauge("sealgate.process.open_files", float64(open))
	s.Gauge("sealgate.process.open_files_limit", float64(limit))
}

// watchDescriptors warns of a low limit at the start, and while most descriptors are in use. Go's
// runtime has raised the soft limit to the hard limit.
func (p *instance) watchDescriptors(ctx context.Context) {
	const remedy = "raise LimitNOFILE in the systemd unit, or ulimit -n"
	if _, limit := descriptors(); limit > 0 && limit < leastDescriptors {
		p.log.Warn("the limit of open files is low: each client takes one", "limit", limit, "remedy", remedy)
	}
	ticker := time.NewTicker(resourcesEvery)
	defer ticker.Stop()
	high := false
	for {
		open, limit := descriptors()
		switch use := float64(open) / float64(max(limit, 1)); {
		case !high && use >= descriptorHigh:
			high = true
			p.log.Warn("most file descriptors are in use; new connections will be refused at the limit",
				"open", open, "limit", limit, "remedy", remedy)
		case high && use < descriptorLow:
			high = false
			p.log.Info("file descriptors are available again", "open", open, "limit", limit)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
