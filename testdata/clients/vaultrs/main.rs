//! Drives a server through vaultrs, unmodified, over TLS: the life of a server, mounts, both versions of key-value, cubbyhole, policies,
//! tokens, AppRole, userpass, wrapping. What this server has not must be refused in a way that vaultrs has a name for.
//!
//! Reads {"url", "ca"} from standard input, on an uninitialised server under a Shamir seal. Writes the
//! secrets that were handed out as JSON to standard output. Any surprise is a panic, and the exit status 101.

use std::collections::HashMap;
use std::fmt::Debug;

use serde_json::{json, Value};
use vaultrs::api::auth::approle::requests::SetAppRoleRequest;
use vaultrs::api::auth::userpass::requests::CreateUserRequest;
use vaultrs::api::kv2::requests::{SetSecretMetadataRequest, SetSecretRequestOptions};
use vaultrs::api::sys::requests::{EnableEngineRequest, ListMountsRequest};
use vaultrs::api::token::requests::{CreateTokenRequest, SetTokenRoleRequest};
use vaultrs::api::ResponseWrapper;
use vaultrs::auth::{approle, userpass};
use vaultrs::client::{Client, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::sys::{self, ServerStatus};
use vaultrs::{cubbyhole, kv1, kv2, token, transit};

fn client(order: &Value, token: &str) -> VaultClient {
    let settings = VaultClientSettingsBuilder::default()
        .address(order["url"].as_str().unwrap())
        .ca_certs(vec![order["ca"].as_str().unwrap().to_string()])
        .token(token)
        .build()
        .unwrap();
    VaultClient::new(settings).unwrap()
}

/// Checks that a call was refused with this status, and that one of its texts has the words.
fn refused<T: Debug>(result: Result<T, ClientError>, status: u16, words: &str) {
    match result {
        Err(ClientError::APIError { code, errors }) => {
            assert_eq!(code, status, "{errors:?}");
            assert!(words.is_empty() || errors.iter().any(|e| e.contains(words)), "{errors:?} do not say {words}");
        }
        other => panic!("not refused with {status}: {other:?}"),
    }
}

async fn life(c: &mut VaultClient) -> Result<(Vec<String>, String), ClientError> {
    assert!(matches!(c.status().await?, ServerStatus::UNINITIALIZED));
    let made = sys::start_initialization(c, 3, 2, None).await?;
    assert!(matches!(c.status().await?, ServerStatus::SEALED));
    assert_eq!(sys::unseal(c, Some(made.keys[0].clone()), None, None).await?.progress, 1);
    assert_eq!(sys::unseal(c, None, Some(true), None).await?.progress, 0);
    for key in &made.keys_base64[1..] {
        sys::unseal(c, Some(key.clone()), None, None).await?;
    }
    assert!(matches!(c.status().await?, ServerStatus::OK));
    c.set_token(&made.root_token);
    sys::seal(c).await?;
    refused(sys::mount::list(c).await, 503, "Vault is sealed");
    for key in &made.keys[..2] {
        sys::unseal(c, Some(key.clone()), None, None).await?;
    }
    let health = sys::health(c).await?;
    assert!(!health.sealed && health.cluster_id.is_some());
    Ok((made.keys, made.root_token))
}

async fn mounts(c: &VaultClient) -> Result<(), ClientError> {
    sys::mount::enable(c, "kv", "kv", None).await?;
    let mut second = EnableEngineRequest::builder();
    second.description("passwords").options(HashMap::from([("version".to_string(), "2".to_string())]));
    sys::mount::enable(c, "secret", "kv", Some(&mut second)).await?;
    let all = sys::mount::list(c).await?;
    assert_eq!(all["secret/"].options.as_ref().unwrap()["version"], "2");
    assert_eq!(sys::mount::get_configuration_of_a_secret_engine(c, "secret").await?.description, "passwords");
    sys::mount::enable(c, "old", "kv", None).await?;
    let moved = sys::remount::remount(c, "old", "new").await?;
    let status = sys::remount::remount_status(c, &moved.migration_id).await?;
    assert_eq!(status.migration_info.status, "success");
    sys::mount::disable(c, "new").await?;
    assert!(!sys::mount::list(c).await?.contains_key("new/"));
    Ok(())
}

async fn key_value(c: &VaultClient) -> Result<(), ClientError> {
    let data = HashMap::from([("user", "alice"), ("password", "p\u{e4}ss")]);
    kv1::set(c, "kv", "app/db", &data).await?;
    assert_eq!(kv1::get::<HashMap<String, String>>(c, "kv", "app/db").await?["user"], "alice");
    assert_eq!(kv1::list(c, "kv", "app").await?.data.keys, ["db"]);
    kv1::delete(c, "kv", "app/db").await?;
    refused(kv1::get_raw(c, "kv", "app/db").await, 404, "");

    assert_eq!(kv2::set(c, "secret", "app", &json!({"user": "alice", "n": 1})).await?.version, 1);
    refused(kv2::set_with_options(c, "secret", "app", &data, SetSecretRequestOptions { cas: 0 }).await, 400, "check-and-set");
    assert_eq!(kv2::set_with_options(c, "secret", "app", &data, SetSecretRequestOptions { cas: 1 }).await?.version, 2);
    assert_eq!(kv2::read::<HashMap<String, String>>(c, "secret", "app").await?["password"], "p\u{e4}ss");
    assert_eq!(kv2::read_version::<Value>(c, "secret", "app", 1).await?["n"], 1);
    let mut metadata = SetSecretMetadataRequest::builder();
    metadata.max_versions(4u64).custom_metadata(HashMap::from([("owner".to_string(), "team".to_string())]));
    kv2::set_metadata(c, "secret", "app", Some(&mut metadata)).await?;
    let known = kv2::read_metadata(c, "secret", "app").await?;
    assert_eq!((known.current_version, known.max_versions, known.versions.len()), (2, 4, 2));
    kv2::delete_latest(c, "secret", "app").await?;
    kv2::undelete_versions(c, "secret", "app", vec![2]).await?;
    kv2::delete_versions(c, "secret", "app", vec![2]).await?;
    kv2::destroy_versions(c, "secret", "app", vec![1]).await?;
    assert!(kv2::read_metadata(c, "secret", "app").await?.versions["1"].destroyed);
    assert_eq!(kv2::list(c, "secret", "").await?, ["app"]);
    kv2::delete_metadata(c, "secret", "app").await?;
    kv2::config::set(c, "secret", None).await?;
    assert!(!kv2::config::read(c, "secret").await?.cas_required);
    kv2::set(c, "secret", "a", &json!({"x": 1})).await?;

    cubbyhole::set(c, "cubbyhole", "mine", &data).await?;
    assert_eq!(cubbyhole::get::<HashMap<String, String>>(c, "cubbyhole", "mine").await?["user"], "alice");
    assert_eq!(cubbyhole::list(c, "cubbyhole", "").await?.data.keys, ["mine"]);
    cubbyhole::delete(c, "cubbyhole", "mine").await
}

async fn policies(c: &VaultClient) -> Result<(), ClientError> {
    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    sys::policy::set(c, "reader", rules).await?;
    assert_eq!(sys::policy::read(c, "reader").await?.rules, rules);
    assert!(sys::policy::list(c).await?.policies.contains(&"reader".to_string()));
    refused(sys::policy::set(c, "broken", "path {").await, 400, "failed to parse policy");
    sys::policy::set(c, "gone", rules).await?;
    sys::policy::delete(c, "gone").await?;
    refused(sys::policy::read(c, "gone").await, 404, "");
    Ok(())
}

async fn tokens(c: &VaultClient, order: &Value) -> Result<String, ClientError> {
    let mut wanted = CreateTokenRequest::builder();
    wanted.policies(vec!["reader".to_string()]).ttl("1h").meta(HashMap::from([("app".to_string(), "x".to_string())]));
    let made = token::new(c, Some(&mut wanted)).await?;
    assert_eq!((made.lease_duration, made.renewable, made.token_type.as_str()), (3600, true, "service"));
    let weak = client(order, &made.client_token);
    assert_eq!(weak.lookup().await?.meta.unwrap()["app"], "x");
    assert_eq!(weak.renew(Some("30m")).await?.lease_duration, 1800);
    assert_eq!(kv2::read::<Value>(&weak, "secret", "a").await?["x"], 1);
    refused(kv2::set(&weak, "secret", "a", &json!({})).await, 403, "permission denied");
    assert_eq!(token::lookup(c, &made.client_token).await?.path, "auth/token/create");
    assert_eq!(token::lookup_accessor(c, &made.accessor).await?.id, "");
    token::renew(c, &made.client_token, Some("1h")).await?;
    token::renew_accessor(c, &made.accessor, Some("1h")).await?;
    token::revoke_accessor(c, &made.accessor).await?;
    refused(weak.lookup().await, 403, "permission denied");

    let orphan = token::new_orphan(c, None).await?;
    assert!(orphan.orphan);
    token::revoke(c, &orphan.client_token).await?;
    let mut role = SetTokenRoleRequest::builder();
    role.allowed_policies(vec!["reader".to_string()]).token_period("1h").orphan(true);
    token::role::set(c, "ci", Some(&mut role)).await?;
    assert_eq!(token::role::list(c).await?.keys, ["ci"]);
    assert_eq!(token::role::read(c, "ci").await?.token_period, 3600);
    let periodic = token::new_role(c, "ci", None).await?;
    token::revoke_orphan(c, &periodic.client_token).await?;
    token::role::delete(c, "ci").await?;
    token::tidy(c).await?;
    let last = client(order, &token::new(c, None).await?.client_token);
    last.revoke().await?;
    refused(last.lookup().await, 403, "permission denied");
    refused(token::lookup(c, "s.unknown").await, 403, "bad token");
    Ok(made.client_token)
}

async fn logins(c: &VaultClient, order: &Value) -> Result<(), ClientError> {
    sys::auth::enable(c, "approle", "approle", None).await?;
    let mut role = SetAppRoleRequest::builder();
    role.token_policies(vec!["reader".to_string()]).token_ttl("10m");
    approle::role::set(c, "approle", "app", Some(&mut role)).await?;
    assert_eq!(approle::role::list(c, "approle").await?.keys, ["app"]);
    assert_eq!(approle::role::read(c, "approle", "app").await?.token_ttl, 600);
    let id = approle::role::read_id(c, "approle", "app").await?.role_id;
    let secret = approle::role::secret::generate(c, "approle", "app", None).await?;
    assert_eq!(approle::role::secret::list(c, "approle", "app").await?.keys, [secret.secret_id_accessor.as_str()]);
    approle::role::secret::read(c, "approle", "app", &secret.secret_id).await?;
    let auth = approle::login(c, "approle", &id, &secret.secret_id).await?;
    assert_eq!(kv2::read::<Value>(&client(order, &auth.client_token), "secret", "a").await?["x"], 1);
    approle::role::secret::delete(c, "approle", "app", &secret.secret_id).await?;
    refused(approle::login(c, "approle", &id, &secret.secret_id).await, 400, "invalid");
    approle::role::delete(c, "approle", "app").await?;

    sys::auth::enable(c, "people", "userpass", None).await?;
    assert_eq!(sys::auth::list(c).await?["people/"].mount_type, "userpass");
    let mut user = CreateUserRequest::builder();
    user.token_policies(vec!["reader".to_string()]);
    userpass::user::set(c, "people", "bob", "correct horse", Some(&mut user)).await?;
    assert_eq!(userpass::user::list(c, "people").await?.keys, ["bob"]);
    let auth = userpass::login(c, "people", "bob", "correct horse").await?;
    assert_eq!(auth.policies, ["default", "reader"]);
    userpass::user::update_password(c, "people", "bob", "battery staple").await?;
    refused(userpass::login(c, "people", "bob", "correct horse").await, 400, "invalid username or password");
    sys::auth::disable(c, "people").await?;
    refused(client(order, &auth.client_token).lookup().await, 403, "permission denied");
    Ok(())
}

async fn wrapping(c: &VaultClient) -> Result<String, ClientError> {
    let wrapped = ListMountsRequest::builder().build().unwrap().wrap(c).await?;
    assert_eq!(wrapped.lookup(c).await?.creation_path, "sys/mounts");
    assert!(wrapped.unwrap(c).await?.contains_key("secret/"));
    assert!(matches!(wrapped.lookup(c).await, Err(ClientError::WrapInvalidError)));
    Ok(wrapped.info.token)
}

async fn absent(c: &VaultClient) {
    refused(transit::key::create(c, "transit", "k", None).await, 404, "no handler for route");
    refused(sys::mount::enable(c, "pki", "pki", None).await, 400, "plugin not found in the catalog");
    refused(vaultrs::identity::entity::list_by_id(c).await, 404, "");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let order: Value = serde_json::from_reader(std::io::stdin()).unwrap();
    let mut c = client(&order, "");
    let (shares, root) = life(&mut c).await?;
    mounts(&c).await?;
    key_value(&c).await?;
    policies(&c).await?;
    let weak = tokens(&c, &order).await?;
    logins(&c, &order).await?;
    let wrapped = wrapping(&c).await?;
    absent(&c).await;
    println!("{}", json!({"shares": shares, "tokens": [root, weak, wrapped]}));
    Ok(())
}
