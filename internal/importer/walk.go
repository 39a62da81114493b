package importer

import (
	"context"
	"net/http"
	"sync"
)

// walk calls copy for each secret below a folder of a kv mount, several at a time. at is the path
// that lists; name is relative to it. The first error that ends the run ends the walk.
func (r *run) walk(ctx context.Context, kind, at string,
	copySecret func(ctx context.Context, name string) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	names := make(chan string)
	var workers sync.WaitGroup
	for range r.Workers {
		workers.Go(func() {
			for name := range names {
				if ctx.Err() != nil {
					continue
				}
				if err := copySecret(ctx, name); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := r.descend(ctx, kind, at, "", 0, names)
	close(names)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (r *run) descend(ctx context.Context, kind, at, folder string, depth int, names chan<- string) error {
	path := at
	if folder != "" {
		path += "/" + folder
	}
	found, err := r.from.list(ctx, path)
	if err != nil {
		return r.settle(ctx, Item{Kind: kind, Path: path}, err)
	}
	for _, name := range found {
		full := folder + name
		err := checkPath(full)
		if err == nil && depth == maxDepth {
			err = &Refusal{http.StatusBadRequest, []string{"the folders are too deep"}}
		}
		if err != nil {
			r.add(Item{Kind: kind, Path: at + "/" + full, Outcome: Left, Reason: err.Error()})
			continue
		}
		if full[len(full)-1] == '/' {
			if err := r.descend(ctx, kind, at, full, depth+1, names); err != nil {
				return err
			}
			continue
		}
		select {
		case names <- full:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
