# Sealgate on AWS KMS as emulated by LocalStack, for trials: without TLS, because only this machine reaches it.
storage "bbolt" { path = "/var/lib/sealgate" }

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

seal "awskms" "localstack" {
  region     = "us-east-1"
  kms_key_id = "alias/sealgate"
  endpoint   = "http://localstack:4566"
  access_key = "trial"
  secret_key = "trial"
}

audit "file" "stdout" { options { file_path = "stdout" } }
