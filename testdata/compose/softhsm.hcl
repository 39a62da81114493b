# Sealgate on a SoftHSM token, for trials: without TLS, because only this machine reaches it.
storage "bbolt" { path = "/var/lib/sealgate" }

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
  telemetry { unauthenticated_metrics_access = true }
}

seal "pkcs11" "softhsm" {
  lib          = "/usr/lib/softhsm/libsofthsm2.so"
  token_label  = "sealgate-trial"
  pin          = "file:///token/pin"
  key_label    = "root"
  generate_key = true
}

ui = true

gateway "xks" {} # answers once the profile "gateway" has made a store

audit "file" "stdout" { options { file_path = "stdout" } }
