package operate

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/api"
)

type hostAnswer struct {
	Timestamp time.Time      `json:"timestamp"`
	CPU       []cpuInfo      `json:"cpu"`
	Host      hostSystem     `json:"host"`
	Memory    map[string]any `json:"memory"`
	Disk      []diskInfo     `json:"disk"`
	Go        goInfo         `json:"go"` // ours
}

type cpuInfo struct {
	CPU   int     `json:"cpu"`
	Model string  `json:"modelName,omitempty"`
	MHz   float64 `json:"mhz,omitempty"`
}

type hostSystem struct {
	Hostname string `json:"hostname"`
	OS       string `json:"os"`
	Arch     string `json:"kernelArch"`
	Kernel   string `json:"kernelVersion,omitempty"`
	Uptime   uint64 `json:"uptime,omitempty"`   // seconds
	BootTime uint64 `json:"bootTime,omitempty"` // seconds since 1970
}

type diskInfo struct {
	Path        string  `json:"path"`
	Total       uint64  `json:"total"`
	Free        uint64  `json:"free"`
	Used        uint64  `json:"used"`
	UsedPercent float64 `json:"usedPercent"`
}

type goInfo struct {
	Version    string `json:"version"`
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"`
}

// hostInfo shows what /proc says of the machine; elsewhere, what Go knows.
func hostInfo(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	a := hostAnswer{
		Timestamp: h.Now().UTC(), CPU: readCPUs(), Memory: readMemory(), Disk: readDisk(),
		Host: hostSystem{OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: firstLine("/proc/sys/kernel/osrelease")},
		Go:   goInfo{runtime.Version(), runtime.NumGoroutine(), m.HeapAlloc},
	}
	if name, err := os.Hostname(); err == nil {
		a.Host.Hostname = name
	}
	if up, _, ok := strings.Cut(firstLine("/proc/uptime"), " "); ok {
		if seconds, err := strconv.ParseFloat(up, 64); err == nil {
			a.Host.Uptime, a.Host.BootTime = uint64(seconds), uint64(max(0, h.Now().Unix()-int64(seconds)))
		}
	}
	return api.Show(a)
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// pairs reads "key : value" lines.
func pairs(path string, f func(key, value string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok {
			f(strings.TrimSpace(key), strings.TrimSpace(value))
		}
	}
}

func readCPUs() []cpuInfo {
	out := []cpuInfo{}
	pairs("/proc/cpuinfo", func(key, value string) {
		switch {
		case key == "processor":
			out = append(out, cpuInfo{CPU: len(out)})
		case len(out) == 0:
		case key == "model name":
			out[len(out)-1].Model = value
		case key == "cpu MHz":
			out[len(out)-1].MHz, _ = strconv.ParseFloat(value, 64) // 0 where it cannot be parsed
		}
	})
	for len(out) < runtime.NumCPU() {
		out = append(out, cpuInfo{CPU: len(out)})
	}
	return out
}

var memoryNames = map[string]string{
	"MemTotal": "total", "MemAvailable": "available", "MemFree": "free", "Buffers": "buffers", "Cached": "cached",
	"SwapTotal": "swapTotal", "SwapFree": "swapFree",
}

func readMemory() map[string]any {
	out := map[string]any{}
	pairs("/proc/meminfo", func(key, value string) {
		number, _, _ := strings.Cut(value, " ")
		if kib, err := strconv.ParseUint(number, 10, 54); err == nil && memoryNames[key] != "" {
			out[memoryNames[key]] = kib << 10
		}
	})
	total, ok := out["total"].(uint64)
	if available, has := out["available"].(uint64); ok && has && total > 0 {
		out["used"], out["usedPercent"] = total-available, 100*float64(total-available)/float64(total)
	}
	return out
}

// readDisk shows the file system of the working directory, which relative paths of the
// configuration refer to.
func readDisk() []diskInfo {
	path, err := filepath.Abs(".")
	if err != nil {
		return []diskInfo{}
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil || st.Blocks == 0 {
		return []diskInfo{}
	}
	size := uint64(st.Bsize)
	d := diskInfo{Path: path, Total: uint64(st.Blocks) * size, Free: uint64(st.Bavail) * size,
		Used: uint64(st.Blocks-st.Bfree) * size}
	d.UsedPercent = 100 * float64(d.Used) / float64(d.Total)
	return []diskInfo{d}
}
