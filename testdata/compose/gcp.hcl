# Sealgate on Google Cloud KMS, as gcp-kms-standin stands in for it, for trials: without TLS, since only this machine reaches it.
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
