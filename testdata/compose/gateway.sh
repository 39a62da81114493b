#!/bin/sh
# gateway.sh: prepares the server "softhsm" for the profile "gateway", with the root token of the volume /operator, and
# writes what the other systems need into the volume /gateway. FOR TRIALS ONLY. It can run again.
set -eu
umask 077
until [ -s /operator/softhsm.json ]; do sleep 1; done
SEALGATE_TOKEN=$(sed -n 's/.*"root_token": *"\([^"]*\)".*/\1/p' /operator/softhsm.json)
export SEALGATE_TOKEN
until sealgate status >/dev/null 2>&1; do sleep 1; done
mkdir -p /gateway/openbao /gateway/openbao-data

# OpenBao unseals through a transit key here.
if [ ! -s /gateway/openbao/seal.hcl ]; then
  again=
  if sealgate read sys/policies/acl/tenant-openbao >/dev/null 2>&1; then again=-new-credential; fi
  rm -f /gateway/seal.new
  sealgate operator tenant add openbao $again -out=/gateway/seal.new
  mv /gateway/seal.new /gateway/openbao/seal.hcl
fi
cat >/gateway/openbao/server.hcl <<'C'
storage "raft" {
  path    = "/gateway/openbao-data"
  node_id = "trial"
}
listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}
api_addr     = "http://openbao:8200"
cluster_addr = "https://openbao:8201"
C

# A Kubernetes control plane encrypts through another, by the KMS v2 plugin.
sealgate policy write kube - <<'P'
path "transit/encrypt/kube" { capabilities = ["update"] }
path "transit/decrypt/kube" { capabilities = ["update"] }
path "transit/keys/kube"    { capabilities = ["read"] }
P
sealgate write -force transit/keys/kube >/dev/null
sealgate token create -orphan -period=24h -policy=kube -field=token >/gateway/kms-token.new
mv /gateway/kms-token.new /gateway/kms-token
cat >/gateway/kms.hcl <<'C'
socket  = "/kms/kms.sock"
address = ["http://softhsm:8200"]
key     = "kube"
auth "token_file" { path = "/gateway/kms-token" }
C

# AWS KMS would use a third, by the external key store proxy at http://127.0.0.1:8200/trial-store/kms/xks/v1. AWS itself
# needs TLS.
if ! sealgate read xks/stores/trial >/dev/null 2>&1; then
  sealgate secrets list -format=json | grep -q '"xks/"' || sealgate secrets enable xks
  sealgate policy write xks - <<'P'
path "transit/encrypt/aws" { capabilities = ["update"] }
path "transit/decrypt/aws" { capabilities = ["update"] }
P
  sealgate write -force transit/keys/aws >/dev/null
  rm -f /gateway/xks.json
  sealgate operator xks store create trial -prefix=/trial-store -policies=xks -health-key=transit/aws \
    -out=/gateway/xks.json
  sealgate write xks/stores/trial/keys/aws key=transit/aws >/dev/null
fi
echo "the gateway is ready"
