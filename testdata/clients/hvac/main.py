"""Drives a server through hvac, unmodified: initialisation, rekey of both targets with verification, PGP keys and backup,
generate-root by both encodings, rotation of the encryption key.

Reads {"url": ..., "seal": "shamir" or "auto", "pgp_key": ...} from standard input, on a server that is not initialised. Writes
what only the holder of the PGP key can check as JSON to standard output. Any surprise is an exception, and exit status 1.
"""

import base64
import json
import sys

import hvac
from hvac.exceptions import Forbidden, InvalidRequest, RateLimitExceeded


def check(what, seen, *wanted):
    if seen not in wanted:
        raise AssertionError(f"{what}: {seen!r}, not {wanted!r}")


def refused(what, kind, text, call, **args):
    """Calls something that must be refused, for the reason that is expected."""
    try:
        call(**args)
    except kind as e:
        if text not in str(e):
            raise AssertionError(f"{what}: refused with {e}") from e
        return
    raise AssertionError(f"{what}: not refused")


def decoded(encoded, otp):
    """A token from its encoding and the one-time password."""
    raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return bytes(a ^ b for a, b in zip(raw, otp.encode(), strict=True)).decode()


def initialize(client, shamir):
    """Returns the shares that authorise; the client has the root token afterwards."""
    check("is_initialized", client.sys.is_initialized(), False)
    if shamir:
        made = client.sys.initialize(secret_shares=3, secret_threshold=2)
        client.sys.submit_unseal_keys(made["keys"][:2])
        shares = made["keys_base64"]
    else:
        made = client.sys.initialize(recovery_shares=3, recovery_threshold=2)
        shares = made["recovery_keys_base64"]
    check("is_sealed", client.sys.is_sealed(), False)
    client.token = made["root_token"]
    return shares


def rekey(client, shares, recovery):
    """A rekey from beginning to end; the holders of shares have no token."""
    sys_ = client.sys
    holder = hvac.Client(url=client.url).sys
    check("progress of nothing", sys_.read_rekey_progress(recovery_key=recovery)["started"], False)
    refused("a rekey without a token", Forbidden, "permission denied", holder.start_rekey, secret_shares=2, secret_threshold=2, recovery_key=recovery)
    refused("an impossible shape", InvalidRequest, "threshold cannot be larger than shares", sys_.start_rekey,
            secret_shares=2, secret_threshold=3, recovery_key=recovery)
    begun = sys_.start_rekey(secret_shares=3, secret_threshold=2, recovery_key=recovery)
    check("required", begun["required"], 2)
    refused("a second rekey", InvalidRequest, "rekey already in progress", sys_.start_rekey, recovery_key=recovery)
    check("cancel", sys_.cancel_rekey(recovery_key=recovery).status_code, 204)
    begun = sys_.start_rekey(secret_shares=3, secret_threshold=2, recovery_key=recovery)
    refused("a wrong nonce", InvalidRequest, "incorrect nonce supplied", holder.rekey, key=shares[0], nonce="wrong", recovery_key=recovery)
    refused("a wrong share", InvalidRequest, "share rejected", holder.rekey, key="ab" * 33, nonce=begun["nonce"], recovery_key=recovery)
    done = holder.rekey_multi(shares, nonce=begun["nonce"], recovery_key=recovery)
    check("complete", done["complete"], True)
    check("keys", [len(k) for k in done["keys"]], [66, 66, 66])
    again = holder.rekey(shares[1], nonce=begun["nonce"], recovery_key=recovery)
    check("the last share again", again["keys"], done["keys"])
    return done["keys_base64"]


def rekey_verified(client, shares, pgp_key):
    """A rekey of the barrier with verification, encrypted to a PGP key, with a backup. hvac verifies the barrier's alone."""
    sys_ = client.sys
    begun = sys_.start_rekey(secret_shares=1, secret_threshold=1, pgp_keys=[pgp_key], backup=True, require_verification=True)
    check("verification_required", begun["verification_required"], True)
    done = sys_.rekey_multi(shares, nonce=begun["nonce"])
    check("complete", done["complete"], True)
    check("old shares still unseal", sys_.read_seal_status()["n"], 3)
    saved = sys_.read_backup_keys()
    check("backup", saved["data"]["keys"], {begun["pgp_fingerprints"][0]: done["keys"]})
    check("backup beside data", saved["keys_base64"], {begun["pgp_fingerprints"][0]: done["keys_base64"]})
    check("cancel", sys_.cancel_rekey().status_code, 204)

    begun = sys_.start_rekey(secret_shares=3, secret_threshold=2, require_verification=True)
    done = sys_.rekey_multi(shares, nonce=begun["nonce"])
    progress = sys_.read_rekey_verify_progress()
    check("verification's nonce", progress["nonce"], done["verification_nonce"])
    sys_.rekey_verify(done["keys"][2], progress["nonce"])
    check("verification's progress", sys_.read_rekey_verify_progress()["progress"], 1)
    restarted = sys_.cancel_rekey_verify()
    check("progress after a restart", restarted["progress"], 0)
    refused("the nonce before the restart", InvalidRequest, "incorrect nonce supplied", sys_.rekey_verify, key=done["keys"][2], nonce=progress["nonce"])
    verified = sys_.rekey_verify_multi(done["keys"], nonce=restarted["nonce"])
    check("verified", verified["complete"], True)
    return done["keys_base64"]


def generate_root(client, shares, pgp_key):
    """Two root tokens, one decoded here, one returned for the holder of the PGP key."""
    sys_ = hvac.Client(url=client.url).sys  # without a token
    check("progress of nothing", sys_.read_root_generation_progress()["started"], False)
    begun = sys_.start_root_token_generation()
    refused("a second attempt", InvalidRequest, "root generation already in progress", sys_.start_root_token_generation)
    refused("a cancel by a stranger", Forbidden, "permission denied", sys_.cancel_root_generation)
    check("a cancel", client.sys.cancel_root_generation().status_code, 204)
    begun = sys_.start_root_token_generation()
    otp = begun["otp"]
    check("otp_length", begun["otp_length"], len(otp))
    sys_.generate_root(shares[0], begun["nonce"])
    refused("the same share", InvalidRequest, "already been provided", sys_.generate_root, key=shares[0], nonce=begun["nonce"])
    done = sys_.generate_root(shares[1], begun["nonce"])
    check("complete", done["complete"], True)
    token = decoded(done["encoded_root_token"], otp)
    check("the token's policies", hvac.Client(url=client.url, token=token).lookup_token()["data"]["policies"], ["root"])

    begun = sys_.start_root_token_generation(otp=otp)
    check("cancel", client.sys.cancel_root_generation().status_code, 204)
    begun = sys_.start_root_token_generation(pgp_key=pgp_key)
    sys_.generate_root(shares[1], begun["nonce"])
    done = sys_.generate_root(shares[2], begun["nonce"])
    check("fingerprint", done["pgp_fingerprint"], begun["pgp_fingerprint"])
    return done["encoded_token"]


def rotate(client):
    before = client.sys.get_encryption_key_status()["data"]["term"]
    check("rotate_encryption_key", client.sys.rotate_encryption_key().status_code, 204)
    check("term", client.sys.get_encryption_key_status()["data"]["term"], before + 1)


def too_many(client, recovery):
    """Wrong shares are slowed down in the end, in a way that hvac has a name for."""
    begun = client.sys.start_rekey(secret_shares=1, secret_threshold=1, recovery_key=recovery)
    try:
        for _ in range(200):
            try:
                client.sys.rekey("ab" * 33, nonce=begun["nonce"], recovery_key=recovery)
            except InvalidRequest:
                pass
    except RateLimitExceeded:
        return
    raise AssertionError("200 wrong shares in a row were not too many")


def main():
    order = json.load(sys.stdin)
    shamir = order["seal"] == "shamir"
    client = hvac.Client(url=order["url"])
    shares = initialize(client, shamir)
    result = {"root_token": client.token}
    rotate(client)
    if shamir:
        shares = rekey(client, shares, recovery=False)
        shares = rekey_verified(client, shares, order["pgp_key"])
        client.sys.seal()
        client.sys.submit_unseal_keys(shares[1:])
        check("is_sealed", client.sys.is_sealed(), False)
    else:
        shares = rekey(client, shares, recovery=True)
        begun = client.sys.start_rekey(secret_shares=1, secret_threshold=1)
        done = client.sys.rekey_multi(shares, nonce=begun["nonce"])
        check("a barrier rekey by recovery shares", (done["complete"], done["keys"]), (True, []))
    result["encoded_token"] = generate_root(client, shares, order["pgp_key"])
    too_many(client, recovery=not shamir)
    result["shares"] = shares
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
