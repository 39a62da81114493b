package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// BenchmarkCommit writes 1 KiB values by 1 and by 16 writers, as commits of the store and as the
// bare library does it: an INSERT ... ON CONFLICT in a transaction of its own, with the same
// durability. of-bare is the ratio.
func BenchmarkCommit(b *testing.B) {
	server := pgtest.Start(b)
	url := server.Database(b)
	s := open(b, Options{URL: url})
	pgtest.Exec(b, url, `CREATE TABLE bare (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL)`)
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	value := make([]byte, 1024)
	bare := func(key string) error {
		_, err := pool.Exec(context.Background(),
			`INSERT INTO bare VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
		return err
	}
	plain := func(key string) error {
		return s.Commit(context.Background(), storage.Batch{Ops: []storage.Op{storage.Put(key, value)}})
	}
	mixed := func(key string) error {
		return s.Commit(context.Background(),
			storage.Batch{Ops: []storage.Op{storage.Put(key, value), storage.Delete(key + "-old")}})
	}
	for _, writers := range []int{1, 16} {
		for name, write := range map[string]func(string) error{"puts": plain, "mixed": mixed} {
			b.Run(fmt.Sprintf("%s/writers=%d", name, writers), func(b *testing.B) { compare(b, writers, write, bare) })
		}
	}
}

// compare takes turns, so that both see the same machine.
func compare(b *testing.B, writers int, ours, bare func(string) error) {
	var next atomic.Int64
	var spent [2]time.Duration
	const turn = 32
	for b.Loop() {
		for i, write := range []func(string) error{ours, bare} {
			done := make(chan error, writers)
			start := time.Now()
			for range writers {
				go func() {
					for range turn / writers {
						if err := write(fmt.Sprintf("kv/%d", next.Add(1)%5000)); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range writers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			spent[i] += time.Since(start)
		}
	}
	b.ReportMetric(float64(b.N*(turn/writers*writers))/spent[0].Seconds(), "commits/s")
	b.ReportMetric(spent[1].Seconds()/spent[0].Seconds(), "of-bare")
}
