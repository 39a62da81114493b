cluster_name = "openbao-eu"
cluster_addr = "https://10.0.0.1:8201"
log_level    = "DEBUG"
log_format   = "json"
disable_mlock = false

backend "bbolt" { path = "/var/lib/openbao/store" }

listener "tcp" {
  address            = "10.0.0.1:8200"
  tls_cert_file      = "tls/server.crt"
  tls_key_file       = "tls/server.key"
  tls_client_ca_file = "tls/clients.pem"
  tls_min_version    = "tls13"
  tls_require_and_verify_client_cert = "true"
  tls_disable_client_certs = 0
  max_request_size     = 1048576
  max_request_duration = "2m"
  http_read_timeout    = 15
  telemetry { unauthenticated_metrics_access = true }
  custom_response_headers {
    "default" = { "X-Frame-Options" = ["DENY"] }
  }
}

seal "pkcs11" {
  lib            = "/usr/lib/softhsm/libsofthsm2.so"
  slot           = "0x2a"
  pin            = "env://HSM_PIN"
  key_label      = "bao-root-key"
  hmac_key_label = "bao-hmac-key"
  mechanism      = "CKM_AES_GCM"
  generate_key   = "true"
}

telemetry {
  prometheus_retention_time = "30s"
  disable_hostname          = true
}

user_lockout "all" {
  lockout_threshold = 5
}
