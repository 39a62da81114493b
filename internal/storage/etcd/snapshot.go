package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	snapshotPage  = 256     // entries in a page, at most
	snapshotBytes = 4 << 20 // of a page; pages shrink beyond it
)

// Snapshot implements storage.Snapshotter with pages of one revision. It fails if that revision is
// compacted before the last page, which the leader's compaction does not do within five minutes.
func (s *Store) Snapshot(ctx context.Context, visit func(key string, value []byte) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	r := &pb.RangeRequest{Key: []byte(s.keys.data), RangeEnd: s.keys.dataEnd, Limit: 16}
	for {
		resp, err := s.page(ctx, r)
		if err != nil {
			return err
		}
		size := 0
		for _, kv := range resp.Kvs {
			if err := s.ready(ctx); err != nil {
				return err
			}
			size += len(kv.Value)
			key, _ := s.keys.name(kv.Key)
			if err := visit(key, kv.Value); err != nil {
				return err
			}
		}
		if !resp.More {
			return nil
		}
		if len(resp.Kvs) == 0 {
			return storage.ErrCorrupt // an empty page with more to come would never end
		}
		if r.Revision == 0 { // the first page sets it; later headers show newer revisions
			r.Revision = resp.Header.Revision
		}
		r.Key = append(resp.Kvs[len(resp.Kvs)-1].Key, 0)
		if size < snapshotBytes/4 {
			r.Limit = min(r.Limit*2, snapshotPage)
		} else if size > snapshotBytes {
			r.Limit = max(r.Limit/2, 1)
		}
	}
}

// page reads one page, with fewer entries if they are too large for one response.
func (s *Store) page(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	for {
		resp, err := s.tryRead(ctx, "reading a snapshot", r)
		switch {
		case err == nil:
			return resp, nil
		case status.Code(err) == codes.ResourceExhausted && r.Limit > 1:
			r.Limit /= 2
		default:
			return nil, s.explain(ctx, "reading a snapshot", err)
		}
	}
}
