// Secrets stay in, strangers stay out, what is written can be believed: TLS, credentials, addresses that are dialled,
// logs and metrics, the audit of a spoilt copy.  The one idea: everything is looked at from outside, where an attacker
// or an auditor stands.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { after, before, describe, it } from 'node:test';
import { FakeCallback } from '../fakes/callback.mjs';
import { behave } from '../fakes/server.mjs';
import { configuration, environment, yaml } from './config.mjs';
import { KEYS, POSTERND, freePort, sqlite, startHouse, waitFor } from './harness.mjs';

const run = promisify(execFile);
const HERE = fileURLToPath(new URL('.', import.meta.url));

// --- TLS ----------------------------------------------------------------------------------------------------------

describe('listen.tls', { timeout: 30_000 }, () => {
  let dir, child, port, ca;
  let log = '';

  before(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'postern-tls-'));
    await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', 'tls.key', '-out', 'tls.crt'], { cwd: dir });
    ca = await readFile(path.join(dir, 'tls.crt'));
    port = await freePort();
    const settings = configuration({ port });
    settings.listen.tls = { certificate: 'tls.crt', key: 'tls.key' };
    delete settings.public_url;
    await writeFile(path.join(dir, 'postern.yaml'), `${yaml(settings).trimStart()}\n`);
    child = spawn(POSTERND, ['-c', 'postern.yaml'], { cwd: dir, env: { ...process.env, ...environment({}) }, stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.setEncoding('utf8').on('data', (text) => (log += text));
    await waitFor('readiness', () => log.includes('event=ready'));
  });
  after(async () => {
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    assert.equal(code, 0, log);
    await rm(dir, { recursive: true });
  });

  const get = (options = {}) =>
    new Promise((resolve, reject) => {
      https.get({ host: '127.0.0.1', port, path: '/readyz', ca, agent: false, ...options }, (answer) => answer.resume().on('end', () => resolve(answer))).on('error', reject);
    });

  it('serves clients that have the certificate, by 1.2 and 1.3', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3']) assert.equal((await get({ minVersion: version, maxVersion: version })).statusCode, 200);
    await assert.rejects(get({ ca: undefined }), /self.signed/);
  });

  it('serves both SDKs, told of the certificate by NODE_EXTRA_CA_CERTS alone', async () => {
    const script = `
      import sgMail from '@sendgrid/mail';
      import twilio from 'twilio';
      sgMail.setApiKey('${KEYS.billing.secret}');
      sgMail.client.setDefaultRequest('baseUrl', 'https://localhost:${port}/');
      const [mail] = await sgMail.send({ from: 'a@shop.example', to: 'b@mail.example', subject: 's', text: 't' });
      const client = twilio('${KEYS['billing-sms'].account}', '${KEYS['billing-sms'].secret}');
      client.api.baseUrl = 'https://localhost:${port}';
      const sms = await client.messages.create({ from: '+12125550199', to: '+12125550123', body: 't' });
      console.log(mail.statusCode, sms.sid);`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: HERE, env: { ...process.env, NODE_EXTRA_CA_CERTS: path.join(dir, 'tls.crt') } });
    assert.match(stdout, /^202 SM[0-9a-f]{32}\n$/);
  });

  it('refuses TLS 1.1, and weak suites of 1.2', async () => {
    await assert.rejects(get({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    for (const ciphers of ['AES128-GCM-SHA256', 'ECDHE-ECDSA-AES128-SHA'])
      await assert.rejects(get({ maxVersion: 'TLSv1.2', ciphers: `${ciphers}@SECLEVEL=0` }), ciphers);
  });

  it('speaks no plain HTTP: closed without an answer, and well afterwards', async () => {
    const socket = net.connect(port, '127.0.0.1');
    let heard = '';
    socket.setEncoding('latin1').on('data', (text) => (heard += text)).on('error', () => {});
    socket.write('GET /readyz HTTP/1.1\r\nHost: p\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    assert.doesNotMatch(heard, /HTTP/);
    assert.equal((await get()).statusCode, 200);
  });

  it('does not renegotiate', async () => {
    const socket = tls.connect({ host: '127.0.0.1', port, ca, maxVersion: 'TLSv1.2' });
    await once(socket, 'secureConnect');
    const how = await new Promise((resolve) => {
      socket.on('error', resolve).on('close', () => resolve('closed'));
      socket.renegotiate({}, (error) => resolve(error ?? 'renegotiated'));
      setTimeout(resolve, 1000, 'no answer').unref();
    });
    socket.destroy();
    assert.notEqual(how, 'renegotiated');
  });
});

// --- one house for what needs nothing special ------------------------------------------------------------------------

describe('a running Postern', { timeout: 60_000 }, () => {
  let house, postern, mail, sms, elsewhere;

  before(async () => {
    elsewhere = await new FakeCallback().start();
    const proxy = Object.fromEntries(['http_proxy', 'https_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'].map((name) => [name, elsewhere.url]));
    house = await startHouse({ env: proxy, configure: (settings) => settings.callbacks.allow.push('http://169.254.169.254') });
    ({ postern, mail, sms } = house);
  });
  after(async () => {
    await house.end();
    await elsewhere.stop();
  });

  describe('credentials', () => {
    const { account, secret } = KEYS['shop-sms'];
    const basic = (user, password) => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    const bearer = (text) => `Bearer ${text}`;
    const rows = [
      ['none', undefined, undefined],
      ['empty', '', ''],
      ['a word', 'x', 'x'],
      ['one byte less', bearer(KEYS.shop.secret.slice(0, -1)), basic(account, secret.slice(0, -1))],
      ['one byte more', bearer(`${KEYS.shop.secret}0`), basic(account, `${secret}0`)],
      ['another case', bearer(KEYS.shop.secret.toUpperCase()), basic(account, secret.toUpperCase())],
      ['no secret', bearer(''), basic(account, '')],
      ['the admin’s', bearer(KEYS.admin.secret), basic(account, KEYS.admin.secret)],
      ['another account’s secret', bearer(`${KEYS.shop.secret} ${KEYS.desk.secret}`), basic(account, KEYS['desk-sms'].secret)],
      ['broken base64', 'Basic !!!!', 'Basic !!!!'],
    ];
    for (const [name, forMail, forSms] of rows)
      it(`${name}: 401 in the words of the dialect, and nothing is sent`, async () => {
        const [seenMail, seenSms] = [mail.requests.length, sms.requests.length];
        const post = (target, authorization, type, body) => fetch(postern.url + target, { method: 'POST', body, headers: { 'Content-Type': type, ...(authorization === undefined ? {} : { Authorization: authorization }) } });
        const one = await post('/v3/mail/send', forMail, 'application/json', '{}');
        assert.equal(one.status, 401);
        assert.ok(Array.isArray((await one.json()).errors));
        const two = await post(`/2010-04-01/Accounts/${account}/Messages.json`, forSms, 'application/x-www-form-urlencoded', 'To=%2B12125550100&From=%2B12125550199&Body=x');
        assert.equal(two.status, 401);
        assert.deepEqual([(await two.json()).code, mail.requests.length, sms.requests.length], [20003, seenMail, seenSms]);
      });

    it('of a sender do not open what is for staff, and none opens nothing', async () => {
      const ada = await postern.person();
      assert.equal((await postern.call('GET', `/postern/v1/contacts/${ada.id}`, undefined, { key: 'shop' })).status, 403);
      for (const target of [`/postern/v1/contacts/${ada.id}`, '/postern/v1/deferred', '/postern/v1/sandbox/messages'])
        assert.equal((await postern.call('GET', target, undefined, { key: null })).status, 401);
    });
  });

  describe('addresses that are dialled', () => {
    const callbackOf = async (url) => {
      await postern.newDay('22:00', 'tue');
      const ada = await postern.subscriber();
      const { message } = await postern.sms({ to: ada.phone, statusCallback: url });
      await postern.twilio().messages(message.sid).update({ status: 'canceled' });
      return message.sid;
    };

    it('a StatusCallback goes only to origins that are allowed', async () => {
      const spellings = [elsewhere.url, `${elsewhere.url}/x`, elsewhere.url.replace('127.0.0.1', 'localhost'), `${house.callbacks.url}@${new URL(elsewhere.url).host}/`,
        `${house.callbacks.url}.evil.example/`, `http://${new URL(house.callbacks.url).host}:80@${new URL(elsewhere.url).host}/`];
      for (const url of spellings) await callbackOf(`${url}`).catch((error) => assert.ok(error.status >= 400 && error.status < 500, String(error)));
      const control = await callbackOf(`${house.callbacks.url}/cb`);
      await waitFor('the allowed one', () => house.callbacks.about(control).length > 0);
      assert.equal(elsewhere.requests.length, 0);
    });

    it('an allowed origin that is a metadata service is not dialled either', async () => {
      await callbackOf('http://169.254.169.254/latest/meta-data/');
      await waitFor('the refusal in the log', () => /event=address_refused .*no provider can have/.test(postern.log));
    });

    it('a provider’s redirect is not followed, and the environment’s proxies are not used', async () => {
      await postern.newDay('12:00');
      const ada = await postern.person();
      for (const status of [301, 302, 307, 308]) {
        mail.when('/v3/mail/send', behave.answer(status, { Location: `${elsewhere.url}/v3/mail/send` }, ''), 1);
        // What the provider says is passed on; the application's client must not be the one that follows it here.
        const json = JSON.stringify({ personalizations: [{ to: [{ email: ada.email }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] });
        await fetch(`${postern.url}/v3/mail/send`, { method: 'POST', redirect: 'manual', body: json, headers: { Authorization: `Bearer ${KEYS.billing.secret}`, 'Content-Type': 'application/json' } });
      }
      assert.equal(mail.sends(ada.email).length, 4, 'the provider itself was asked, by no proxy');
      assert.equal(elsewhere.requests.length, 0);
    });
  });

  describe('what is written about it all', () => {
    it('logs and metrics hold nothing of what passed through', async () => {
      await postern.newDay('12:00');
      let n = 0;
      const canary = (where) => postern.keepSecret(`canary-${where}-${n++}-${process.pid}`);
      for (let round = 0; round < 8; round++) await sendCanaries(canary);
      await postern.idle(200);
      postern.assertCleanLog();
      const metrics = await (await fetch(`${postern.url}/metrics`)).text();
      assert.doesNotMatch(metrics, /canary/);
      const columns = await sqlite(path.join(postern.dir, 'postern.db'), "SELECT kind, body, at_ms, ref FROM audit; SELECT name FROM sqlite_schema");
      const packed = await sqlite(path.join(postern.dir, 'postern.db'), 'SELECT hex(entries) FROM intents; SELECT hex(entries) FROM sends');
      const counted = Buffer.from(packed.replaceAll(/\s/g, ''), 'hex').toString('latin1');
      assert.match(counted, /newsletter/, 'the log of sends was read');
      assert.ok(columns.includes('decision'), 'the audit was read');
      assert.doesNotMatch(columns + counted, /canary|@mail\.example|\+1\d{10}/, 'what is not personal in the audit holds nobody and nothing of a message');
      const { stdout: found } = await run('grep', ['-rlE', '--exclude=postern.db*', 'canary-[a-z]+-[0-9]+-', postern.dir]).catch((error) => error);
      assert.equal(found, '', 'no other file holds any of it');
      assert.ok(n >= 200, `${n} canaries`);
    });

    /** One in everything that clients and providers say. */
    async function sendCanaries(canary) {
      const ada = await postern.subscriber();
      const text = () => canary('text');
      await postern.mail({ to: { email: ada.email, name: canary('name') }, subject: canary('subject'), text: text(), html: `<b>${text()}</b>`, customArgs: { a: canary('arg') }, categories: [canary('category')], headers: { 'X-Own': canary('header') } });
      await postern.mail({ to: `${canary('to')}@mail.example`, from: { email: 'a@shop.example', name: canary('from') }, subject: canary('subject') });
      await postern.mail({ to: ada.email, subject: canary('subject') }, { key: canary('key') });
      await postern.sms({ to: ada.phone, body: canary('body') });
      await postern.sms({ to: canary('number'), body: canary('body') });
      await postern.sms({ to: ada.phone, body: canary('body') }, { key: { account: KEYS.shop.account ?? `AC${'8'.repeat(32)}`, secret: canary('token') } });
      await postern.raw('POST', `/v3/mail/send?q=${canary('query')}`, `{"personalizations":"${canary('broken')}`);
      await postern.raw('POST', `/v3/mail/send`, `{"from":{"email":"${canary('from')}"}}`);
      await postern.raw('GET', `/v3/templates/${canary('path')}`);
      await postern.raw('GET', `/${canary('nowhere')}`);
      await postern.call('PUT', `/postern/v1/contacts/${ada.id}`, { [canary('field')]: canary('value') });
      await postern.call('POST', '/postern/v1/opt-outs', { address: `${canary('optout')}@mail.example`, scope: 'global', source: 'customer', reason: canary('reason') });
      await postern.call('GET', '/postern/v1/deferred', undefined, { headers: { Authorization: `Bearer ${canary('admin')}` } });
      mail.when('/v3/mail/send', behave.answer(400, { 'Content-Type': 'application/json', 'X-Own': canary('answer') }, JSON.stringify({ errors: [{ message: canary('refusal') }] })), 1);
      await postern.mail({ to: ada.email }, { key: 'billing' });
    }

    it('one event is one line of logfmt, whatever a client says', async () => {
      const lines = postern.log.split('\n').length;
      const hostile = ['a\nts=2031-01-01T00:00:00Z level=error module=x event=forged', 'a\u001b[2Jb', 'a" level=error "b', 'a\u2028b\u202ec', 'a\\', '\u0000'];
      const ada = await postern.person();
      for (const text of hostile) {
        const json = JSON.stringify({ personalizations: [{ to: [{ email: ada.email }], custom_args: { postern_category: text } }], from: { email: 'a@shop.example' }, subject: text, categories: [text], content: [{ type: text, value: text }] });
        await postern.raw('POST', '/v3/mail/send', json);
        await postern.raw('POST', `/v3/${encodeURIComponent(text)}`, '{}');
        await postern.raw('POST', `/2010-04-01/Accounts/${KEYS['shop-sms'].account}/Messages.json`, new URLSearchParams({ To: text, From: text, Body: text, MessagingServiceSid: text }).toString(), { key: 'shop-sms' });
        await postern.call('PUT', `/postern/v1/contacts/${encodeURIComponent(text)}`, { zone: text });
        await postern.call('POST', '/postern/v1/opt-outs', { address: text, scope: text, source: text, reason: text });
      }
      const logfmt = /^ts=\d{4}-\d\d-\d\dT[\d:.]+Z level=(error|warn|info|debug)( id=[\w-]+)? module=\w+ event=\w+( [a-z_0-9]+=("(\\["\\]|\\x[0-9a-f]{2}|[^"\\])*"|[^\s"]*))*$/;
      assert.ok(postern.log.split('\n').length > lines, 'something was logged');
      for (const line of postern.log.trimEnd().split('\n')) {
        assert.match(line, logfmt);
        assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/);
      }
      assert.doesNotMatch(postern.log, /^ts=2031\S+ level=error module=x/m);
    });

    it('/metrics is what the text format 0.0.4 allows', async () => {
      const answer = await fetch(`${postern.url}/metrics`);
      assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
      assertExposition(await answer.text());
    });

    it('leaves no core, where secrets would lie', async () => {
      assert.match(await readFile(`/proc/${postern.pid}/limits`, 'utf8'), /^Max core file size +0 +0 +bytes/m);
    });
  });
});

/** Prometheus' text format, strictly: HELP and TYPE once and first, samples together and once, histograms whole. */
function assertExposition(text) {
  assert.ok(text.endsWith('\n'));
  const families = new Map();
  const seen = new Set();
  let family, helped;
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-z_:][a-z0-9_:]*) \S.*$/.exec(line);
    const type = /^# TYPE ([a-z_:][a-z0-9_:]*) (counter|gauge|histogram)$/.exec(line);
    if (help) {
      helped = help[1];
    } else if (type) {
      assert.equal(type[1], helped, 'TYPE follows HELP');
      assert.ok(!families.has(type[1]), `${type[1]} twice`);
      family = { name: type[1], type: type[2], samples: [] };
      families.set(family.name, family);
    } else {
      const [, name, labels = '', value] = /^([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (\S+)$/.exec(line) ?? assert.fail(`no sample: ${line}`);
      const suffix = name.slice(family.name.length);
      assert.ok(name.startsWith(family.name) && (family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']).includes(suffix), `${name} under ${family.name}`);
      assert.ok(!Number.isNaN(Number(value)) && (family.type === 'gauge' || Number(value) >= 0), line);
      assert.ok(!seen.has(`${name}{${labels}}`), `${name}{${labels}} twice`);
      seen.add(`${name}{${labels}}`);
      family.samples.push({ suffix, labels, value: Number(value) });
    }
  }
  for (const { name, type, samples } of families.values()) {
    if (type === 'counter') assert.match(name, /_total$/);
    if (type === 'gauge') assert.doesNotMatch(name, /_total$/);
    if (type !== 'histogram') continue;
    const counts = samples.filter((one) => one.suffix === '_count');
    assert.ok(counts.length > 0);
    for (const { labels, value } of counts) {
      const buckets = samples.filter((one) => one.suffix === '_bucket' && one.labels.startsWith(`${labels},le=`)).map((one) => one.value);
      assert.deepEqual(buckets, buckets.toSorted?.((a, b) => a - b) ?? buckets, 'cumulative');
      assert.equal(buckets.at(-1), value, '+Inf is the count');
    }
  }
  assert.ok(families.size > 20);
}

// --- the audit of a spoilt copy ---------------------------------------------------------------------------------------

describe('audit verify on a copy that somebody spoilt', { timeout: 30_000 }, () => {
  let house, postern;
  const at = (name) => path.join(postern.dir, name);

  before(async () => {
    house = await startHouse();
    ({ postern } = house);
    const ada = await postern.subscriber();
    for (let i = 0; i < 5; i++) await postern.mail({ to: ada.email }, { key: 'billing' });
    await postern.idle(200);
    await postern.terminate();
    const text = await readFile(postern.file, 'utf8');
    await writeFile(at('copy.yaml'), text.replace('sqlite:postern.db', 'sqlite:copy.db'));
  });
  after(() => house.end());

  async function verify(spoil) {
    for (const name of ['db', 'db.audit-key']) await copyFile(at(`postern.${name}`), at(`copy.${name}`));
    await rm(at('copy.db-wal'), { force: true });
    if (spoil) await sqlite(at('copy.db'), spoil);
    return postern.ctl('-c', 'copy.yaml', 'audit', 'verify');
  }

  it('a copy as it is holds', async () => {
    const { code, stdout, stderr } = await verify();
    assert.equal(code, 0, stdout + stderr);
  });

  const copy = 'SELECT at_ms, kind, ref, body, personal, personal_digest, hash FROM audit WHERE seq = 4';
  const columns = 'at_ms, kind, ref, body, personal, personal_digest, hash';
  const rows = [
    ['a changed body', "UPDATE audit SET body = replace(body, '\"', '\"\"') WHERE seq = 5", 5],
    ['a changed time', 'UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 5', 5],
    ['a changed kind', "UPDATE audit SET kind = kind || 'x' WHERE seq = 5", 5],
    ['a changed reference', 'UPDATE audit SET ref = ref + 1 WHERE seq = 5', 5],
    ['changed personal data', "UPDATE audit SET personal = personal || 'x' WHERE seq = (SELECT min(seq) FROM audit WHERE personal IS NOT NULL)", null],
    ['a changed hash', "UPDATE audit SET hash = zeroblob(32) WHERE seq = 5", 5],
    ['a removed row', 'DELETE FROM audit WHERE seq = 5', 5],
    ['a removed first row', 'DELETE FROM audit WHERE seq = 1', 1],
    ['a removed row, the rest renumbered', 'DELETE FROM audit WHERE seq = 5; UPDATE audit SET seq = seq - 1 WHERE seq > 5', 5],
    ['an inserted row', `UPDATE audit SET seq = -seq - 1 WHERE seq > 4; UPDATE audit SET seq = -seq WHERE seq < 0; INSERT INTO audit (seq, ${columns}) SELECT 5, * FROM (${copy})`, 5],
    ['a row added at the end', `INSERT INTO audit (seq, ${columns}) SELECT (SELECT max(seq) + 1 FROM audit), * FROM (${copy})`, null],
    ['two rows swapped', 'UPDATE audit SET seq = -5 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 6; UPDATE audit SET seq = 6 WHERE seq = -5', 5],
    ['the last row cut off', 'DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)', null],
    ['cut off after the fifth, the head told so', 'DELETE FROM audit WHERE seq > 5; UPDATE audit_head SET seq = 5, hash = (SELECT hash FROM audit WHERE seq = 5)', null],
    ['all rows removed', 'DELETE FROM audit', null],
    ['the head removed', 'DELETE FROM audit_head', null],
    ['a changed signature', 'UPDATE audit_head SET mac = zeroblob(32)', null],
  ];
  for (const [name, spoil, row] of rows)
    it(`${name}: exit status 1, named`, async (t) => {
      const { code, stdout, stderr } = await verify(spoil);
      t.diagnostic(stdout.trim());
      assert.equal(code, 1, stdout + stderr);
      assert.match(stdout, row === null ? /^audit: (row \d+|.*head)/ : new RegExp(`^audit: row ${row}: `));
    });
});
