package etcdtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Processes is a cluster of three servers with etcd's default election timeout. Each is a process
// of its own, which can be frozen and killed. They are this test binary, which must call [Serve]
// before its tests.
type Processes struct {
	Endpoints []string

	t       testing.TB
	configs []processConfig
	running []*exec.Cmd
}

// processConfig is what a process needs, as JSON in its environment.
type processConfig struct {
	Name, Dir, Client, Peer, Cluster string
}

const processEnv = "SEALGATE_TEST_ETCD"

// Serve runs a server and does not return, if this process was started as one by [StartProcesses].
func Serve() {
	text := os.Getenv(processEnv)
	if text == "" {
		return
	}
	var c processConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err) // written by StartProcesses
	}
	e := embed.NewConfig()
	e.Name, e.Dir, e.InitialCluster = c.Name, c.Dir, c.Cluster
	e.ListenClientUrls, e.AdvertiseClientUrls = urls(c.Client), urls(c.Client)
	e.ListenPeerUrls, e.AdvertisePeerUrls = urls(c.Peer), urls(c.Peer)
	e.UnsafeNoFsync = true
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(e)
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
	server.Close()
	os.Exit(0)
}

// StartProcesses starts three servers that end with the test.
func StartProcesses(t testing.TB) *Processes {
	t.Helper()
	p := &Processes{t: t}
	var cluster []string
	dir := t.TempDir()
	for i, port := range freePorts(t, 6) {
		url := fmt.Sprintf("http://127.0.0.1:%d", port)
		if i%2 == 0 {
			name := fmt.Sprint("member", i/2)
			p.configs = append(p.configs, processConfig{Name: name, Dir: filepath.Join(dir, name), Client: url})
			p.Endpoints = append(p.Endpoints, url)
			continue
		}
		c := &p.configs[i/2]
		c.Peer = url
		cluster = append(cluster, c.Name+"="+url)
	}
	p.running = make([]*exec.Cmd, len(p.configs))
	t.Cleanup(func() {
		for i := range p.running {
			p.Kill(i)
		}
	})
	for i := range p.configs {
		p.configs[i].Cluster = strings.Join(cluster, ",")
		p.Start(i)
	}
	p.Leader()
	return p
}

// Start starts a member that does not run, with its data.
func (p *Processes) Start(i int) {
	p.t.Helper()
	text, err := json.Marshal(p.configs[i])
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also of a frozen one
	if _, err := cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.running[i] = cmd
}

// Kill ends a member as kill -9 does. One that does not run stays as it is.
func (p *Processes) Kill(i int) {
	if cmd := p.running[i]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // reports the kill
		p.running[i] = nil
	}
}

// Freeze stops a member by SIGSTOP: it keeps its connections and answers nothing.
func (p *Processes) Freeze(i int) { p.signal(i, syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *Processes) Thaw(i int) { p.signal(i, syscall.SIGCONT) }

func (p *Processes) signal(i int, s syscall.Signal) {
	p.t.Helper()
	if err := p.running[i].Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Client returns a client that ends with the test.
func (p *Processes) Client() *clientv3.Client {
	p.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: p.Endpoints, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = client.Close() }) // returns that its context was cancelled
	return client
}

// Leader waits until the running members have a leader, and returns its number.
func (p *Processes) Leader() int {
	p.t.Helper()
	client := p.Client()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for i, endpoint := range p.Endpoints {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			st, err := client.Status(ctx, endpoint)
			cancel()
			if err == nil && st.Leader == st.Header.MemberId {
				return i
			}
		}
	}
	p.t.Fatal("etcd has no leader")
	return -1
}

// Full makes etcd refuse writes as at its quota, or accept them again.
func (p *Processes) Full(full bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := p.Client()
	st, err := client.Status(ctx, p.Endpoints[0])
	if err != nil {
		p.t.Fatal(err)
	}
	action := pb.AlarmRequest_DEACTIVATE
	if full {
		action = pb.AlarmRequest_ACTIVATE
	}
	_, err = pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
		Action: action, Alarm: pb.AlarmType_NOSPACE, MemberID: st.Header.MemberId})
	if err != nil {
		p.t.Fatalf("alarm: %v", err)
	}
}

// AuthDisable ends the authentication of clients, as the user root.
func (p *Processes) AuthDisable() {
	p.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: p.Endpoints, DialTimeout: patience, Logger: zap.NewNop(),
		Username: "root", Password: RootPassword})
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing is written
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := client.AuthDisable(ctx); err != nil {
		p.t.Fatal(err)
	}
}
