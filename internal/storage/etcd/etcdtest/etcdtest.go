// Package etcdtest runs real etcd servers in the process of a test: one, or a cluster of three, with TLS and users where wanted, which
// can be stopped and started again with their data and their addresses. A [Proxy] in front of one can stall or cut
// connections.
//
// Everything listens on 127.0.0.1 and ends with the test. It is never linked into the program: the server is a test's alone.
package etcdtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
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
)

// Users of a cluster with Auth. User may read and write below UserPath.
const (
	RootPassword = "root-password-of-a-test"
	User         = "sealgate"
	UserPassword = "password-of-a-test"
	UserPath     = "/sealgate/"
)

// Options of a cluster. The zero value is one server as etcd is by default, but quick to start.
type Options struct {
	Members int   // 1, or 3
	TLS     bool  // https, and a client certificate is demanded
	Auth    bool  // users "root" and User
	NoSync  bool  // do not wait for the disk: for tests that are about something else
	Quota   int64 // bytes; etcd's default where zero
	// ElectionTimeout is 200 ms where zero; etcd's own default is one second.
	ElectionTimeout time.Duration
}

// Cluster is one or three servers.
type Cluster struct {
	Endpoints                 []string // of each member, through a proxy that ends with it
	Direct                    []string // of each member, itself: for measurements
	CAFile, CertFile, KeyFile string   // with TLS: what a client needs

	t       testing.TB
	o       Options
	members []*member
}

type member struct {
	name, dir    string
	client, peer string // URLs
	server       *embed.Etcd
	way          *Proxy
}

// patience is how long a server may take to start; it is met with within a fraction where all is well.
const patience = 60 * time.Second

// Start starts a cluster for the length of the test.
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
		c.CAFile, c.CertFile, c.KeyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
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
		m.way = NewProxy(t, m.client)
		c.Endpoints = append(c.Endpoints, m.way.Endpoint)
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

// Way is the proxy through which Endpoints reach a member.
func (c *Cluster) Way(i int) *Proxy { return c.members[i].way }

// Stop stops a member; its data stay. A member that does not run stays as it is.
func (c *Cluster) Stop(i int) {
	if m := c.members[i]; m.server != nil {
		m.way.Down() // or etcd waits five seconds for watches to end
		m.server.Close()
		m.server = nil
	}
}

// Restart starts a member that was stopped, on its data and its addresses.
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
	m.way.Up(c.t)
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
		time.Sleep(20 * time.Millisecond) // the port is on its way back to us
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
		e.ClientTLSInfo = transport.TLSInfo{CertFile: c.CertFile, KeyFile: c.KeyFile, TrustedCAFile: c.CAFile, ClientCertAuth: true}
	}
	return e
}

func urls(text string) []url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err) // made above
	}
	return []url.URL{*u}
}

// Client returns a client that may do anything, closed with the test.
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
	c.t.Cleanup(func() { _ = client.Close() }) // it says that its context was cancelled
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

// Compact removes the history before the present revision.
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

// RaiseFullAlarm makes etcd refuse writes as it does when its quota is reached; DisarmFullAlarm ends that.
func (c *Cluster) RaiseFullAlarm() { c.alarm(pb.AlarmRequest_ACTIVATE) }

// DisarmFullAlarm lets etcd write again.
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

// freePorts are ports that nobody listens on now.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // all at the end, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
