//go:build linux

package e2e

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	kms "k8s.io/kms/apis/v2"
)

// TestGatewaysOverADevice: AWS KMS and an API server use one key of a token by two protocols; the
// token goes away and comes back, and the key gets another version.
func TestGatewaysOverADevice(t *testing.T) {
	t.Parallel()
	r := newDeviceHarness(t, nil)
	folder := t.TempDir()
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	r.addConfig("gateway \"xks\" {\n  deadline = \"3s\"\n}\n" + "gateway \"kmsv2\" {\n  socket = \"" +
		filepath.Join(folder, "kms.sock") + "\"\n  key = \"orders\"\n  policies = [\"orders\"]\n}\n")
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	r.must(204, "PUT", "sys/policies/acl/orders", map[string]string{"policy": ordersPolicy})
	r.must(204, "POST", "sys/mounts/xks", map[string]string{"type": "xks"})
	r.must(204, "POST", "xks/stores/prod", map[string]any{"prefix": "/store-prod", "policies": "orders",
		"health_key": "transit/orders"})
	r.must(204, "POST", "xks/stores/prod/keys/orders", map[string]any{"key": "transit/orders", "kms_key_arn": ordersARN})
	aws := &awsKMS{t: t, url: r.URL(), prefix: "/store-prod", region: "eu-central-1", principal: alicesARN, arn: ordersARN,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(aws.client.CloseIdleConnections)
	aws.id, aws.secret = r.newXKSCredential("prod")
	api := newAPIServer(t, filepath.Join(folder, "kms.sock"))

	sealed := aws.encrypt("orders", "of AWS")
	aws.want("encrypt in the token", sealed, 200, "")
	aws.opens("decrypt in the token", "orders", sealed, "of AWS")
	var seed *kms.EncryptResponse
	r.eventually(patience, "the socket serves", func() (ok bool) {
		var err error
		seed, err = api.encrypt("of Kubernetes")
		return err == nil
	})
	api.opens(seed, "of Kubernetes")

	r.move(r.token.Away)
	begun := time.Now()
	away := aws.decrypt("orders", sealed)
	promised(t, "the answer to AWS KMS without the token", time.Since(begun), 5*time.Second)
	aws.want("the token is unavailable", away, 503, "DependencyTimeoutException")
	_, err := api.decrypt(seed)
	wantCode(t, "the token is unavailable", err, codes.Unavailable)
	r.move(r.token.Back)
	r.eventually(healedWithin, "the token is back", func() bool {
		got, err := api.decrypt(seed)
		return aws.decrypt("orders", sealed).Code == 200 && err == nil && got == "of Kubernetes"
	})
	aws.opens("the token is back", "orders", sealed, "of AWS")
	aws.want("encrypt again", aws.encrypt("orders", "again"), 200, "")
}

// newXKSCluster is two nodes on etcd that share a store, and AWS KMS as a caller of each.
func newXKSCluster(t *testing.T) (*Cluster, []*awsKMS) {
	t.Helper()
	f, _ := etcdCluster(t, 2)
	for _, s := range f.Nodes {
		text, err := readConfig(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WriteConfig(text + sharedXKS); err != nil {
			t.Fatal(err)
		}
	}
	f.Begin()
	f.Must(0, "POST", "sys/mounts/transit", `{"type":"transit"}`, nil)
	f.Must(0, "POST", "sys/mounts/xks", `{"type":"xks"}`, nil)
	for _, key := range []string{"orders", "health"} {
		f.Must(0, "POST", "transit/keys/"+key, "", nil)
	}
	f.Must(0, "PUT", "sys/policies/acl/orders", asText(t, map[string]string{"policy": ordersPolicy}), nil)
	f.Must(0, "POST", "xks/stores/prod", `{"prefix":"/store-prod","policies":"orders","health_key":"transit/health"}`, nil)
	f.Must(0, "POST", "xks/stores/prod/keys/orders", asText(t, map[string]string{"key": "transit/orders",
		"kms_key_arn": ordersARN}), nil)
	var made xksMade
	f.Must(0, "POST", "xks/stores/prod/credentials", "", &made)
	nodes := make([]*awsKMS, 2)
	for i, s := range f.Nodes {
		nodes[i] = &awsKMS{t: t, url: s.URL(), prefix: "/store-prod", region: "eu-central-1", principal: alicesARN,
			arn: ordersARN, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
			id: made.Data.Configuration.Credential.ID, secret: made.Data.Configuration.Credential.Secret}
		t.Cleanup(nodes[i].client.CloseIdleConnections)
	}
	return f, nodes
}

// TestXKSOfEachNode: a standby answers AWS KMS by what it has proven to be current, a change of
// leader in mid-call fails no request, and a kill switch holds on every node at once.
func TestXKSOfEachNode(t *testing.T) {
	t.Parallel()
	f, nodes := newXKSCluster(t)
	sealed := nodes[1].encrypt("orders", "text")
	nodes[0].opens("of the other node", "orders", sealed, "text")
	leader := f.Settled()
	done := make(chan struct{})
	failed := 0
	go func() {
		defer close(done)
		for i := range 60 {
			if reply := nodes[i%2].decrypt("orders", sealed); reply.Code != 200 {
				failed++
				t.Logf("node %d: %d %v", i%2, reply.Code, reply.Body)
			}
		}
	}()
	f.Must(f.Others(leader)[0], "PUT", "sys/step-down", "", nil)
	f.Leader(leader)
	<-done
	if failed > 0 {
		t.Errorf("%d of 60 requests failed while the leader changed", failed)
	}
	for i := range 5 {
		on := i%2 == 0
		f.Must(i%2, "POST", "xks/stores/prod/keys/orders", asText(t, map[string]bool{"disabled": on}), nil)
		for n, node := range nodes {
			if reply := node.decrypt("orders", sealed); (reply.Code == 200) == on {
				t.Errorf("node %d after disabled=%t was acknowledged: %d %v", n, on, reply.Code, reply.Body)
			}
		}
	}
}
