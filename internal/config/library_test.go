package config

import (
	"strings"
	"testing"
)

func TestLibraries(t *testing.T) {
	t.Parallel()
	const base = "storage \"inmem\" {}\n"
	c, err := loadGateways(t, base+`kms_library "pkcs11" {
  name = "hsm1"
  library = "/usr/lib/libhsm.so"
  pin = "env://HSM_PIN"
  token_label = "prod"
}
kms_library "pkcs11" {
  name = "hsm2"
  library = "/usr/lib/libhsm.so"
  isolation = "none"
}
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Libraries) != 2 || c.Libraries[0].Name != "hsm1" || c.Libraries[0].Path != "/usr/lib/libhsm.so" ||
		c.Libraries[0].Params["pin"] != "env://HSM_PIN" || c.Libraries[1].Params["isolation"] != "none" {
		t.Errorf("the libraries are %+v", c.Libraries)
	}
	const one = `kms_library "pkcs11" { name = "hsm1" library = "/l.so" }` + "\n"
	for text, says := range map[string]string{
		`kms_library "kmip" { name = "a" library = "/l.so" }`:                  "only \"pkcs11\" is",
		`kms_library "pkcs11" { library = "/l.so" }`:                           "name is required",
		`kms_library "pkcs11" { name = "a" }`:                                  "library is required",
		`kms_library "pkcs11" { name = "a" library = "file:///l.so" }`:         "library is required",
		`kms_library "pkcs11" { name = "a" library = "/l.so" key_label = "x"}`: "key_label",
		`kms_library "pkcs11" { name = "a" library = "/l.so" pin = "1234" }`:   "could send it to any token",
		one + one: "the same name",
	} {
		text = strings.NewReplacer(" library", "\n library", " key_label", "\n key_label", " pin", "\n pin",
			"{ name", "{\n name", "{ library", "{\n library", "\" }", "\"\n}", "\"}", "\"\n}").Replace(text)
		if _, err := loadGateways(t, base+text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
