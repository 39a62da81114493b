storage "raft" {
  path    = "/opt/raft"
  node_id = "a"
}
listner "tcp" { address = "127.0.0.1:8200" }
listener "tcp" {
  address     = "127.0.0.1"
  tls_disable = "perhaps"
  tls_cert_fiel = "x"
  max_request_size = 0
  max_request_duration = "soon"
}
seal "pkcs11" {
  lib = "x.so"
  pni = "hunter2"
}
seal "pkcs11" { lib = "y.so" }
seal_policy { mode = "threshold", threshold = 3 }
log_level = "loud"
log_level = "quiet"
default_lease_ttl = "1000h"
