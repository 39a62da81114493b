package etcd

import (
	"context"
	"errors"
	"sort"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/sealgate/sealgate/internal/storage"
)

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	r := &pb.RangeRequest{Key: s.keys.of(key)}
	var resp *pb.RangeResponse
	var err error
	if revision := storage.WantsRevision(ctx); revision != nil {
		resp, err = s.readAt(ctx, r, revision)
	} else {
		resp, err = s.read(ctx, "reading", r)
	}
	switch {
	case err != nil:
		return nil, err
	case len(resp.Kvs) == 0:
		return nil, storage.ErrNotFound
	case resp.Kvs[0].Value == nil:
		return []byte{}, nil
	}
	return resp.Kvs[0].Value, nil
}

// readAt reads and notes the revision of the last commit, as of one moment. etcd executes a
// transaction that only reads as a linearizable read.
func (s *Store) readAt(ctx context.Context, r *pb.RangeRequest, to *storage.ReadRevision) (*pb.RangeResponse, error) {
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	both := &pb.TxnRequest{Success: []*pb.RequestOp{rangeOp(r), rangeOp(&pb.RangeRequest{Key: s.keys.commit})}}
	resp, _, err := ask(limited, s, job{"reading", false}, func(ctx context.Context, l *link) (*pb.TxnResponse, error) {
		return l.kv.Txn(ctx, both, callOptions...)
	})
	if err != nil {
		return nil, s.explain(ctx, "reading", err)
	}
	to.Note(revisionOf(resp.Responses[1].GetResponseRange()))
	return resp.Responses[0].GetResponseRange(), nil
}

// revisionOf returns the revision of the last commit as a read of its key shows it; 0: there was
// none.
func revisionOf(commit *pb.RangeResponse) uint64 {
	if len(commit.Kvs) == 0 {
		return 0
	}
	return uint64(commit.Kvs[0].ModRevision)
}

// Revision implements storage.Sequencer with etcd's revision of the last commit.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	resp, err := s.read(ctx, "reading the revision", &pb.RangeRequest{Key: s.keys.commit})
	if err != nil {
		return 0, err
	}
	return revisionOf(resp), nil
}

// Size implements storage.Sizer with the size of etcd's database, including history and other
// clients' data.
func (s *Store) Size(ctx context.Context) (int64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	call := func(ctx context.Context, l *link) (*pb.StatusResponse, error) {
		return pb.NewMaintenanceClient(l.client.ActiveConnection()).Status(ctx, &pb.StatusRequest{}, callOptions...)
	}
	resp, _, err := ask(limited, s, job{"reading the size", false}, call)
	if err != nil {
		return 0, s.explain(ctx, "reading the size", err)
	}
	return resp.DbSize, nil
}

// List implements storage.Store, as of one moment.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		p := pager{store: s, ctx: ctx, size: minPage}
		if limit > 0 {
			p.size = min(limit+1, maxPage)
		}
		names, err := storage.Names(prefix, after, limit, p.seek)
		if errors.Is(err, errCompacted) && attempt < 3 {
			continue // list again, as of a later revision
		}
		return names, err
	}
}

// Bounds of a page of keys.
const (
	minPage = 64
	maxPage = 1024
)

// pager finds keys in order, many with each request. Pages shrink when the reader skips fetched
// keys (a folder with many keys costs one name), and grow when it uses them all.
type pager struct {
	store    *Store
	ctx      context.Context
	revision int64  // of the first page; later pages read the same revision
	from     string // start of the page
	page     []*mvccpb.KeyValue
	last     bool // no page follows
	size     int
	used     int // keys of the page used so far
}

// seek returns the first key at or after from.
func (p *pager) seek(from string) (string, bool, error) {
	if key, ok := p.find(from); ok {
		return key, true, nil
	}
	if p.page != nil && p.last {
		return "", false, nil
	}
	if p.page != nil {
		if p.used*4 < len(p.page) {
			p.size = max(p.size/4, 2)
		} else {
			p.size = min(p.size*2, maxPage)
		}
	}
	if err := p.fetch(from); err != nil {
		return "", false, err
	}
	key, ok := p.find(from)
	return key, ok, nil
}

// find searches the page.
func (p *pager) find(from string) (string, bool) {
	if p.page == nil || from < p.from {
		return "", false
	}
	want := p.store.keys.data + from
	i := sort.Search(len(p.page), func(i int) bool { return string(p.page[i].Key) >= want })
	if i == len(p.page) {
		return "", false
	}
	p.used++
	return p.store.keys.name(p.page[i].Key)
}

func (p *pager) fetch(from string) error {
	resp, err := p.store.read(p.ctx, "listing", &pb.RangeRequest{
		Key: p.store.keys.of(from), RangeEnd: p.store.keys.dataEnd, Limit: int64(p.size), Revision: p.revision,
		KeysOnly: true,
	})
	if err != nil {
		return err
	}
	if p.revision == 0 {
		p.revision = resp.Header.Revision
	}
	p.from, p.page, p.last, p.used = strings.Clone(from), resp.Kvs, !resp.More, 0
	if p.page == nil {
		p.page = []*mvccpb.KeyValue{}
	}
	return nil
}
