// Drives a server through node-vault, unmodified, over TLS: its commands for the life of a server, mounts, key-value, policies, tokens, auth
// methods, audit, wrapping and generate-root. What this server has not must be refused in a way that node-vault has a name for.
//
// Reads {"url", "ca", "audit"} from standard input, on an uninitialised server under a Shamir seal: ca is the file of
// the authority, audit a file that the server may write. Writes the secrets that were handed out to standard output.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const vault = require('node-vault');

const order = JSON.parse(fs.readFileSync(0, 'utf8'));
const secrets = { shares: [], tokens: [] };

function client(token, more = {}) {
  return vault({ endpoint: order.url, token, requestOptions: { ca: fs.readFileSync(order.ca) }, ...more });
}

async function refused(call, status, text) {
  await assert.rejects(call, (error) => {
    assert.equal(error.response && error.response.statusCode, status, `${error}`);
    assert.ok(error.message.includes(text), `${JSON.stringify(error.message)} does not say ${JSON.stringify(text)}`);
    return true;
  });
}

async function life(c) {
  assert.equal((await c.initialized()).initialized, false);
  assert.equal((await c.health()).initialized, false); // 501 is no error of this client's health
  const made = await c.init({ secret_shares: 3, secret_threshold: 2 });
  secrets.shares = made.keys;
  secrets.tokens.push(made.root_token);
  assert.equal((await c.status()).sealed, true);
  assert.equal((await c.unseal({ key: made.keys[0] })).progress, 1);
  assert.equal((await c.unseal({ reset: true })).progress, 0);
  await c.unseal({ key: made.keys_base64[0] });
  assert.equal((await c.unseal({ key: made.keys[2] })).sealed, false);
  c.token = made.root_token;
  assert.equal((await c.health({ activecode: 299 })).sealed, false);
  assert.equal((await c.leader()).ha_enabled, false);
  await c.rotate();
  await c.stepDown();
  await c.seal();
  await refused(c.read('kv/a'), 503, 'Vault is sealed');
  await c.unseal({ key: made.keys[1] });
  assert.equal((await c.unseal({ key: made.keys[2] })).sealed, false);
}

async function generateRoot(c) {
  let begun = await c.generateRootInit();
  await c.generateRootCancel();
  begun = await c.generateRootInit();
  await c.generateRootUpdate({ key: secrets.shares[0], nonce: begun.nonce });
  const done = await c.generateRootUpdate({ key: secrets.shares[1], nonce: begun.nonce });
  const raw = Buffer.from(done.encoded_root_token, 'base64');
  const token = Buffer.from(raw.map((b, i) => b ^ begun.otp.charCodeAt(i))).toString();
  secrets.tokens.push(token);
  assert.deepEqual((await client(token).tokenLookupSelf()).data.policies, ['root']);
}

async function mounts(c) {
  await c.mount({ mount_point: 'kv', type: 'kv' });
  await c.mount({ mount_point: 'secret', type: 'kv', options: { version: '2' }, description: 'passwords' });
  const all = await c.mounts();
  assert.equal(all.data['secret/'].options.version, '2');
  assert.equal(all['secret/'].description, 'passwords'); // older callers read it beside data
  await c.mount({ mount_point: 'old', type: 'kv' });
  await c.write('old/a', { x: 1 });
  await c.remount({ from: 'old', to: 'new' });
  assert.equal((await c.read('new/a')).data.x, 1);
  await c.unmount({ mount_point: 'new' });
  await refused(c.read('new/a'), 404, 'no handler for route');
}

async function keyValue(c) {
  await c.write('kv/app/db', { user: 'alice', n: 9007199254740991, deep: { list: [1, 'x', null] } });
  assert.deepEqual((await c.read('kv/app/db')).data, { user: 'alice', n: 9007199254740991, deep: { list: [1, 'x', null] } });
  assert.deepEqual((await c.list('kv/app')).data.keys, ['db']);
  assert.deepEqual((await client(c.token, { noCustomHTTPVerbs: true }).list('kv')).data.keys, ['app/']);
  await c.delete('kv/app/db');
  await refused(c.read('kv/app/db'), 404, '');
  await refused(c.list('kv/app'), 404, '');

  assert.equal((await c.write('secret/data/app', { data: { user: 'alice', port: 1 }, options: { cas: 0 } })).data.version, 1);
  await refused(c.write('secret/data/app', { data: {}, options: { cas: 0 } }), 400, 'check-and-set');
  assert.equal((await c.update('secret/data/app', { data: { user: 'bob' }, options: { cas: 1 } })).data.version, 2);
  assert.deepEqual((await c.read('secret/data/app')).data.data, { user: 'bob', port: 1 });
  assert.equal((await c.read('secret/data/app?version=1')).data.data.user, 'alice');
  await c.write('secret/metadata/app', { custom_metadata: { owner: 'team' }, max_versions: 4 });
  assert.equal((await c.read('secret/metadata/app')).data.custom_metadata.owner, 'team');
  await c.delete('secret/data/app');
  await refused(c.read('secret/data/app'), 404, '');
  await c.write('secret/undelete/app', { versions: [2] });
  await c.destroySecretVersions({ path: 'app', versions: [1] });
  await refused(c.read('secret/data/app?version=1'), 404, '');
  assert.deepEqual((await c.list('secret/metadata')).data.keys, ['app']);
  await c.delete('secret/metadata/app');
}

async function policies(c) {
  await c.addPolicy({ name: 'reader', rules: 'path "secret/data/*" { capabilities = ["read"] }' });
  assert.ok((await c.getPolicy({ name: 'reader' })).data.rules.includes('secret/data/*'));
  const all = (await c.policies()).data.policies;
  assert.ok(all.includes('reader') && all.includes('root'));
  await refused(c.addPolicy({ name: 'broken', rules: 'path {' }), 400, 'failed to parse policy');
  await c.addPolicy({ name: 'gone', policy: 'path "x" { policy = "read" }' });
  await c.removePolicy({ name: 'gone' });
  await refused(c.getPolicy({ name: 'gone' }), 404, '');
}

async function tokens(root) {
  const made = (await client(root.token).tokenCreate({ policies: ['reader'], ttl: '1h', meta: { app: 'x' }, display_name: 'node', num_uses: 0 })).auth;
  secrets.tokens.push(made.client_token);
  assert.equal(made.lease_duration, 3600);
  const weak = client(made.client_token);
  assert.equal((await weak.tokenLookupSelf()).data.display_name, 'token-node');
  assert.equal((await weak.tokenRenewSelf({ increment: '30m' })).auth.lease_duration, 1800);
  await root.write('secret/data/a', { data: { x: 1 } });
  assert.equal((await weak.read('secret/data/a')).data.data.x, 1);
  await refused(weak.write('secret/data/a', { data: {} }), 403, 'permission denied');
  await refused(client('s.unknown').read('secret/data/a'), 403, 'permission denied');

  assert.equal((await root.tokenLookup({ token: made.client_token })).data.meta.app, 'x');
  assert.equal((await root.tokenLookupAccessor({ accessor: made.accessor })).data.id, '');
  assert.equal((await client(root.token).tokenRenew({ token: made.client_token, increment: '1h' })).auth.client_token, made.client_token);
  assert.ok((await root.tokenAccessors()).data.keys.includes(made.accessor));
  await root.tokenRevokeAccessor({ accessor: made.accessor });
  await refused(weak.tokenLookupSelf(), 403, 'permission denied');

  const orphan = (await client(root.token).tokenCreateOrphan({ policies: ['reader'] })).auth;
  assert.equal(orphan.orphan, true);
  await root.tokenRevoke({ token: orphan.client_token });
  await root.addTokenRole({ role_name: 'ci', allowed_policies: 'reader', period: 3600, orphan: true });
  assert.deepEqual((await root.tokenRoles()).data.keys, ['ci']);
  assert.deepEqual((await root.getTokenRole({ role_name: 'ci' })).data.allowed_policies, ['reader']);
  const periodic = (await client(root.token).tokenCreateRole({ role_name: 'ci', policies: ['reader'] })).auth;
  assert.equal(periodic.lease_duration, 3600);
  await root.tokenRevokeOrphan({ token: periodic.client_token });
  await root.removeTokenRole({ role_name: 'ci' });
  const last = client((await client(root.token).tokenCreate({})).auth.client_token);
  await last.tokenRevokeSelf();
  await refused(last.tokenLookupSelf(), 403, 'permission denied');
  await refused(root.tokenLookup({ token: 's.unknown' }), 403, 'bad token');
}

async function userpass(c) {
  await c.enableAuth({ mount_point: 'userpass', type: 'userpass' });
  assert.equal((await c.auths()).data['userpass/'].type, 'userpass');
  await c.write('auth/userpass/users/bob', { password: 'correct horse', policies: 'reader' });
  const bob = client();
  const auth = (await bob.userpassLogin({ username: 'bob', password: 'correct horse' })).auth;
  assert.deepEqual(auth.policies, ['default', 'reader']);
  assert.equal(bob.token, auth.client_token);
  await bob.read('secret/data/a');
  await refused(client().userpassLogin({ username: 'bob', password: 'wrong' }), 400, 'invalid username or password');
  await c.disableAuth({ mount_point: 'userpass' });
  await refused(bob.read('secret/data/a'), 403, 'permission denied');
}

async function approle(c) {
  await c.enableAuth({ mount_point: 'approle', type: 'approle' });
  await c.addApproleRole({ role_name: 'app', policies: 'reader', token_ttl: 600, secret_id_num_uses: 2 });
  assert.deepEqual((await c.approleRoles()).data.keys, ['app']);
  assert.deepEqual((await c.getApproleRole({ role_name: 'app' })).data.token_policies, ['reader']);
  const role_id = (await c.getApproleRoleId({ role_name: 'app' })).data.role_id;
  const made = (await c.getApproleRoleSecret({ role_name: 'app', metadata: '{"host":"a"}' })).data;
  const app = client();
  await app.approleLogin({ role_id, secret_id: made.secret_id });
  await app.read('secret/data/a');
  assert.deepEqual((await c.approleSecretAccessors({ role_name: 'app' })).data.keys, [made.secret_id_accessor]);
  assert.equal((await c.approleSecretLookup({ role_name: 'app', secret_id: made.secret_id })).data.metadata.host, 'a');
  await c.approleSecretAccessorLookup({ role_name: 'app', secret_id_accessor: made.secret_id_accessor });
  await c.approleSecretDestroy({ role_name: 'app', secret_id: made.secret_id });
  await refused(client().approleLogin({ role_id, secret_id: made.secret_id }), 400, 'invalid');
  await c.updateApproleRoleId({ role_name: 'app', role_id: 'chosen' });
  assert.equal((await c.getApproleRoleId({ role_name: 'app' })).data.role_id, 'chosen');
  await c.deleteApproleRole({ role_name: 'app' });
  await c.disableAuth({ mount_point: 'approle' });
}

async function audit(c) {
  await c.enableAudit({ name: 'file', type: 'file', options: { file_path: order.audit } });
  assert.equal((await c.audits()).data['file/'].type, 'file');
  await c.read('secret/data/a');
  await c.disableAudit({ name: 'file' });
  assert.ok(fs.statSync(order.audit).size > 0);
}

async function wrapping(c) {
  const options = { headers: { 'X-Vault-Wrap-TTL': '60s' } };
  const wrapped = (await c.read('secret/data/a', options)).wrap_info;
  secrets.tokens.push(wrapped.token);
  assert.equal(wrapped.ttl, 60);
  assert.equal((await c.unwrap({ token: wrapped.token })).data.data.x, 1);
  await refused(c.unwrap({ token: wrapped.token }), 400, 'wrapping token is not valid or does not exist');
  const own = (await c.read('secret/data/a', { headers: { 'X-Vault-Wrap-TTL': '60s' } })).wrap_info;
  assert.equal((await client(own.token).unwrap({})).data.data.x, 1);
}

async function others(c) {
  assert.ok((await c.help('sys/mounts')).help);
  await c.revoke({ lease_id: 'auth/nothing/x' });
  await refused(c.renew({ lease_id: 'auth/nothing/x' }), 400, 'lease not found');
  await c.revokePrefix({ path_prefix: 'auth/nothing' });
  // What is not there, by each of the commands that would use it.
  const absent = 'no handler for route';
  for (const call of ['encryptData', 'decryptData', 'rewrapData', 'transitCreateKey', 'transitReadKey', 'transitDeleteKey']) {
    await refused(c[call]({ name: 'k', plaintext: 'YQ==' }), 404, absent);
  }
  await refused(c.transitListKeys(), 404, absent);
  for (const [call, args] of Object.entries({
    githubLogin: { token: 'x' },
    ldapLogin: { username: 'x', password: 'x' },
    kubernetesLogin: { mount_point: 'kubernetes', role: 'x', jwt: 'x' },
  })) {
    await refused(client(c.token)[call](args), 404, '');
  }
  await refused(c.generateDatabaseCredentials({ databasePath: 'database', name: 'x' }), 404, absent);
}

async function main() {
  const c = client();
  await life(c);
  await generateRoot(c);
  await mounts(c);
  await keyValue(c);
  await policies(c);
  await tokens(c);
  await userpass(c);
  await approle(c);
  await audit(c);
  await wrapping(c);
  await others(c);
  process.stdout.write(JSON.stringify(secrets));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
