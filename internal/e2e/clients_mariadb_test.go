package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mariaDB is MariaDB's own server, unmodified, with its plugin for Vault: tables are encrypted with
// keys of a kv engine.
type mariaDB struct {
	t    *testing.T
	root string // of the extracted packages
	data string
	args []string
}

func newMariaDB(t *testing.T, r *harness, token string) *mariaDB {
	t.Helper()
	root, err := filepath.Abs("../../build/mariadb")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("%v: make mariadb puts it there", err)
	}
	m := &mariaDB{t: t, root: root, data: t.TempDir()}
	m.args = []string{"--no-defaults", "--bootstrap", "--user=" + os.Getenv("USER"), "--datadir=" + m.data,
		"--skip-networking", "--skip-grant-tables", "--lc-messages-dir=" + root + "/usr/share/mysql",
		"--plugin-dir=" + root + "/usr/lib/mysql/plugin", "--plugin-load-add=hashicorp_key_management",
		"--hashicorp-key-management-vault-url=http://" + r.Addr + "/v1/mariadb/",
		"--hashicorp-key-management-token=" + token, "--hashicorp-key-management-cache-timeout=0",
		"--innodb-encrypt-tables=FORCE", "--innodb-encrypt-log=ON", "--innodb-buffer-pool-size=16M"}
	if os.Getuid() == 0 {
		m.args[2] = "--user=root"
	}
	return m
}

// run starts the server, lets it execute one statement a line, and stops it.
func (m *mariaDB) run(statements ...string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.root+"/usr/sbin/mariadbd", m.args...)
	libs, err := filepath.Glob(m.root + "/usr/lib/*-linux-gnu")
	if err != nil {
		return "", err
	}
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
	cmd.Stdin = strings.NewReader(strings.Join(statements, "\n") + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func (m *mariaDB) must(statements ...string) {
	m.t.Helper()
	if out, err := m.run(statements...); err != nil || strings.Contains(out, "ERROR") {
		m.t.Fatalf("%v\n%s", err, out)
	}
}

// read returns the rows of a query on the encrypted table.
func (m *mariaDB) read(query string) string {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), "rows")
	m.must(query + " INTO OUTFILE '" + path + "';")
	rows, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(rows)
}

// TestMariaDB encrypts tables with a key of a kv engine, rotates the key, reads the old data with
// both versions there, and fails without the key.
func TestMariaDB(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/mariadb", map[string]any{"type": "kv-v2"})
	key := func(digit string) {
		r.must(200, "POST", "mariadb/data/1", map[string]any{"data": map[string]any{"data": strings.Repeat(digit, 32)}})
	}
	key("5c")
	r.must(204, "PUT", "sys/policies/acl/mariadb", map[string]any{"policy": `
path "mariadb/data/*" { capabilities = ["read"] }
path "sys/mounts/mariadb/tune" { capabilities = ["read"] }`})
	var made struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	token := r.must(200, "POST", "auth/token/create", map[string]any{"policies": []string{"mariadb"}})
	if err := token.Decode(&made); err != nil {
		t.Fatal(err)
	}
	r.known.add("a token", made.Auth.ClientToken)
	m := newMariaDB(t, r, made.Auth.ClientToken)
	m.must("CREATE DATABASE t;", "CREATE TABLE t.a (v TEXT) ENGINE=InnoDB;", "INSERT INTO t.a VALUES ('in the clear');")
	raw, err := os.ReadFile(filepath.Join(m.data, "t", "a.ibd"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("in the clear")) {
		t.Error("the table is not encrypted")
	}
	if rows := m.read("SELECT v FROM t.a"); rows != "in the clear\n" {
		t.Errorf("the table has %q", rows)
	}
	key("a7")
	m.must("CREATE TABLE t.b (v TEXT) ENGINE=InnoDB;", "INSERT INTO t.b VALUES ('by the second version');")
	if rows := m.read("SELECT v FROM t.a UNION SELECT v FROM t.b"); rows != "in the clear\nby the second version\n" {
		t.Errorf("after the rotation the tables have %q", rows)
	}
	r.must(204, "DELETE", "mariadb/metadata/1", nil)
	if out, err := m.run("SELECT v FROM t.a INTO OUTFILE '" + filepath.Join(t.TempDir(), "rows") + "';"); err == nil &&
		!strings.Contains(out, "ERROR") {
		t.Errorf("without its key the table was read:\n%s", out)
	}
}
