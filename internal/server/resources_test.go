package server

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestCgroupMemory(t *testing.T) {
	t.Parallel()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  int64
		ok    bool
	}{
		"version 2": {fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("100663296\n")}, 100663296, true},
		"a parent's": {fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/memory.max": file("500\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n")}, 500, true},
		"a container's own root": {fstest.MapFS{"proc/self/cgroup": file("0::/\n"),
			"sys/fs/cgroup/memory.max": file("700\n")}, 700, true},
		"version 1": {fstest.MapFS{"proc/self/cgroup": file("4:cpu:/a\n3:memory:/a\n"),
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("600\n")}, 600, true},
		"version 1 without a limit": {fstest.MapFS{"proc/self/cgroup": file("3:memory:/\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, 0, false},
		"no limit":   {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("max\n")}, 0, false},
		"no cgroups": {fstest.MapFS{}, 0, false},
	} {
		if got, ok := cgroupMemory(c.files); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %d, %v; want %d, %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestDescriptors(t *testing.T) {
	t.Parallel()
	if open, limit := descriptors(); open < 3 || limit < open {
		t.Errorf("%d of %d", open, limit)
	}
}

func TestRequestMemory(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ configured, limit, machine, want int64 }{
		{5, 1 << 30, 1 << 40, 5}, {0, 86 << 20, 8 << 30, 23 << 20}, {0, 32 << 20, 8 << 30, 8 << 20},
		{0, math.MaxInt64, 8 << 30, 2 << 30}, {0, math.MaxInt64, 1 << 20, 8 << 20}, {0, math.MaxInt64, 0, 0},
	} {
		if got := requestMemory(tc.configured, tc.limit, tc.machine); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
	meminfo := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:       24685696 kB\nMemFree:  1 kB\n")}}
	if got := machineMemory(meminfo); got != 24685696<<10 {
		t.Errorf("%d", got)
	}
	if got := machineMemory(fstest.MapFS{}); got != 0 {
		t.Errorf("%d without /proc", got)
	}
}
