package server

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// garbageFloor is the least garbage between two collections. With Go's default a server that keeps
// 10 MB would collect after each 10 MB, many times a second under load.
const garbageFloor = 64 << 20

// collectLess lets small heaps grow by garbageFloor before they are collected. A heap of that size
// or more is collected as usual, when it has doubled, and the memory limit holds. GOGC takes
// precedence.
func (p *instance) collectLess() {
	if p.getenv("GOGC") == "" {
		afterCollection()
	}
}

// afterCollection sets the pace from what the last collection has left, and again after the next
// one, which finds the watched object unreachable.
func afterCollection() {
	samples := []metrics.Sample{ // the percentage is one of their sum
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(samples)
	var sum uint64
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	debug.SetGCPercent(percentFor(sum))
	watched := &struct{ p *int }{new(int)}
	runtime.AddCleanup(watched, func(struct{}) { afterCollection() }, struct{}{})
}

// percentFor is the growth that is allowed, in percent of the live heap, stacks and globals.
func percentFor(live uint64) int {
	const usual, most = 100, 1000
	return int(min(most, max(usual, usual*garbageFloor/max(live, 1))))
}
