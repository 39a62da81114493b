"""Makes every transit call of hvac, unmodified.

Reads {"url": ..., "token": ...} from standard input, on a server with a transit engine at its usual path. Writes the key material and
plaintexts that were handed out as JSON to standard output. Any surprise is an exception, and exit status 1.
"""

import base64
import json
import sys

import hvac
from hvac.exceptions import InvalidPath, InvalidRequest

from main import check, refused

ORDER = json.load(sys.stdin)
C = hvac.Client(url=ORDER["url"], token=ORDER["token"])
T = C.secrets.transit
SECRETS = []
HELLO = base64.b64encode(b"hello").decode()
WORLD = base64.b64encode(b"world").decode()
CONTEXT = base64.b64encode(b"context").decode()


def keys():
    T.create_key(name="k", exportable=True, allow_plaintext_backup=True)
    T.create_key(name="derived", derived=True, convergent_encryption=True)
    for kind in ["ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "chacha20-poly1305"]:
        T.create_key(name=kind, key_type=kind)
        check(kind, T.read_key(name=kind)["data"]["type"], kind)
    check("listed", "k" in T.list_keys()["data"]["keys"], True)
    check("latest", T.read_key(name="k")["data"]["latest_version"], 1)
    T.rotate_key(name="k")
    check("rotated", T.read_key(name="k")["data"]["latest_version"], 2)
    T.update_key_configuration(name="k", min_decryption_version=1, min_encryption_version=0, deletion_allowed=True)
    check("configured", T.read_key(name="k")["data"]["deletion_allowed"], True)
    refused("a missing key", InvalidPath, "", T.read_key, name="absent")


def ciphers():
    made = T.encrypt_data(name="k", plaintext=HELLO)["data"]
    check("version", made["key_version"], 2)
    check("decrypted", T.decrypt_data(name="k", ciphertext=made["ciphertext"])["data"]["plaintext"], HELLO)
    old = T.encrypt_data(name="k", plaintext=HELLO, key_version=1)["data"]["ciphertext"]
    check("old", old.startswith("vault:v1:"), True)
    new = T.rewrap_data(name="k", ciphertext=old)["data"]["ciphertext"]
    check("rewrapped", new.startswith("vault:v2:"), True)
    check("decrypted", T.decrypt_data(name="k", ciphertext=new)["data"]["plaintext"], HELLO)
    batch = T.encrypt_data(name="k", batch_input=[{"plaintext": HELLO}, {"plaintext": WORLD}])["data"]["batch_results"]
    opened = T.decrypt_data(name="k", batch_input=[{"ciphertext": b["ciphertext"]} for b in batch])["data"]["batch_results"]
    check("batch", [o["plaintext"] for o in opened], [HELLO, WORLD])
    again = T.rewrap_data(name="k", ciphertext="", batch_input=[{"ciphertext": b["ciphertext"]} for b in batch])["data"]["batch_results"]
    check("rewrapped batch", len(again), 2)
    refused("a wrong batch", InvalidRequest, "", T.encrypt_data, name="k", batch_input=[{"plaintext": "!"}])
    twice = [T.encrypt_data(name="derived", plaintext=HELLO, context=CONTEXT)["data"]["ciphertext"] for _ in range(2)]
    check("convergent", twice[0], twice[1])
    check("derived", T.decrypt_data(name="derived", ciphertext=twice[0], context=CONTEXT)["data"]["plaintext"], HELLO)
    refused("no context", InvalidRequest, "missing 'context'", T.encrypt_data, name="derived", plaintext=HELLO)
    for kind in ["rsa-2048", "chacha20-poly1305"]:
        c = T.encrypt_data(name=kind, plaintext=HELLO)["data"]["ciphertext"]
        check(kind, T.decrypt_data(name=kind, ciphertext=c)["data"]["plaintext"], HELLO)
    shown = T.generate_data_key(name="k", key_type="plaintext", bits=512)["data"]
    SECRETS.append(shown["plaintext"])
    check("data key", T.decrypt_data(name="k", ciphertext=shown["ciphertext"])["data"]["plaintext"], shown["plaintext"])
    check("wrapped", "plaintext" in T.generate_data_key(name="k", key_type="wrapped")["data"], False)


def signatures():
    for kind in ["ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048"]:
        for marshaling in ["asn1", "jws"]:
            s = T.sign_data(name=kind, hash_input=HELLO, marshaling_algorithm=marshaling)["data"]["signature"]
            good = T.verify_signed_data(name=kind, hash_input=HELLO, signature=s, marshaling_algorithm=marshaling)
            check(kind, good["data"]["valid"], True)
            bad = T.verify_signed_data(name=kind, hash_input=WORLD, signature=s, marshaling_algorithm=marshaling)
            check(kind, bad["data"]["valid"], False)
    s = T.sign_data(name="rsa-2048", hash_input=HELLO, hash_algorithm="sha2-512", signature_algorithm="pkcs1v15")["data"]["signature"]
    good = T.verify_signed_data(name="rsa-2048", hash_input=HELLO, signature=s, hash_algorithm="sha2-512", signature_algorithm="pkcs1v15")
    check("pkcs1v15", good["data"]["valid"], True)
    h = T.generate_hmac(name="k", hash_input=HELLO, algorithm="sha2-384")["data"]["hmac"]
    check("hmac", T.verify_signed_data(name="k", hash_input=HELLO, hmac=h, hash_algorithm="sha2-384")["data"]["valid"], True)


def tools():
    check("random", len(base64.b64decode(T.generate_random_bytes(n_bytes=20)["data"]["random_bytes"])), 20)
    sum_ = T.hash_data(hash_input=HELLO, algorithm="sha2-256")["data"]["sum"]
    check("hash", sum_, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")


def moving():
    c = T.encrypt_data(name="k", plaintext=HELLO)["data"]["ciphertext"]
    exported = T.export_key(name="k", key_type="encryption-key")["data"]["keys"]
    check("exported", sorted(exported), ["1", "2"])
    SECRETS.extend(exported.values())
    backup = T.backup_key(name="k")["data"]["backup"]
    SECRETS.append(backup)
    refused("an existing key", InvalidRequest, "already exists", T.restore_key, backup=backup)
    T.restore_key(backup=backup, name="other")
    T.restore_key(backup=backup, force=True)
    check("restored", T.decrypt_data(name="other", ciphertext=c)["data"]["plaintext"], HELLO)
    T.update_key_configuration(name="k", min_decryption_version=1, min_encryption_version=2)
    T.trim_key(name="k", min_version=1)
    check("trimmed", T.read_key(name="k")["data"]["min_available_version"], 1)
    T.delete_key(name="k")
    refused("a deleted key", InvalidPath, "", T.read_key, name="k")
    refused("a key that may not go", InvalidRequest, "deletion is not allowed", T.delete_key, name="ed25519")


for part in [keys, ciphers, signatures, tools, moving]:
    part()
json.dump({"secrets": SECRETS}, sys.stdout)
