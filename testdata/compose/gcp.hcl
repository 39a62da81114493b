# Sealgate on the emulator of Google Cloud KMS, for trials: without TLS, because only this machine reaches it.
storage "bbolt" { path = "/var/lib/sealgate" }

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

seal "gcpckms" "gcp" {
  project     = "trial-project"
  region      = "global"
  key_ring    = "sealgate"
  crypto_key  = "root"
  credentials = "/clients/sealgate.json"
  endpoint    = "gcp-kms:9010"
  tls_ca_cert = "/clients/ca.pem"
}

audit "file" "stdout" { options { file_path = "stdout" } }
