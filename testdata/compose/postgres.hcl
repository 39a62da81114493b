# One of three Sealgates on PostgreSQL, for trials: without TLS for clients, because only this machine reaches it. Between nodes there is TLS.
# SEALGATE_API_ADDR and SEALGATE_CLUSTER_ADDR say which of the three it is; SEALGATE_PG_CONNECTION_URL names the database.
storage "postgresql" {}

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_disable     = true
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
