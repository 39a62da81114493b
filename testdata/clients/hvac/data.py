"""Drives a server through hvac, unmodified, over TLS: mounts, both versions of key-value, cubbyhole, policies, tokens, userpass, AppRole,
audit devices, wrapping, leases, health and capabilities. What this server has not must be refused in a way that hvac has a name for.

Reads {"url": ..., "ca": ..., "audit": ...} from standard input, on a server that unseals itself and is not initialised. Writes
the secrets that were handed out as JSON to standard output. Any surprise is an exception, and exit status 1.
"""

import json
import os
import sys

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, UnexpectedError

from main import check, refused

ORDER = json.load(sys.stdin)
SECRETS = {"shares": [], "tokens": []}
READER = 'path "secret/data/*" { capabilities = ["read"] }'


def client(token=None):
    return hvac.Client(url=ORDER["url"], token=token, verify=ORDER["ca"])


def initialize():
    c = client()
    check("health before init", c.sys.read_health_status(method="GET").status_code, 501)
    made = c.sys.initialize(recovery_shares=3, recovery_threshold=2)
    SECRETS["shares"] = made["recovery_keys"]
    SECRETS["tokens"].append(made["root_token"])
    c.token = made["root_token"]
    check("authenticated", c.is_authenticated(), True)
    check("a stranger", client("s.unknown").is_authenticated(), False)
    check("health", c.sys.read_health_status(method="GET")["sealed"], False)
    check("health by HEAD", c.sys.read_health_status().status_code, 200)
    check("leader", c.sys.read_leader_status()["ha_enabled"], False)
    check("ha_status", c.ha_status["ha_enabled"], False)
    c.sys.step_down()
    return c


def mounts(c):
    c.sys.enable_secrets_engine("kv", path="kv", options={"version": "1"})
    c.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"}, description="passwords", config={"max_lease_ttl": "24h"})
    listed = c.sys.list_mounted_secrets_engines()["data"]
    check("version", listed["secret/"]["options"], {"version": "2"})
    check("tuned", c.sys.read_mount_configuration("secret")["data"]["max_lease_ttl"], 86400)
    c.sys.tune_mount_configuration("secret", default_lease_ttl="1h", description="words")
    check("tuned", c.sys.read_mount_configuration("secret")["data"]["description"], "words")
    c.sys.enable_secrets_engine("kv", path="old")
    c.write("old/a", x="1")
    c.sys.move_backend("old", "new")
    check("moved", c.read("new/a")["data"], {"x": "1"})
    c.sys.disable_secrets_engine("new")
    refused("an unmounted path", InvalidPath, "no handler for route", c.write, path="new/a", x="1")
    refused("a used path", InvalidRequest, "path is already in use", c.sys.enable_secrets_engine, backend_type="kv", path="kv")


def kv1(c):
    v1 = c.secrets.kv.v1
    v1.create_or_update_secret("app/db", {"user": "alice", "n": 2**53, "deep": {"list": [1, None]}}, mount_point="kv")
    check("read", v1.read_secret("app/db", mount_point="kv")["data"], {"user": "alice", "n": 2**53, "deep": {"list": [1, None]}})
    check("list", v1.list_secrets("app", mount_point="kv")["data"]["keys"], ["db"])
    v1.delete_secret("app/db", mount_point="kv")
    refused("what is gone", InvalidPath, "", v1.read_secret, path="app/db", mount_point="kv")
    check("read of nothing", c.read("kv/app/db"), None)
    check("list of nothing", c.list("kv/app"), None)


def kv2(c):
    v2 = c.secrets.kv.v2
    v2.configure(max_versions=5, cas_required=False, mount_point="secret")
    check("configuration", v2.read_configuration(mount_point="secret")["data"]["max_versions"], 5)
    check("first", v2.create_or_update_secret("app", {"user": "alice", "port": 1}, cas=0)["data"]["version"], 1)
    refused("check-and-set", InvalidRequest, "check-and-set", v2.create_or_update_secret, path="app", secret={}, cas=0)
    check("patch", v2.patch("app", {"user": "bob"})["data"]["version"], 2)
    read = v2.read_secret_version("app", raise_on_deleted_version=True)["data"]
    check("patched", (read["data"], read["metadata"]["version"]), ({"user": "bob", "port": 1}, 2))
    check("version", v2.read_secret_version("app", version=1, raise_on_deleted_version=True)["data"]["data"]["user"], "alice")
    v2.update_metadata("app", max_versions=3, delete_version_after="1h", custom_metadata={"owner": "team"})
    known = v2.read_secret_metadata("app")["data"]
    check("metadata", (known["max_versions"], known["custom_metadata"], len(known["versions"])), (3, {"owner": "team"}, 2))
    v2.delete_latest_version_of_secret("app")
    refused("a deleted version", InvalidPath, "", v2.read_secret_version, path="app", raise_on_deleted_version=True)
    check("its metadata", v2.read_secret_version("app", raise_on_deleted_version=False)["data"]["metadata"]["version"], 2)
    v2.undelete_secret_versions("app", versions=[2])
    v2.delete_secret_versions("app", versions=[1])
    v2.destroy_secret_versions("app", versions=[1])
    check("destroyed", v2.read_secret_metadata("app")["data"]["versions"]["1"]["destroyed"], True)
    check("list", v2.list_secrets("")["data"]["keys"], ["app"])
    v2.delete_metadata_and_all_versions("app")
    refused("what is gone", InvalidPath, "", v2.read_secret_metadata, path="app")
    v2.create_or_update_secret("a", {"x": 1})
    c.write("cubbyhole/mine", x="1")
    check("cubbyhole", c.read("cubbyhole/mine")["data"], {"x": "1"})
    check("another's cubbyhole", client(c.auth.token.create()["auth"]["client_token"]).read("cubbyhole/mine"), None)


def policies(c):
    c.sys.create_or_update_policy("reader", READER)
    check("policy", c.sys.read_policy("reader")["data"]["rules"], READER)
    check("get_policy", c.get_policy("reader", parse=False), READER)
    check("policies", "reader" in c.sys.list_policies()["data"]["policies"], True)
    c.sys.create_or_update_acl_policy("writer", {"path": {"secret/data/*": {"capabilities": ["create", "update"]}}})
    check("acl policy", json.loads(c.sys.read_acl_policy("writer")["data"]["policy"])["path"]["secret/data/*"], {"capabilities": ["create", "update"]})
    check("acl policies", c.sys.list_acl_policies()["data"]["keys"][-1], "root")
    c.sys.delete_acl_policy("writer")
    refused("a bad policy", InvalidRequest, "failed to parse policy", c.sys.create_or_update_policy, name="bad", policy="path {")
    c.sys.create_or_update_policy("gone", READER)
    c.sys.delete_policy("gone")
    check("what is gone", c.get_policy("gone"), None)


def tokens(c):
    t = c.auth.token
    made = t.create(policies=["reader"], ttl="1h", meta={"app": "x"}, display_name="python", num_uses=0)["auth"]
    SECRETS["tokens"].append(made["client_token"])
    check("lease_duration", made["lease_duration"], 3600)
    weak = client(made["client_token"])
    check("lookup_self", weak.auth.token.lookup_self()["data"]["display_name"], "token-python")
    check("renew_self", weak.auth.token.renew_self(increment="30m")["auth"]["lease_duration"], 1800)
    check("read", weak.secrets.kv.v2.read_secret_version("a", raise_on_deleted_version=True)["data"]["data"], {"x": 1})
    refused("a write", Forbidden, "permission denied", weak.secrets.kv.v2.create_or_update_secret, path="a", secret={})
    check("own capabilities", weak.sys.get_capabilities(["secret/data/a"])["data"]["secret/data/a"], ["read"])
    check("capabilities", c.sys.get_capabilities(["secret/data/a", "kv/a"], token=made["client_token"])["data"]["kv/a"], ["deny"])
    check("capabilities", c.sys.get_capabilities(["secret/data/a"], accessor=made["accessor"])["data"]["capabilities"], ["read"])
    check("lookup", t.lookup(made["client_token"])["data"]["meta"], {"app": "x"})
    check("lookup_accessor", t.lookup_accessor(made["accessor"])["data"]["id"], "")
    check("renew", t.renew(made["client_token"], increment="1h")["auth"]["client_token"], made["client_token"])
    check("renew_accessor", t.renew_accessor(made["accessor"])["auth"]["client_token"], "")
    check("accessors", made["accessor"] in t.list_accessors()["data"]["keys"], True)
    t.revoke_accessor(made["accessor"])
    refused("a revoked token", Forbidden, "permission denied", weak.auth.token.lookup_self)
    orphan = t.create_orphan(policies=["reader"])["auth"]
    check("orphan", orphan["orphan"], True)
    t.revoke(orphan["client_token"])
    t.create_or_update_role("ci", allowed_policies="reader", token_period="1h", orphan=True)
    check("roles", t.list_roles()["data"]["keys"], ["ci"])
    check("role", t.read_role("ci")["data"]["token_period"], 3600)
    periodic = t.create(role_name="ci", policies=["reader"])["auth"]
    check("of a role", (periodic["lease_duration"], periodic["orphan"]), (3600, True))
    t.revoke_and_orphan_children(periodic["client_token"])
    t.delete_role("ci")
    batch = t.create(policies=["reader"], type="batch", ttl="5m")["auth"]
    check("a batch token", (batch["client_token"][:2], batch["token_type"], batch["accessor"]), ("b.", "batch", ""))
    client(batch["client_token"]).secrets.kv.v2.read_secret_version("a", raise_on_deleted_version=True)
    check("limited", client(t.create(policies=["reader"], num_uses=1)["auth"]["client_token"]).auth.token.lookup_self()["data"]["num_uses"], 0)
    refused("an unknown token", Forbidden, "bad token", t.lookup, token="s.unknown")
    last = client(t.create()["auth"]["client_token"])
    last.logout(revoke_token=True)


def userpass(c):
    c.sys.enable_auth_method("userpass", path="people", config={"default_lease_ttl": "1h"})
    check("auth methods", c.sys.list_auth_methods()["data"]["people/"]["type"], "userpass")
    check("tuned", c.sys.read_auth_method_tuning("people")["data"]["default_lease_ttl"], 3600)
    c.sys.tune_auth_method("people", description="those who type")
    u = c.auth.userpass
    u.create_or_update_user("bob", "correct horse", policies="reader", mount_point="people")
    check("users", u.list_user(mount_point="people")["data"]["keys"], ["bob"])
    check("user", u.read_user("bob", mount_point="people")["data"]["token_policies"], ["reader"])
    bob = client()
    auth = bob.auth.userpass.login("bob", "correct horse", mount_point="people")["auth"]
    check("policies", (auth["policies"], auth["metadata"]), (["default", "reader"], {"username": "bob"}))
    check("authenticated", bob.is_authenticated(), True)
    u.update_password_on_user("bob", "battery staple", mount_point="people")
    refused("the old password", InvalidRequest, "invalid username or password", client().auth.userpass.login,
            username="bob", password="correct horse", mount_point="people")
    u.delete_user("bob", mount_point="people")
    c.sys.disable_auth_method("people")
    check("after its method", bob.is_authenticated(), False)


def approle(c):
    c.sys.enable_auth_method("approle")
    a = c.auth.approle
    a.create_or_update_approle("app", token_policies=["reader"], token_ttl="10m", secret_id_num_uses=2)
    check("roles", a.list_roles()["data"]["keys"], ["app"])
    check("role", a.read_role("app")["data"]["token_ttl"], 600)
    role_id = a.read_role_id("app")["data"]["role_id"]
    secret = a.generate_secret_id("app", metadata={"host": "a"})["data"]
    check("accessors", a.list_secret_id_accessors("app")["data"]["keys"], [secret["secret_id_accessor"]])
    check("secret id", a.read_secret_id("app", secret["secret_id"])["data"]["metadata"], {"host": "a"})
    check("by accessor", a.read_secret_id_accessor("app", secret["secret_id_accessor"])["data"]["secret_id_num_uses"], 2)
    app = client()
    check("login", app.auth.approle.login(role_id, secret["secret_id"])["auth"]["lease_duration"], 600)
    app.secrets.kv.v2.read_secret_version("a", raise_on_deleted_version=True)
    a.destroy_secret_id("app", secret["secret_id"])
    refused("a destroyed secret id", InvalidRequest, "invalid", client().auth.approle.login, role_id=role_id, secret_id=secret["secret_id"])
    custom = a.create_custom_secret_id("app", "chosen secret")["data"]
    a.update_role_id("app", "chosen role")
    client().auth.approle.login("chosen role", "chosen secret")
    a.destroy_secret_id_accessor("app", custom["secret_id_accessor"])
    a.delete_role("app")
    c.sys.disable_auth_method("approle")


def kubernetes(c):
    order = ORDER["kubernetes"]
    c.sys.enable_auth_method("kubernetes", path="pods")
    k = c.auth.kubernetes
    k.configure(kubernetes_host=order["host"], kubernetes_ca_cert=order["ca"], token_reviewer_jwt=order["reviewer"], issuer="x",
                mount_point="pods")
    config = k.read_config(mount_point="pods")
    check("config", (config["kubernetes_host"], config["issuer"], order["reviewer"] in str(config)), (order["host"], "x", False))
    k.create_role("app", bound_service_account_names=["ap*"], bound_service_account_namespaces=["prod"], policies=["reader"],
                  ttl="10m", alias_name_source="serviceaccount_name", mount_point="pods")
    check("roles", k.list_roles(mount_point="pods")["keys"], ["app"])
    role = k.read_role("app", mount_point="pods")
    check("role", (role["bound_service_account_names"], role["alias_name_source"]), (["ap*"], "serviceaccount_name"))
    pod = client()
    auth = pod.auth.kubernetes.login(role="app", jwt=order["jwt"], mount_point="pods")["auth"]
    check("metadata", (auth["metadata"]["service_account_name"], auth["lease_duration"]), ("app", 600))
    pod.secrets.kv.v2.read_secret_version("a", raise_on_deleted_version=True)
    refused("another account", Forbidden, "service account name not authorized", client().auth.kubernetes.login, role="app",
            jwt=order["reviewer"], mount_point="pods")
    refused("no token", Forbidden, "permission denied", client().auth.kubernetes.login, role="app", jwt="x", mount_point="pods")
    k.delete_role("app", mount_point="pods")
    c.sys.disable_auth_method("pods")


def versions(c):
    health = c.sys.read_health_status(method="GET")
    check("API level", tuple(int(n) for n in health["version"].split("+")[0].split(".")) >= (1, 15, 0), True)
    check("of the seal", c.seal_status["version"], health["version"])
    check("ours", health["version"].endswith("+sealgate." + health["sealgate_version"]), True)


def audit(c):
    c.sys.enable_audit_device("file", options={"file_path": ORDER["audit"]})
    check("devices", c.sys.list_enabled_audit_devices()["data"]["file/"]["type"], "file")
    digest = c.sys.calculate_hash("file", "hunter2")["data"]["hash"]
    c.write("kv/hashed", password="hunter2")
    c.sys.disable_audit_device("file")
    with open(ORDER["audit"], encoding="utf-8") as f:
        text = f.read()
    check("the hash is in the file, the value is not", (digest in text, "hunter2" in text), (True, False))
    os.remove(ORDER["audit"])


def wrapping(c):
    wrapped = c.sys.wrap({"x": "1"}, ttl=60)["wrap_info"]
    check("lookup", client(wrapped["token"]).read("sys/wrapping/lookup")["data"]["creation_ttl"], 60)
    check("unwrap", c.sys.unwrap(wrapped["token"])["data"], {"x": "1"})
    refused("twice", InvalidRequest, "wrapping token is not valid or does not exist", c.sys.unwrap, token=wrapped["token"])
    of_token = c.auth.token.create(policies=["reader"], wrap_ttl="60s")["wrap_info"]
    check("a wrapped token", client(of_token["token"]).sys.unwrap()["auth"]["policies"], ["default", "reader"])


def leases(c):
    refused("an unknown lease", InvalidRequest, "invalid lease", c.sys.read_lease, lease_id="auth/nothing/x")
    c.sys.revoke_lease("auth/nothing/x")
    c.sys.revoke_prefix("auth/nothing")


def absent(c):
    for engine in ["pki", "database", "ssh", "aws", "totp"]:
        refused(engine, InvalidRequest, "plugin not found in the catalog", c.sys.enable_secrets_engine, backend_type=engine)
    for method in ["ldap", "github", "aws", "gcp", "azure", "okta", "radius"]:
        refused(method, InvalidRequest, "plugin not found in the catalog", c.sys.enable_auth_method, method_type=method)
    refused("transit, which is not mounted", InvalidPath, "no handler for route", c.secrets.transit.encrypt_data, name="k", plaintext="YQ==")
    refused("raft", InvalidRequest, "raft storage is not in use", c.sys.read_raft_config)
    refused("identity", (InvalidPath, UnexpectedError), "", c.secrets.identity.list_entities)


def main():
    c = initialize()
    for part in [mounts, kv1, kv2, policies, tokens, userpass, approle, kubernetes, versions, audit, wrapping, leases, absent]:
        part(c)
    json.dump(SECRETS, sys.stdout)


if __name__ == "__main__":
    main()
