package metrics

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func text(t *testing.T, r *Registry) string {
	t.Helper()
	var b strings.Builder
	if err := r.WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrometheusText(t *testing.T) {
	t.Parallel()
	r := New("vault", func() time.Time { return time.Unix(1e9, 0) })
	r.Help("core.unsealed", "whether\nit \\ is")
	r.Counter("route.read.secret-").Add(3)
	r.Counter("sealgate.requests", "operation", `a"b\c`+"\n").Inc()
	r.Timer("core.handle_request").Observe(1500 * time.Microsecond)
	r.Sampled(func(s *Sample) { s.Gauge("core.unsealed", 1, "cluster", "c"); s.Counter("sealgate.total", 7) })
	want := `# HELP sealgate_requests sealgate_requests
# TYPE sealgate_requests counter
sealgate_requests{operation="a\"b\\c\n"} 1
# HELP sealgate_total sealgate_total
# TYPE sealgate_total counter
sealgate_total 7
# HELP vault_core_handle_request vault_core_handle_request
# TYPE vault_core_handle_request summary
vault_core_handle_request{quantile="0.5"} 1.5
vault_core_handle_request{quantile="0.9"} 1.5
vault_core_handle_request{quantile="0.99"} 1.5
vault_core_handle_request_sum 1.5
vault_core_handle_request_count 1
# HELP vault_core_unsealed whether\nit \\ is
# TYPE vault_core_unsealed gauge
vault_core_unsealed{cluster="c"} 1
# HELP vault_route_read_secret_ vault_route_read_secret_
# TYPE vault_route_read_secret_ counter
vault_route_read_secret_ 3
`
	if got := text(t, r); got != want {
		t.Errorf("got\n%s", got)
	}
	line := regexp.MustCompile(`^(#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? \S+)$`)
	for l := range strings.Lines(text(t, r)) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("not a line of the format: %q", l)
		}
	}
}

func TestSummaryIsJSON(t *testing.T) {
	t.Parallel()
	r := New("vault", func() time.Time { return time.Unix(1e9, 0) })
	r.Timer("t", "a", "b").Observe(2 * time.Millisecond)
	r.Counter("c").Add(2)
	r.Sampled(func(s *Sample) { s.Gauge("g", math.NaN()) })
	got, err := json.Marshal(r.Summary())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Timestamp":"2001-09-09 01:46:40 +0000 UTC","Gauges":[{"Name":"vault.g","Value":0,"Labels":{}}],"Points":[],` +
		`"Counters":[{"Name":"vault.c","Count":2,"Rate":0,"Sum":2,"Min":1,"Max":1,"Mean":1,"Stddev":0,"Labels":{}}],` +
		`"Samples":[{"Name":"vault.t","Count":1,"Rate":0,"Sum":2,"Min":2,"Max":2,"Mean":2,"Stddev":0,"Labels":{"a":"b"}}]}`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
}

// TestQuantiles compares with the exact ones: a bucket is at most a quarter wide.
func TestQuantiles(t *testing.T) {
	t.Parallel()
	timer := New("", nil).Timer("t")
	var all []time.Duration
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		d := time.Duration(math.Exp(rnd.Float64()*12) * float64(time.Microsecond))
		all = append(all, d)
		timer.Observe(d)
	}
	slices.Sort(all)
	got := timer.summary()
	for i, q := range quantiles {
		exact := ms(int64(all[int(q*10_000)-1]))
		if v := got.quantiles[i]; v < exact || v > exact*1.3+0.001 {
			t.Errorf("quantile %g: %g, exactly %g", q, v, exact)
		}
	}
	if got.least != ms(int64(all[0])) || got.most != ms(int64(all[len(all)-1])) || got.count != 10_000 {
		t.Errorf("%+v", got)
	}
}

func TestBucketBounds(t *testing.T) {
	t.Parallel()
	for d := time.Duration(0); d < 2*time.Hour; d = d*9/8 + 300 {
		b := bucketOf(d)
		if d >= upperOf(b) || b > 0 && d < upperOf(b-1) {
			t.Fatalf("%s is in bucket %d, from %s to %s", d, b, upperOf(b-1), upperOf(b))
		}
	}
	if b := bucketOf(math.MaxInt64); b != numBuckets-1 {
		t.Error(b)
	}
}

func TestOldObservationsExpire(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	timer := New("", func() time.Time { return now }).Timer("t")
	timer.Observe(time.Second)
	for i, known := range []bool{true, true, false} {
		if got := timer.summary().quantiles[0]; math.IsNaN(got) == known {
			t.Errorf("after %d windows: %g", i, got)
		}
		now = now.Add(window)
	}
	timer.Observe(time.Second)
	timer.summary()
	now = now.Add(10 * window)
	if got := timer.summary(); !math.IsNaN(got.quantiles[0]) || got.count != 2 {
		t.Errorf("after a long silence: %+v", got)
	}
}

func TestConcurrently(t *testing.T) {
	t.Parallel()
	r := New("vault", nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				r.Counter("c", "a", "b").Inc()
				r.Timer("t").Observe(time.Millisecond)
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			_ = text(t, r)
		}
	})
	wg.Wait()
	if n := r.Counter("c", "a", "b").Value(); n != 8000 {
		t.Error(n)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	r := New("vault", nil)
	c, timer := r.Counter("c"), r.Timer("t")
	if n := testing.AllocsPerRun(100, func() { c.Inc(); timer.Observe(time.Second) }); n != 0 {
		t.Error(n)
	}
}

func BenchmarkObserve(b *testing.B) {
	t := New("", nil).Timer("t")
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			t.Observe(123 * time.Microsecond)
		}
	})
}
