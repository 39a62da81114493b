storage "inmem" {}

listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
}

snapshot "Daily/../x" {
  every = "24h"
  path  = "/a"
}

snapshot "none" {
  keep = 0
}

snapshot "both" {
  every = "1h"
  path  = "/a"
  s3 {
    bucket     = "x"
    access_key = "hunter2"
    endpoint   = "https://user:hunter2@minio.example.com"
  }
}

snapshot "both" {
  every = "1h"
  s3 {
    bucket   = "backups"
    endpoint = "http://minio.example.com"
    buckets  = "a"
  }
}
