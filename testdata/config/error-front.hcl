storage "inmem" {}
listener "tcp" {
  tls_disable = true
  proxy_protocol_behavior = "deny_unauthorized"
  x_forwarded_for_authorized_addrs = "proxy.example.com"
  x_forwarded_for_hop_skips = -1
  x_forwarded_for_client_cert_header = "X-Cert"
  x_forwarded_for_client_cert_header_decoders = "ROT13"
  cors_enabled = true
  custom_response_headers {
    "6xx" = { X-A = "b" }
    "default" = {
      "X Bad" = "b"
      "X-Vault-Token" = "b"
      "X-Lines" = "a\nb"
    }
  }
  telemetry { metrics_path = "/v1/sys/metrics" }
  role = "agent"
}
telemetry {
  metrics_prefix = "a-b"
  statsd_address = "127.0.0.1:8125"
}
