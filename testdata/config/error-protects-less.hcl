storage "inmem" { disable_transactions = true }
listener "tcp" {
  tls_disable = true
  redact_version = true
  redact_addresses = false
  x_forwarded_for_reject_not_present = "true"
  proxy_protocol_behavior = "use_always"
  tls_acme_email = "x@example.com"
  role = "metrics_only"
  tls_min_version = "tls10"
  tls_require_and_verify_client_cert = true
}
audit "file" "main" { options { file_path = "/var/log/audit.log", filter = "operation == update" } }
entropy "seal" { mode = "augmentation" }
