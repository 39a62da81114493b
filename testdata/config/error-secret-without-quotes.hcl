storage "inmem" {}
seal "pkcs11" {
  lib = "x.so"
  pin = hunter2
}
