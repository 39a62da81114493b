#!/bin/sh
# init.sh NAME: initialises the server at SEALGATE_ADDR once it answers, and stores its recovery shares and root token in the volume /operator.
# FOR TRIALS ONLY: a reader of that volume has everything. In production each share goes to its own holder: `operator init -pgp-keys=...`.
set -eu
umask 077
out=/operator/$1.json
rm -f "$out.new"
while :; do
  code=0
  sealgate operator init -status > /dev/null 2>&1 || code=$?
  case $code in
    0) break ;; # initialised
    2) sealgate operator init -recovery-shares=3 -recovery-threshold=2 -format=json > "$out.new" && mv "$out.new" "$out" && break ;;
  esac
  sleep 1
done
if [ ! -s "$out" ]; then
  echo "$1 is initialised, but $out does not have its shares: they were lost. Start over: docker compose down -v" >&2
  exit 1
fi
echo "$1 is initialised. Its recovery shares and root token, FOR TRIALS ONLY: docker compose --profile operator run --rm operator cat $1.json"
