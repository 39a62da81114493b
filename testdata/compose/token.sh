#!/bin/sh
# Makes a SoftHSM token and its PIN in the volume /token, once. FOR TRIALS ONLY: token and PIN lie next to each other.
set -eu
umask 077
[ -s /token/pin ] && exit 0
rm -rf /token/softhsm /token/pin.new # what a start left that was cut off
sealgate softhsm init -dir /token/softhsm -label sealgate-trial | sed -n "s/^export SEALGATE_HSM_PIN='\(.*\)'\$/\1/p" > /token/pin.new
[ -s /token/pin.new ]
mv /token/pin.new /token/pin # last: the token is whole
