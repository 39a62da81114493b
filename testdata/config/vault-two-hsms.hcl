storage "bbolt" { path = "store" }
listener "tcp" { tls_disable = 1 }

seal "pkcs11" "standby" {
  priority = 2
  lib = "/opt/nfast/toolkits/pkcs11/libcknfast.so"
  token_label = "unseal"
  pin = "5678"
  key_label = "root"
}
seal "pkcs11" {
  name     = "primary"
  priority = 1
  lib      = "/usr/safenet/lunaclient/lib/libCryptoki2_64.so"
  slot     = 1
  pin      = "1234"
  key_id   = "0x0A"
}
seal "awskms" {
  disabled   = true
  region     = "eu-central-1"
  access_key = "AKIAEXAMPLE"
  secret_key = "hunter2"
  kms_key_id = "19ec80b0-dfdd-4d97-8164-c6examplekey"
}
seal_policy {
  mode      = "threshold"
  threshold = 2
}
enable_multiseal = true
