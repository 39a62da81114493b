package softhsm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// With SOFTHSM_TEST_DIR the test binary is a program that uses a token of Init, whose configuration
// applies to a whole process.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SOFTHSM_TEST_DIR"); dir != "" {
		if err := initAndUse(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func initAndUse(dir string) error {
	tok, err := softhsm.Init(dir, softhsm.Options{Label: "child", PIN: "12345678"})
	if err != nil {
		return err
	}
	if err := tok.MakeKey(hsm.AES256, "wrap"); err == nil {
		return errors.New("MakeKey worked before Use")
	}
	if err := tok.Use(); err != nil {
		return err
	}
	if err := tok.MakeKey(hsm.AES256, "wrap"); err != nil {
		return err
	}
	if err := trip(context.Background(), tok); err != nil {
		return err
	}
	fmt.Println(strings.Join(tok.Environ(), "\n"))
	return nil
}

// trip wraps and unwraps with the token's key "wrap".
func trip(ctx context.Context, tok *softhsm.Token) error {
	h, err := hsm.New(tok.Config())
	if err != nil {
		return err
	}
	defer h.Close()
	key, err := h.Key(hsm.KeySpec{Label: "wrap"})
	if err != nil {
		return err
	}
	sealed, err := key.Encrypt(ctx, []byte("hello"), []byte("aad"))
	if err != nil {
		return err
	}
	plain, err := key.Decrypt(ctx, sealed, []byte("aad"))
	if err == nil && string(plain) != "hello" {
		err = errors.New("other bytes")
	}
	return err
}

func TestRoundTripOnANewToken(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	if err := trip(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
}

func TestNewInParallel(t *testing.T) {
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			tok := softhsm.New(t)
			tok.Key(t, hsm.AES256, "wrap")
			for range 3 {
				if err := trip(t.Context(), tok); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTokenIsDeletedWithItsTest(t *testing.T) {
	var dir string
	t.Run("use", func(t *testing.T) {
		tok := softhsm.New(t)
		dir = tok.Dir
		if err := tok.Away(); err != nil { // left away: deleted nevertheless
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestInitInAProgram(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SOFTHSM_TEST_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf"),
		"SEALGATE_HSM_TOKEN_LABEL=child", "SEALGATE_HSM_PIN=12345678"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the environment lacks %s:\n%s", want, out)
		}
	}
}

func TestInitLeavesAFolderInUseAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := softhsm.Init(dir, softhsm.Options{}); !errors.Is(err, softhsm.ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
}

func TestErrorNamesThePackage(t *testing.T) {
	t.Setenv("SOFTHSM2_LIB", "/no/such/libsofthsm2.so")
	if _, err := softhsm.Lib(); !errors.Is(err, softhsm.ErrNotInstalled) ||
		!strings.Contains(err.Error(), "SOFTHSM2_LIB") {
		t.Errorf("%v", err)
	}
	t.Setenv("SOFTHSM2_LIB", "")
	t.Setenv("PATH", t.TempDir())
	if _, err := softhsm.Init(filepath.Join(t.TempDir(), "d"), softhsm.Options{}); !errors.Is(err,
		softhsm.ErrNotInstalled) ||
		!strings.Contains(err.Error(), "apt-get install softhsm2") {
		t.Errorf("%v", err)
	}
}
