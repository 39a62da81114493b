// Package etcdtest runs real etcd servers in the process of a test: one, or a cluster of three,
// optionally with TLS and users. Members can be stopped and started again with their data and
// addresses. A [Proxy] in front of each can stall or cut connections. On Linux, [Processes] are
// three members that can be frozen.
//
// Everything listens on 127.0.0.1 and ends with the test. It is never linked into the program.
package etcdtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// Users of a cluster with Auth. User may read and write below UserPath.
const (
	RootPassword = "root-password-of-a-test"
	User         = "sealgate"
	UserPassword = "password-of-a-test"
	UserPath     = "/sealgate/"
)

// Options of a cluster. The zero value is one server with etcd's defaults, but with a fast
// election.
type Options struct {
	Members int   // 1, or 3
	TLS     bool  // https with client certificates
	Auth    bool  // users "root" and User
	NoSync  bool  // no fsync, for tests of other properties
	Quota   int64 // bytes; 0 means etcd's default
	// ElectionTimeout is 200 ms if zero; etcd's default is one second.
	ElectionTimeout time.Duration
}

// Cluster is one or three servers.
type Cluster struct {
	Endpoints                 []string // of each member, through its proxy
	Direct                    []string // of each member, without its proxy: for benchmarks
	CAFile, CertFile, KeyFile string   // with TLS: what a client needs

	t       testing.TB
	o       Options
	members []*member
}

type member struct {
	name, dir    string
	client, peer string // URLs
	server       *embed.Etcd
	proxy        *Proxy
}

// patience bounds the start of a server, which usually takes a fraction of it.
const patience = 60 * time.Second

// Start starts a cluster that ends with the test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Members == 0 {
		o.Members = 1
	}
	if o.ElectionTimeout == 0 {
		o.ElectionTimeout = 200 * time.Millisecond
	}
	c := &Cluster{t: t, o: o}
	dir, scheme := t.TempDir(), "http"
	if o.TLS {
		scheme = "https"
		c.CAFile, c.CertFile, c.KeyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"),
			filepath.Join(dir, "key.pem")
		writeCertificates(t, c)
	}
	for i, port := range freePorts(t, 2*o.Members) {
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if i%2 == 0 {
			name := fmt.Sprint("member", i/2)
			c.members = append(c.members, &member{name: name, dir: filepath.Join(dir, name), client: scheme + "://" + address})
			c.Direct = append(c.Direct, scheme+"://"+address)
		} else {
			c.members[i/2].peer = "http://" + address
		}
	}
	for _, m := range c.members {
		m.proxy = NewProxy(t, m.client)
		c.Endpoints = append(c.Endpoints, m.proxy.Endpoint)
	}
	t.Cleanup(func() {
		for i := range c.members {
			c.Stop(i)
		}
	})
	c.startAll()
	if o.Auth {
		c.enableAuth()
	}
	return c
}

func (c *Cluster) startAll() {
	c.t.Helper()
	for i := range c.members {
		c.launch(i)
	}
	for i := range c.members {
		c.await(i)
	}
}

// Proxy returns the proxy in front of a member.
func (c *Cluster) Proxy(i int) *Proxy { return c.members[i].proxy }

// Stop stops a member and keeps its data. A stopped member stays as it is.
func (c *Cluster) Stop(i int) {
	if m := c.members[i]; m.server != nil {
		m.proxy.Down() // otherwise etcd waits five seconds for watches to end
		select {
		case <-m.server.Server.ReadyNotify():
		default:
			m.server.Server.HardStop() // Close waits until a server is ready, or has stopped
		}
		m.server.Close()
		m.server = nil
	}
}

// Restart starts a stopped member with its data and addresses.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	m := c.members[i]
	if m.server != nil {
		return
	}
	c.launch(i)
	if c.quorum() {
		c.await(i)
	}
	m.proxy.Up(c.t)
}

func (c *Cluster) quorum() bool {
	n := 0
	for _, m := range c.members {
		if m.server != nil {
			n++
		}
	}
	return n > len(c.members)/2
}

func (c *Cluster) launch(i int) {
	c.t.Helper()
	m := c.members[i]
	deadline := time.Now().Add(patience)
	for {
		server, err := embed.StartEtcd(c.config(m))
		if err == nil {
			m.server = server
			return
		}
		if !strings.Contains(err.Error(), "address already in use") || time.Now().After(deadline) {
			c.t.Fatalf("starting etcd: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // the kernel releases the port soon
	}
}

func (c *Cluster) await(i int) {
	c.t.Helper()
	select {
	case <-c.members[i].server.Server.ReadyNotify():
	case err := <-c.members[i].server.Err():
		c.t.Fatalf("etcd ended: %v", err)
	case <-time.After(patience):
		c.t.Fatal("etcd did not become ready")
	}
}

func (c *Cluster) config(m *member) *embed.Config {
	e := embed.NewConfig()
	e.Name, e.Dir = m.name, m.dir
	e.ListenClientUrls, e.AdvertiseClientUrls = urls(m.client), urls(m.client)
	e.ListenPeerUrls, e.AdvertisePeerUrls = urls(m.peer), urls(m.peer)
	var all []string
	for _, other := range c.members {
		all = append(all, other.name+"="+other.peer)
	}
	e.InitialCluster = strings.Join(all, ",")
	e.ElectionMs = uint(c.o.ElectionTimeout.Milliseconds())
	e.TickMs = max(e.ElectionMs/10, 1)
	e.UnsafeNoFsync, e.QuotaBackendBytes = c.o.NoSync, c.o.Quota
	e.BcryptCost = 4
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	if c.o.TLS {
		e.ClientTLSInfo = transport.TLSInfo{CertFile: c.CertFile, KeyFile: c.KeyFile, TrustedCAFile: c.CAFile,
			ClientCertAuth: true}
	}
	return e
}

func urls(text string) []url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err) // written above
	}
	return []url.URL{*u}
}

// Client returns a client with all permissions, closed at the end of the test.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	config := clientv3.Config{Endpoints: c.Endpoints, DialTimeout: patience, Logger: zap.NewNop()}
	if c.o.Auth {
		config.Username, config.Password = "root", RootPassword
	}
	config.TLS = c.tls()
	client, err := clientv3.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() }) // returns that its context was cancelled
	return client
}

func (c *Cluster) tls() *tls.Config {
	if !c.o.TLS {
		return nil
	}
	info := transport.TLSInfo{CertFile: c.CertFile, KeyFile: c.KeyFile, TrustedCAFile: c.CAFile}
	config, err := info.ClientConfig()
	if err != nil {
		c.t.Fatal(err)
	}
	return config
}

func (c *Cluster) enableAuth() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	plain := *c
	plain.o.Auth = false
	client := plain.Client()
	role := "sealgate"
	readWrite := clientv3.PermissionType(clientv3.PermReadWrite)
	for _, step := range []func() error{
		func() error { _, err := client.UserAdd(ctx, "root", RootPassword); return err },
		func() error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := client.UserAdd(ctx, User, UserPassword); return err },
		func() error { _, err := client.RoleAdd(ctx, role); return err },
		func() error {
			_, err := client.RoleGrantPermission(ctx, role, UserPath, clientv3.GetPrefixRangeEnd(UserPath), readWrite)
			return err
		},
		func() error { _, err := client.UserGrantRole(ctx, User, role); return err },
		func() error { _, err := client.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			c.t.Fatalf("enabling etcd's users: %v", err)
		}
	}
}

// Compact removes the history before the current revision.
func (c *Cluster) Compact() {
	c.t.Helper()
	client := c.Client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	now, err := client.Get(ctx, "/")
	if err == nil {
		_, err = client.Compact(ctx, now.Header.Revision)
	}
	if err != nil {
		c.t.Fatalf("compacting: %v", err)
	}
}

// RaiseFullAlarm makes etcd refuse writes as at its quota; DisarmFullAlarm ends that.
func (c *Cluster) RaiseFullAlarm() { c.alarm(pb.AlarmRequest_ACTIVATE) }

// DisarmFullAlarm makes etcd accept writes again.
func (c *Cluster) DisarmFullAlarm() { c.alarm(pb.AlarmRequest_DEACTIVATE) }

func (c *Cluster) alarm(action pb.AlarmRequest_AlarmAction) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := pb.NewMaintenanceClient(c.Client().ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
		Action: action, Alarm: pb.AlarmType_NOSPACE, MemberID: uint64(c.members[0].server.Server.MemberID())})
	if err != nil {
		c.t.Fatalf("alarm: %v", err)
	}
}

// freePorts returns currently unused ports.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var out []int
	for range n {
		port, err := ports.Free()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, port)
	}
	return out
}
