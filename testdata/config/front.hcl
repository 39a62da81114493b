storage "inmem" {}
listener "tcp" {
  tls_disable = true
  proxy_protocol_behavior = "allow_authorized"
  proxy_protocol_authorized_addrs = "192.0.2.0/24, 2001:db8::1"
  x_forwarded_for_authorized_addrs = ["192.0.2.77/24", "198.51.100.1"]
  x_forwarded_for_hop_skips = 1
  x_forwarded_for_reject_not_present = false
  x_forwarded_for_client_cert_header = "X-Client-Cert"
  x_forwarded_for_client_cert_header_decoders = "URL,DER"
  cors_enabled = true
  cors_allowed_origins = ["https://a.example.com", "https://b.example.com"]
  cors_allowed_headers = ["X-Custom"]
  custom_response_headers {
    "default" = {
      "Strict-Transport-Security" = ["max-age=1", "includeSubDomains"]
      "X-Frame-Options" = "DENY"
    }
    "2xx" = {
      "X-Class" = ["two"]
    }
    "404" { X-Code = "nothing" }
  }
  telemetry {
    unauthenticated_metrics_access = true
    metrics_path = "/metrics"
  }
  inflight_requests_logging { unauthenticated_in_flight_requests_access = true }
  profiling { unauthenticated_pprof_access = true }
}
listener "tcp" {
  address = "127.0.0.1:9100"
  tls_disable = true
  role = "metrics_only"
}
telemetry {
  metrics_prefix = "seal"
  prometheus_retention_time = "30s"
  disable_hostname = true
}
