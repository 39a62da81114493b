package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadMigration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "migrate.hcl")
	load := func(text string, env map[string]string) (*Migration, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadMigration(file, func(name string) string { return env[name] })
	}
	const bbolt, etcd = `"bbolt" { path = "data" }`, `"etcd" { address = "http://127.0.0.1:2379" }`
	m, err := load("cluster_addr = \"https://127.0.0.1:8201\"\nstorage_source "+bbolt+"\nstorage_destination "+etcd,
		map[string]string{"ETCD_PASSWORD": "hunter2"})
	if err != nil || m.Source.Type != "bbolt" || m.Source.Path != "data" || m.Destination.Type != "etcd" ||
		m.Destination.Etcd.Secrets["password"] != "hunter2" {
		t.Fatalf("%+v, %v", m, err)
	}
	m, err = load("storage_source "+etcd+"\nstorage_destination "+etcd, map[string]string{"ETCD_PASSWORD": "hunter2"})
	if err != nil || m.Source.Etcd.Secrets["password"]+m.Destination.Etcd.Secrets["password"] != "" {
		t.Errorf("a variable that could mean either: %+v, %v", m, err)
	}
	for text, want := range map[string]string{
		"":                            "no storage_source stanza",
		"storage_source " + bbolt:     "no storage_destination stanza",
		"storage_source \"bbolt\" {}": "needs a path",
		"storage_source " + bbolt + "\nstorage_source " + bbolt:                                "storage_source",
		"storage_source " + bbolt + "\nstorage_destination \"raft\" { path = \"x\" }":          "is not supported",
		"storage_source " + bbolt + "\nstorage_destination " + bbolt + "\nlistener \"tcp\" {}": "listener",
	} {
		if _, err := load(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func TestServiceRegistration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "k8s.hcl")
	load := func(text string, env map[string]string) (*Config, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load([]string{file}, func(name string) string { return env[name] })
	}
	const empty = `service_registration "kubernetes" {}`
	c, err := load(empty, map[string]string{"VAULT_K8S_NAMESPACE": "ns", "BAO_K8S_POD_NAME": "pod-0"})
	if err != nil || c.Kubernetes == nil || c.Kubernetes.Namespace != "ns" || c.Kubernetes.PodName != "pod-0" ||
		c.Kubernetes.LabelPrefix != "vault" {
		t.Errorf("by the environment: %+v, %v", c, err)
	}
	if _, err := load(empty, nil); err == nil || !strings.Contains(err.Error(), "Downward API") {
		t.Errorf("without a pod: %v", err)
	}
	if _, err := load(`service_registration "consul" {}`, nil); err == nil ||
		!strings.Contains(err.Error(), "is not supported") {
		t.Errorf("another kind: %v", err)
	}
}
