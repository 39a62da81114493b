# The configuration of Sealgate. `sealgate doctor -config=/etc/sealgate` checks it and changes nothing.
# Every *.hcl and *.json file in this folder is read.

storage "bbolt" {
  path = "/var/lib/sealgate/data"
}

# Only this machine reaches the server. Before you let others in, set the address and both TLS files.
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
  # tls_cert_file = "/etc/sealgate/tls.crt"
  # tls_key_file  = "/etc/sealgate/tls.key"
}

# Without a seal stanza, custodians unseal the server with their shares. With an HSM it unseals by itself:
# seal "pkcs11" "hsm" {
#   lib         = "/usr/lib/softhsm/libsofthsm2.so"
#   token_label = "production"
#   pin         = "file:///run/credentials/sealgate.service/pin"
#   key_label   = "sealgate"
# }

ui = true
