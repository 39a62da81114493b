package e2e

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write generated test files anew")

// baoHalf makes OpenBao's half out of Vault's: both libraries have the same calls with types of
// their own.
var baoHalf = strings.NewReplacer(
	`vault "github.com/hashicorp/vault/api"`, `bao "github.com/openbao/openbao/api/v2"`,
	"// This is Vault's half. TestBaoHalfIsCurrent generates sdk_bao_test.go, OpenBao's half, from it.",
	"// Code generated from sdk_vault_test.go by go test -run TestBaoHalfIsCurrent -update; DO NOT EDIT.",
	"by Vault's Go client", "by OpenBao's Go client",
	"vault.", "bao.", "vaultSDK", "baoSDK", "vaultKV", "baoKV", "vaultAuth", "baoAuth",
	"vaultRekeyCancel", "baoRekeyCancel", "vaultRotations", "baoRotations",
)

func TestBaoHalfIsCurrent(t *testing.T) {
	t.Parallel()
	half, err := os.ReadFile("sdk_vault_test.go")
	if err != nil {
		t.Fatal(err)
	}
	want := []byte(baoHalf.Replace(string(half)))
	if *update {
		if err := os.WriteFile("sdk_bao_test.go", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("sdk_bao_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("sdk_bao_test.go is not what sdk_vault_test.go gives: run this test with -update")
	}
}
