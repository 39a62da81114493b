package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/sealgate/sealgate/internal/e2e"
)

const (
	clients   = 6
	keys      = 8
	callTime  = 8 * time.Second      // after that a client gives up, and the outcome of a write is unknown
	forever   = int64(1) << 62       // end of a write whose outcome is unknown
	restTime  = 5 * time.Millisecond // between two requests of a client
	afterFail = 50 * time.Millisecond
)

// history is the requests of all clients with their answers.
type history struct {
	mu         sync.Mutex
	ops        []porcupine.Operation
	began      time.Time
	acked      int // writes
	reads      int
	lost       int // requests without an answer that says something
	unexpected map[string]int
}

func (h *history) now() int64 { return int64(time.Since(h.began)) }

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	switch i, o := op.Input.(input), op.Output.(outcome); {
	case o.unknown:
		h.lost++
	case i.write && !o.conflict:
		h.acked++
	case !i.write:
		h.reads++
	}
}

// anomaly counts an answer that no client should get.
func (h *history) anomaly(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unexpected[what]++
}

// client checks and sets until ctx ends, each request through a node by chance.
func (h *history) client(ctx context.Context, number int, f *testCluster) {
	var last [keys]register // what this client believes
	for n := 0; ctx.Err() == nil; n++ {
		k := rand.IntN(keys)
		key := fmt.Sprint("k", k)
		node := f.nodes[rand.IntN(len(f.nodes))]
		var err error
		if rand.IntN(2) == 0 {
			last[k], err = h.read(node.Server, f.Root, number, key, last[k])
		} else {
			last[k], err = h.write(node.Server, f.Root, number,
				input{key, true, last[k].version, fmt.Sprintf("c%d-%d", number, n)}, last[k])
		}
		pause := restTime
		if err != nil {
			pause = afterFail
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// secret is the body of a read.
type secret struct {
	Data struct {
		Data     struct{ V string }
		Metadata struct{ Version int }
	}
}

// request is not ended with the clients: what was sent is waited for.
func request(s *e2e.Server, token, method, path string, body any) (e2e.Reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	return s.Do(ctx, method, path, token, body)
}

func (h *history) read(s *e2e.Server, token string, client int, key string, before register) (register, error) {
	call := h.now()
	reply, err := request(s, token, http.MethodGet, "kv/data/"+key, nil)
	if err != nil {
		return before, err
	}
	var now register
	switch reply.Code {
	case http.StatusOK:
		var body secret
		if err := json.Unmarshal(reply.Body, &body); err != nil {
			h.anomaly("a body that is no secret")
			return before, err
		}
		now = register{body.Data.Metadata.Version, body.Data.Data.V}
	case http.StatusNotFound:
	default:
		return before, h.refused(reply)
	}
	h.add(porcupine.Operation{ClientId: client, Input: input{key: key}, Call: call,
		Output: outcome{register: now}, Return: h.now()})
	return now, nil
}

func (h *history) write(s *e2e.Server, token string, client int, i input, before register) (register, error) {
	op := porcupine.Operation{ClientId: client, Input: i, Call: h.now()}
	reply, err := request(s, token, http.MethodPost, "kv/data/"+i.key,
		map[string]any{"options": map[string]int{"cas": i.cas}, "data": map[string]string{"v": i.value}})
	op.Return = h.now()
	switch {
	case err == nil && reply.Code == http.StatusOK:
		op.Output = outcome{}
		h.add(op)
		return register{i.cas + 1, i.value}, nil
	case err == nil && reply.Code == http.StatusBadRequest && strings.Contains(reply.Errors(), "check-and-set"):
		op.Output = outcome{conflict: true}
		h.add(op)
		now, err := h.read(s, token, client, i.key, before)
		return now, err
	case err == nil:
		err = h.refused(reply)
	}
	op.Output, op.Return = outcome{unknown: true}, forever
	h.add(op)
	return before, err
}

// refused notes answers other than that the cluster is busy with itself.
func (h *history) refused(reply e2e.Reply) error {
	if reply.Code != http.StatusServiceUnavailable {
		h.anomaly(fmt.Sprintf("%d %s", reply.Code, reply.Errors()))
	}
	return fmt.Errorf("%d %s", reply.Code, reply.Errors())
}

// judge holds the history against the model.
func (h *history) judge(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%d acknowledged writes, %d reads, %d writes of unknown outcome", h.acked, h.reads, h.lost)
	for what, n := range h.unexpected {
		t.Errorf("%d answers that no client should get: %s", n, what)
	}
	if h.acked == 0 || h.reads == 0 {
		t.Error("nothing was written, or nothing read")
	}
	switch porcupine.CheckOperationsTimeout(model, h.ops, 5*time.Minute) {
	case porcupine.Illegal:
		t.Error("the history is not linearizable")
	case porcupine.Unknown:
		t.Error("the history could not be judged in five minutes")
	}
}
