//go:build unix

package e2e

import (
	"fmt"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// BenchmarkOpenBao compares reads and writes of kv version 1, new tokens and seal-status with a
// real OpenBao on its own storage, by turns in one run, on 16 kept connections and without audit.
// Both storages sync every commit. The load shares the machine, which makes the ratios smaller.
func BenchmarkOpenBao(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	bao := openbao.Start(b)
	bao.Must("POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	bao.Must("PUT", "kv/one", map[string]string{"v": value64})
	kinds := []struct {
		name         string
		want         float64 // 0: no target
		code         int
		request      func(token string) func(conn, i int) string
		ours, theirs *party
	}{
		{name: "seal-status", code: 200, request: func(string) func(int, int) string {
			return same(getRequest("sys/seal-status", ""))
		}},
		{name: "kv read", code: 200, request: func(token string) func(int, int) string {
			return same(getRequest("kv/one", token))
		}},
		{name: "kv write", want: 6, code: 204, request: func(token string) func(int, int) string {
			return func(conn, i int) string {
				return putRequest(fmt.Sprintf("kv/w%d/%d", conn, i%100), token, `{"v":"`+value64+`"}`)
			}
		}},
		{name: "token create", want: 6, code: 200, request: func(token string) func(int, int) string {
			return same(putRequest("auth/token/create", token, `{"ttl":"1h"}`))
		}},
	}
	for i := range kinds {
		k := &kinds[i]
		k.ours = &party{addr: s.Addr, pid: s.Pid(), code: k.code, request: k.request(token)}
		k.theirs = &party{addr: bao.Addr, pid: bao.Pid(), code: k.code, request: k.request(bao.Root)}
	}
	for b.Loop() {
		for range 4 { // short turns: other load of the machine meets both
			for _, k := range kinds {
				k.ours.turn(b, window/6)
				k.theirs.turn(b, window/6)
			}
		}
	}
	for _, k := range kinds {
		ratio := compare(b, k.name+"/openbao", k.ours, k.theirs)
		if k.want > 0 {
			testkit.AtLeast(b, k.name+", 16 connections / OpenBao", ratio, k.want)
		}
	}
}
