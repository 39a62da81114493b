# Devices of the audit trail, in the forms that OpenBao takes.
storage "inmem" {}
listener "tcp" { tls_disable = true }

audit "file" "to-file" {
  description = "kept for a year"
  options {
    file_path           = "/var/log/sealgate/audit.log"
    mode                = "0640"
    elide_list_responses = true
    prefix              = "audit: "
  }
}
audit "socket" "collector/" {
  local = true
  options = { address = "127.0.0.1:9090", socket_type = "tcp", write_timeout = "500ms" }
}
audit "syslog" "sys" {
  options { facility = "local3", tag = "sealgate", log_raw = true }
}

allow_audit_log_prefixing       = true
unsafe_allow_api_audit_creation = false
