storage "bbolt" {
  path = "/var/lib/sealgate"
}

listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
}

snapshot "daily" {
  every = "24h"
  path  = "/var/backups/sealgate"
}

snapshot "offsite" {
  every   = "6h"
  keep    = 28
  timeout = "30m"
  s3 {
    bucket     = "backups"
    prefix     = "sealgate/"
    region     = "eu-central-1"
    endpoint   = "http://minio.example.com:9000"
    path_style = true
    tls_disable = true
    access_key = "hunter2"
    secret_key = "hunter2"
  }
}
