storage "inmem" {}
disable_mlock          = true
unsafe_allow_debugging = true
listener "tcp" {
  tls_disable = true
}
