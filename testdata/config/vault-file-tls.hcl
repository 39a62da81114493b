# A single server as the tutorials set it up: files on disk, TLS, a web interface.
ui            = true
disable_mlock = true

storage "file" {
  path = "/opt/vault/data"
}

# HTTPS listener
listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/opt/vault/tls/tls.crt"
  tls_key_file  = "/opt/vault/tls/tls.key"
}

api_addr          = "https://vault.example.com:8200"
default_lease_ttl = "768h"
max_lease_ttl     = "32d"
