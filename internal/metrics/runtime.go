package metrics

import "runtime"

// SampleRuntime adds metrics of Go's runtime, by Vault's names.
func SampleRuntime(s *Sample) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.Gauge("runtime.num_goroutines", float64(runtime.NumGoroutine()))
	s.Gauge("runtime.alloc_bytes", float64(m.Alloc))
	s.Gauge("runtime.sys_bytes", float64(m.Sys))
	s.Gauge("runtime.heap_objects", float64(m.HeapObjects))
	s.Counter("runtime.malloc_count", m.Mallocs)
	s.Counter("runtime.free_count", m.Frees)
	s.Counter("runtime.total_gc_runs", uint64(m.NumGC))
}
