backend "inmem" {
}

listener "tcp" {
  address = "127.0.0.1:8202"
  tls_disable = 1
}
disable_mlock = true
max_lease_ttl = 2592000
