storage "inmem" {}
seal "pkcs11" {
  pin = "hunter2
}
