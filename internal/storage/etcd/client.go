package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	maxSend    = 2 << 20  // a commit with its overhead; etcd itself takes 1.5 MiB
	maxReceive = 64 << 20 // a page of a snapshot
)

// callOptions apply to every call.
var callOptions = []grpc.CallOption{grpc.MaxCallSendMsgSize(maxSend), grpc.MaxCallRecvMsgSize(maxReceive)}

// connect creates a client of each member. With a user it logs in, which needs etcd; without one it
// sends nothing yet.
func (s *Store) connect(ctx context.Context) error {
	config, err := s.config()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.end)
	defer stop()
	for _, endpoint := range s.o.Endpoints {
		s.members = append(s.members, &member{endpoint: endpoint})
	}
	plain := config
	plain.Username, plain.Password = "", ""
	for _, m := range s.members {
		plain.Endpoints = []string{m.endpoint}
		client, err := clientv3.New(plain)
		if err != nil {
			return s.explain(ctx, "connecting", err)
		}
		m.link.Store(newLink(client))
	}
	if s.o.Username == "" {
		return nil
	}
	if err := s.login(ctx); err != nil {
		return err
	}
	if err := s.hangUp(); err != nil {
		return err
	}
	for _, m := range s.members {
		m.link.Store(nil)
		own := config
		own.Endpoints = []string{m.endpoint}
		if err := s.launch(func() { s.dial(m, own) }); err != nil {
			return err
		}
	}
	return nil
}

// config is that of each client, without the endpoint.
func (s *Store) config() (clientv3.Config, error) {
	secure, err := s.o.tlsConfig()
	if err != nil {
		return clientv3.Config{}, err
	}
	config := clientv3.Config{
		TLS: secure, Username: s.o.Username, Password: s.o.Password,
		DialTimeout: min(s.o.RequestTimeout, loginTimeout), DialKeepAliveTime: 10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		MaxCallSendMsgSize:   maxSend, MaxCallRecvMsgSize: maxReceive,
		MaxUnaryRetries: 2, // one more, with a new token: ask repeats everything else
		Context:         s.closing, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// gRPC's default delay grows to two minutes; the whole cluster waits for etcd.
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: min(s.o.RequestTimeout, 2*time.Second),
		})},
	}
	if s.o.ServerName != "" {
		config.DialOptions = append(config.DialOptions, grpc.WithAuthority(s.o.ServerName))
	}
	return config, nil
}

const (
	loginTimeout = 2 * time.Second // of one member
	loginPause   = 500 * time.Millisecond
)

// dial connects to a member as the user, which may have to be repeated: the client library logs in
// with its first connection.
func (s *Store) dial(m *member, config clientv3.Config) {
	for s.closing.Err() == nil {
		client, err := clientv3.New(config)
		if err == nil {
			m.link.Store(newLink(client))
			return
		}
		if status.Code(err) != codes.Unauthenticated && !isAny(err, rpctypes.ErrAuthFailed) {
			err = status.Error(codes.Unavailable, status.Convert(err).Message()) // another member may answer
		}
		m.failed.Store(&err)
		s.pause(s.closing, loginPause)
	}
}

// hangUp closes the connections.
func (s *Store) hangUp() error {
	var all error
	for _, m := range s.members {
		all = errors.Join(all, m.close())
	}
	return all
}

// login checks the user and the password. The client would do it, but reports a failure only as a
// timeout.
func (s *Store) login(ctx context.Context) error {
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	authenticate := func(ctx context.Context, l *link) (*pb.AuthenticateResponse, error) {
		return pb.NewAuthClient(l.client.ActiveConnection()).Authenticate(ctx,
			&pb.AuthenticateRequest{Name: s.o.Username, Password: s.o.Password}, callOptions...)
	}
	_, _, err := ask(limited, s, job{"logging in", false}, authenticate)
	switch {
	case err == nil:
	case isAny(err, rpctypes.ErrAuthNotEnabled):
		s.log.Warn("a user is configured, but etcd does not authenticate clients: anyone who can reach it can change the " +
			"data; run etcdctl auth enable")
	default:
		return s.explain(ctx, "logging in", err)
	}
	return nil
}

// prepare marks the path as this program's, or verifies the mark.
func (s *Store) prepare(ctx context.Context) error {
	found, err := s.txn(ctx, "opening the path", &pb.TxnRequest{Success: []*pb.RequestOp{
		rangeOp(&pb.RangeRequest{Key: s.keys.format}),
		rangeOp(&pb.RangeRequest{Key: []byte(s.keys.base), RangeEnd: s.keys.end, Limit: 1, KeysOnly: true}),
	}})
	if err != nil {
		return err
	}
	mark, any := found.Responses[0].GetResponseRange().Kvs, found.Responses[1].GetResponseRange().Kvs
	switch {
	case len(mark) == 1 && string(mark[0].Value) == formatText:
		return nil
	case len(mark) == 1 && strings.HasPrefix(string(mark[0].Value), "sealgate "):
		return fmt.Errorf("%w below %s: a newer program wrote it; use that version", ErrFormat, s.keys.base)
	case len(mark) == 1 || len(any) > 0:
		return fmt.Errorf("%w below %s in etcd: use another path", storage.ErrForeign, s.keys.base)
	}
	if s.o.ReadOnly {
		return fmt.Errorf("%w: etcd has no data below %s", fs.ErrNotExist, s.keys.base)
	}
	_, err = s.txn(ctx, "marking the path", &pb.TxnRequest{
		Compare: []*pb.Compare{absent(s.keys.format)}, Success: []*pb.RequestOp{putOp(s.keys.format, []byte(formatText))},
	})
	return err
}

// limit bounds a call by the request timeout and, if it only reads, by Close.
func (s *Store) limit(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), timeout)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// read executes a range request.
func (s *Store) read(ctx context.Context, doing string, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	resp, err := s.tryRead(ctx, doing, r)
	if err != nil {
		return nil, s.explain(ctx, doing, err)
	}
	return resp, nil
}

// tryRead is read with gRPC's error.
func (s *Store) tryRead(ctx context.Context, doing string, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	resp, _, err := ask(limited, s, job{doing, false}, func(ctx context.Context, l *link) (*pb.RangeResponse, error) {
		return l.kv.Range(ctx, r, callOptions...)
	})
	return resp, err
}

// txn executes a transaction that has the same effect however often it is executed.
func (s *Store) txn(ctx context.Context, doing string, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	resp, _, err := s.send(limited, doing, r)
	if err != nil {
		return nil, s.explain(ctx, doing, err)
	}
	return resp, nil
}

// send sends such a transaction until a member answers.
func (s *Store) send(ctx context.Context, doing string, r *pb.TxnRequest) (*pb.TxnResponse, copies, error) {
	return ask(ctx, s, job{doing, true}, func(ctx context.Context, l *link) (*pb.TxnResponse, error) {
		return l.kv.Txn(ctx, r, callOptions...)
	})
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(key, value []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}
}

func deleteOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}

func absent(key []byte) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{}}
}

func holds(key, value []byte) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: value}}
}

// written compares the revision at which key was last written; 0 if it is absent.
func written(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: revision}}
}
