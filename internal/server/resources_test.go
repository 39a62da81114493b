package server

import (
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
