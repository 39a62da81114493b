package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// healthPath responds with 299 instead of an error status.
const healthPath = "sys/health?uninitcode=299&sealedcode=299&standbycode=299&drsecondarycode=299&performancestandbycode=299"

// source is one endpoint, and the file and key under which its response is stored.
type source struct{ target, path, file, key string }

// Sources that are read once, at each interval, and at each metrics interval.
var (
	onceSources = []source{{"config", "sys/config/state/sanitized", "config.json", "config"}}
	eachSources = []source{
		{"host", "sys/host-info", "host_info.json", "host_info"},
		{"requests", "sys/in-flight-req", "requests.json", "in_flight_requests"},
		{"replication-status", "sys/replication/status", "replication_status.json", "replication_status"},
		{"server-status", "sys/seal-status", "server_status.json", "seal"},
		{"server-status", healthPath, "server_status.json", "health"},
		{"server-status", "sys/leader", "server_status.json", "leader"},
	}
	metricSources = []source{{"metrics", "sys/metrics", "metrics.json", "metrics"}}
	profiles      = []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"}
)

func allTargets() []string {
	return []string{"config", "host", "requests", "metrics", "pprof", "replication-status", "server-status", "log"}
}

// watch collects the state of a server.
type watch struct {
	*base
	client *api.Client
	flags  *debugFlags
	clean  redactor
	bundle *bundle
	gone   map[string]bool             // paths that are not read again
	frames map[string][]map[string]any // by file
	noted  map[string]string           // last note, by target
	errors []map[string]string
}

func (w *watch) wants(targets ...string) bool {
	return slices.ContainsFunc(targets, func(t string) bool { return slices.Contains(w.flags.targets, t) })
}

// note records an error of a target unless it repeats the last one. No error stops the collection.
func (w *watch) note(target string, err error) {
	text := w.clean.text(err.Error())
	var re *api.ResponseError
	if errors.As(err, &re) {
		text = fmt.Sprintf("the server returned status %d", re.StatusCode)
		for _, e := range re.Errors {
			e = strings.Join(strings.Fields(strings.TrimPrefix(e, "1 error occurred:")), " ")
			text += ": " + w.clean.text(strings.TrimPrefix(e, "* "))
		}
	}
	if w.noted[target] == text {
		return
	}
	w.noted[target] = text
	w.errorf("  %s: %s", target, text)
	w.errors = append(w.errors,
		map[string]string{"target": target, "error": text, "timestamp": w.now().Format(time.RFC3339)})
}

// run collects all targets at their intervals.
func (w *watch) run() {
	ctx, stop := interruptible()
	defer stop()
	w.printf("==> Capturing static information...\n")
	w.collect(ctx, onceSources)
	w.dynamic(ctx)
	for file, frames := range w.frames {
		w.store(file, frames)
	}
}

// dynamic collects the targets that change, and follows the log at the same time.
func (w *watch) dynamic(ctx context.Context) {
	if !w.wants("host", "requests", "metrics", "pprof", "replication-status", "server-status", "log") {
		return
	}
	w.printf("==> Capturing dynamic information...\n")
	ctx, end := context.WithCancel(ctx)
	defer end()
	var log []byte
	var logErr error
	var following sync.WaitGroup
	if w.wants("log") {
		following.Go(func() { log, logErr = w.log(ctx) })
	}
	for at, next, nextMetrics := time.Duration(0), time.Duration(0), time.Duration(0); ctx.Err() == nil; {
		if at >= next {
			next += w.flags.interval
			w.collect(ctx, eachSources)
			w.profile(ctx)
		}
		if at >= nextMetrics {
			nextMetrics += w.flags.metrics
			w.collect(ctx, metricSources)
		}
		soonest := min(next, nextMetrics)
		if soonest > w.flags.duration {
			break
		}
		w.wait(ctx, soonest-at)
		at = soonest
	}
	end()
	following.Wait()
	if logErr != nil {
		w.note("log", logErr)
	}
	if len(log) > 0 {
		w.bundle.add("sealgate.log", log)
	}
}

// collect reads sources and stores the responses of each file as one frame.
func (w *watch) collect(ctx context.Context, sources []source) {
	frames := map[string]map[string]any{}
	for _, s := range sources {
		if !w.wants(s.target) || w.gone[s.path] || ctx.Err() != nil {
			continue
		}
		data, err := w.get(ctx, s.path)
		var answer any
		if err == nil {
			answer, err = w.redactedJSON(data)
		}
		if err != nil {
			w.failed(s.target, s.path, err)
			continue
		}
		if frames[s.file] == nil {
			frames[s.file] = map[string]any{"timestamp": w.now().Format(time.RFC3339)}
			w.frames[s.file] = append(w.frames[s.file], frames[s.file])
		}
		frames[s.file][s.key] = answer
	}
}

// failed notes an error. A source that the server lacks or refuses to this token is not read again.
func (w *watch) failed(target, path string, err error) {
	w.note(target, err)
	var re *api.ResponseError
	if errors.As(err, &re) && re.StatusCode < http.StatusInternalServerError {
		w.gone[path] = true
	}
}

// maxResponse bounds one response.
const maxResponse = 64 << 20

func (w *watch) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.client.ClientTimeout())
	defer cancel()
	path, query, _ := strings.Cut(path, "?")
	req := w.client.NewRequest(http.MethodGet, "/v1/"+path)
	var err error
	if req.Params, err = url.ParseQuery(query); err != nil {
		return nil, err
	}
	resp, err := w.client.RawRequestWithContext(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err == nil && len(data) > maxResponse {
		err = fmt.Errorf("the response is larger than %d bytes", maxResponse)
	}
	return data, err
}

// redactedJSON redacts a response, without its envelope. Metrics may be text.
func (w *watch) redactedJSON(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var answer any
	if err := dec.Decode(&answer); err != nil {
		if len(bytes.TrimSpace(data)) == 0 {
			return nil, errors.New("the response is empty")
		}
		return w.clean.text(string(data)), nil
	}
	if object, ok := answer.(map[string]any); ok {
		if _, enveloped := object["request_id"]; enveloped && object["data"] != nil {
			answer = object["data"]
		}
	}
	return w.clean.tree(answer), nil
}

// profile stores the runtime's profiles: names of functions and counts. It leaves out goroutine
// dumps as text, because they show arguments.
func (w *watch) profile(ctx context.Context) {
	if !w.wants("pprof") {
		return
	}
	at := w.now().Format(bundleTime)
	for _, p := range profiles {
		if w.gone["pprof"] || ctx.Err() != nil { // a server has all profiles or none
			return
		}
		data, err := w.get(ctx, "sys/pprof/"+p)
		if err != nil {
			w.failed("pprof", "pprof", err)
			continue
		}
		w.bundle.add(at+"/"+p+".prof", data)
	}
}

// maxLog bounds the size of the stored log.
const maxLog = 64 << 20

// log follows the server's log until ctx ends, with a client of its own that has no timeout.
func (w *watch) log(ctx context.Context) ([]byte, error) {
	client, err := w.base.client()
	if err != nil {
		return nil, err
	}
	var kept bytes.Buffer
	err = follow(ctx, client, "trace", w.flags.logFormat, func(line string) error {
		if kept.Len()+len(line) > maxLog {
			return fmt.Errorf("the log is larger than %d bytes; the rest is left out", maxLog)
		}
		kept.WriteString(w.clean.text(line) + "\n")
		return nil
	})
	if ctx.Err() != nil {
		err = nil
	}
	return kept.Bytes(), err
}
