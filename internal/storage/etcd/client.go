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

// callOptions apply to every call: it waits for a connection within its deadline instead of failing
// at once.
var callOptions = []grpc.CallOption{grpc.WaitForReady(true), grpc.MaxCallSendMsgSize(maxSend),
	grpc.MaxCallRecvMsgSize(maxReceive)}

// connect creates the client. With a user it logs in, which needs etcd; without one it sends
// nothing yet.
func (s *Store) connect(ctx context.Context) error {
	secure, err := s.o.tlsConfig()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.end)
	defer stop()
	config := clientv3.Config{
		Endpoints: s.o.Endpoints, TLS: secure, Username: s.o.Username, Password: s.o.Password,
		DialTimeout: s.o.RequestTimeout, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		MaxCallSendMsgSize: maxSend, MaxCallRecvMsgSize: maxReceive,
		Context: s.closing, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// gRPC's default delay grows to two minutes; the whole cluster waits for etcd.
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: time.Second},
			MinConnectTimeout: min(s.o.RequestTimeout, 2*time.Second),
		})},
	}
	if s.o.ServerName != "" {
		config.DialOptions = append(config.DialOptions, grpc.WithAuthority(s.o.ServerName))
	}
	if err := s.login(ctx, config); err != nil {
		return err
	}
	if s.client, err = clientv3.New(config); err != nil {
		return s.explain(ctx, "connecting", err)
	}
	s.kv = clientv3.RetryKVClient(s.client)
	if err := s.probe(ctx, s.client); err != nil {
		return errors.Join(err, s.client.Close())
	}
	return nil
}

// probe fails if connecting can only fail again, such as with a wrong certificate. Temporary
// failures (no server listens yet) are left to the calls that follow, which wait for a connection.
func (s *Store) probe(ctx context.Context, client *clientv3.Client) error {
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	// fails with the first connection
	_, err := pb.NewMaintenanceClient(client.ActiveConnection()).Status(limited, &pb.StatusRequest{})
	if text := status.Convert(err).Message(); strings.Contains(text, "x509:") || strings.Contains(text, "tls:") {
		return s.explain(ctx, "connecting", err)
	}
	return nil
}

// login checks the user and the password. The client would do it, but reports a failure only as a
// timeout.
func (s *Store) login(ctx context.Context, config clientv3.Config) error {
	if config.Username == "" {
		return nil
	}
	config.Username, config.Password = "", ""
	client, err := clientv3.New(config)
	if err != nil {
		return s.explain(ctx, "connecting", err)
	}
	defer func() { _ = client.Close() }() // nothing was written
	if err := s.probe(ctx, client); err != nil {
		return err
	}
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	_, err = pb.NewAuthClient(client.ActiveConnection()).Authenticate(limited,
		&pb.AuthenticateRequest{Name: s.o.Username, Password: s.o.Password}, callOptions...)
	switch {
	case err == nil:
	case is(err, rpctypes.ErrAuthNotEnabled):
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

// read executes a range request. It gives up an unresponsive endpoint after its share of the time,
// and tries the next.
func (s *Store) read(ctx context.Context, doing string, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	attempts := min(len(s.o.Endpoints), 3)
	for i := 1; ; i++ {
		limited, cancel := s.limit(ctx, s.o.RequestTimeout/time.Duration(attempts))
		resp, err := persist(limited, codes.Unavailable, func() (*pb.RangeResponse, error) {
			return s.kv.Range(limited, r, callOptions...)
		})
		cancel()
		if err == nil {
			return resp, nil
		}
		if i >= attempts || status.Code(err) != codes.DeadlineExceeded || s.ready(ctx) != nil {
			return nil, s.explain(ctx, doing, err)
		}
	}
}

// txn executes a transaction once.
func (s *Store) txn(ctx context.Context, doing string, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	resp, err := s.send(limited, r)
	if err != nil {
		return nil, s.explain(ctx, doing, err)
	}
	return resp, nil
}

// send sends a transaction until a member accepts it. A member that knows no etcd leader (it is
// partitioned, or an election is running) refuses before it looks at the request, so another member
// may be asked.
func (s *Store) send(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return persist(ctx, codes.OK, func() (*pb.TxnResponse, error) { return s.kv.Txn(ctx, r, callOptions...) })
}

// pauseBetweenMembers is the delay after a refusal.
const pauseBetweenMembers = 20 * time.Millisecond

// persist repeats a call while there is time, if a member knows no leader, and for errors with the
// given code.
func persist[T any](ctx context.Context, passing codes.Code, call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err == nil || !is(err, rpctypes.ErrNoLeader) && (passing == codes.OK || status.Code(err) != passing) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(pauseBetweenMembers):
		}
	}
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
