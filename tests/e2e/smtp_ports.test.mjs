// The SMTP ports as operations see them: TLS on each, certificates changed by SIGHUP, guesses, draining, workers, what
// /metrics says.  TESTSSL=1 has testssl.sh look at both (some minutes).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFile, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { FakeRelay } from '../fakes/relay.mjs';
import { KEYS, startHouse, waitFor } from './harness.mjs';
import { RedisServer } from './redis.mjs';
import { SmtpClient, certificate } from './smtp_client.mjs';

process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; // the native API speaks TLS here, with a certificate of the test
const MAIL = 'From: news@shop.example\r\nSubject: hello\r\n\r\nhello\r\n';
const LOOSE = { rejectUnauthorized: false };
/** What is taken goes to the sandbox: it is the ports that are looked at. */
const listening = ({ configure = () => {}, ...options } = {}) =>
  startHouse({
    relay: new FakeRelay(),
    ...options,
    configure(settings) {
      settings.providers = settings.providers.filter(({ name }) => name !== 'relay');
      settings.routes.smtp = 'sandbox';
      configure(settings);
    },
  });

/** Serial number of the certificate that each port shows now. */
async function shown(postern) {
  const web = tls.connect({ port: postern.port, host: '127.0.0.1', ...LOOSE });
  await new Promise((resolve) => web.once('secureConnect', resolve));
  const submission = await SmtpClient.start(postern.smtpPort);
  await submission.starttls(LOOSE);
  const secure = await SmtpClient.start(postern.smtpsPort, { tls: LOOSE });
  const serials = [web.getPeerX509Certificate(), submission.peer, secure.peer].map((one) => one.serialNumber);
  web.destroy();
  for (const client of [submission, secure]) client.end();
  return serials;
}

describe('the ports with TLS', () => {
  let house, postern, first, second;

  before(async () => {
    [first, second] = [await certificate(), await certificate()];
    house = await listening({ tls: first });
    ({ postern } = house);
  });
  after(async () => {
    await house.end();
    for (const one of [first, second]) await one.remove();
  });

  it('offer a login only under TLS', async () => {
    const client = await SmtpClient.start(postern.smtpPort);
    assert.ok(client.offers('STARTTLS'));
    await client.starttls(LOOSE);
    assert.ok(!client.offers('STARTTLS') && client.offers('AUTH'));
    assert.equal((await client.login(KEYS.billing)).code, 235);
    await client.quit();
    const secure = await SmtpClient.start(postern.smtpsPort, { tls: LOOSE });
    assert.ok(!secure.offers('STARTTLS') && secure.offers('AUTH'));
    assert.equal((await secure.login(KEYS.billing)).code, 235);
    await secure.quit();
    assert.ok((await postern.metric('postern_smtp_tls_handshakes_total', { result: 'ok' })) >= 2);
  });

  it('refuse versions that are too old', async () => {
    const failed = await postern.metric('postern_smtp_tls_handshakes_total', { result: 'failed' });
    for (const maxVersion of ['TLSv1', 'TLSv1.1'])
      await assert.rejects(SmtpClient.open(postern.smtpsPort, { tls: { ...LOOSE, minVersion: 'TLSv1', maxVersion, ciphers: 'DEFAULT@SECLEVEL=0' } }));
    await waitFor('both were counted', async () => (await postern.metric('postern_smtp_tls_handshakes_total', { result: 'failed' })) === failed + 2);
  });

  it('show the certificate that a reload brought, and go on under the one that was there', async () => {
    const serials = [first, second].map(({ cert }) => new X509Certificate(cert).serialNumber);
    const open = await SmtpClient.start(postern.smtpsPort, { tls: LOOSE });
    assert.deepEqual(await shown(postern), Array(3).fill(serials[0]));
    await postern.reconfigure(({ listen }) => (listen.tls = { certificate: second.certFile, key: second.keyFile }));
    assert.deepEqual(await shown(postern), Array(3).fill(serials[1]));
    assert.equal(open.peer.serialNumber, serials[0]);
    assert.equal((await open.login(KEYS.billing)).code, 235);
    await open.quit();
  });

  it('show one that was renewed under the same name, and keep theirs while it does not fit its key', async () => {
    const serial = new X509Certificate(first.cert).serialNumber;
    const before = await shown(postern);
    await copyFile(first.certFile, second.certFile);
    assert.equal(await postern.reload(), 'refused');
    assert.match(postern.tail(), /event=refused why="cannot use the TLS key/);
    assert.deepEqual(await shown(postern), before);
    await copyFile(first.keyFile, second.keyFile);
    assert.equal(await postern.reload(), 'applied');
    assert.deepEqual(await shown(postern), Array(3).fill(serial));
  });

  it('have nothing that testssl.sh finds worse than low', { skip: !process.env.TESTSSL, timeout: 1_200_000 }, async (t) => {
    for (const [name, port] of [['STARTTLS', postern.smtpPort], ['TLS', postern.smtpsPort]]) {
      const file = path.join(postern.dir, `testssl-${name}.json`);
      const starttls = name === 'STARTTLS' ? ['--starttls', 'smtp'] : [];
      // Its exit status counts findings of any kind; what it says in the file is judged.
      await promisify(execFile)('testssl', [...starttls, '--quiet', '--color', '0', '--jsonfile', file, `127.0.0.1:${port}`]).catch(() => {});
      const all = JSON.parse(await readFile(file, 'utf8'));
      const bad = all.filter(({ severity }) => ['MEDIUM', 'HIGH', 'CRITICAL', 'FATAL'].includes(severity));
      t.diagnostic(`${name}: ${all.length} findings, ${bad.length} of them worse than low`);
      assert.ok(all.length > 50, 'it looked');
      // What follows from a certificate that this test signed itself is no matter of the port.
      assert.deepEqual(bad.filter(({ id }) => !/^(cert_|DNS_CAA)/.test(id)), []);
    }
  });
});

describe('a port in clear on loopback', () => {
  let house, postern;

  before(async () => {
    house = await listening();
    ({ postern } = house);
  });
  after(() => house.end());

  /** In a session of its own: what the login was answered, and after how long. */
  async function login(key, from) {
    const client = await SmtpClient.start(postern.smtpPort, { from });
    const began = performance.now();
    const { text, code } = await client.login(key);
    client.end();
    return { code, text, ms: performance.now() - began };
  }

  it('takes a login, and counts it', async () => {
    assert.equal((await login(KEYS.billing)).code, 235);
    assert.equal(await postern.metric('postern_smtp_logins_total', { result: 'ok' }), 1);
  });

  it('looks at 20 guesses of an address in a minute; the others, and who was right before, do not notice', async () => {
    const guesses = 200;
    const from = '127.0.0.7';
    assert.equal((await login(KEYS.billing, from)).code, 235);
    const answers = await Promise.all(Array.from({ length: guesses }, (_, i) => login({ login: `user${i % 40}`, secret: `guess-${i}-0123456789abcdef` }, from)));
    assert.deepEqual(new Set(answers.map(({ text }) => text)), new Set([answers[0].text]));
    assert.equal(answers[0].code, 535);
    const wrong = await postern.metric('postern_smtp_logins_total', { result: 'wrong' });
    assert.ok(wrong >= 5 && wrong <= 20, `${wrong} reached the keys`);
    assert.equal(await postern.metric('postern_smtp_logins_total', { result: 'throttled' }), guesses - wrong);
    assert.equal(await postern.metric('postern_smtp_faults_total', { reason: 'auth_failed' }), guesses);
    const took = answers.map(({ ms }) => ms).sort((a, b) => a - b);
    assert.ok(took[0] >= 999, `an answer after ${took[0]} ms`);
    for (const [key, where] of [[KEYS.billing, from], [KEYS.shop, '127.0.0.8']]) {
      let least = Infinity; // of a few: the machine may be busy
      for (let i = 0; i < 5 && least >= 500; i++) {
        const { code, ms } = await login(key, where);
        assert.equal(code, 235);
        least = Math.min(least, ms);
      }
      assert.ok(least < 500, `${least} ms`);
    }
  });

  it('takes a new key right after the reload that brought it, though it was just refused', async () => {
    const key = { secret: 'SG.late.0123456789abcdef0123456789abcdef' };
    const from = '127.0.0.9';
    assert.equal((await login(key, from)).code, 535);
    await postern.reconfigure(({ keys }) => keys.push({ name: 'late', ...key, roles: ['sender'], default_category: 'invoice' }));
    assert.equal((await login(key, from)).code, 235);
  });

  it('ends the session of a key that a reload took away', async () => {
    const client = await SmtpClient.start(postern.smtpPort);
    assert.equal((await client.login({ secret: 'SG.late.0123456789abcdef0123456789abcdef' })).code, 235);
    await postern.reconfigure((settings) => (settings.keys = settings.keys.filter(({ name }) => name !== 'late')));
    await client.expect(250, 'MAIL FROM:<news@shop.example>');
    await client.expect(421, 'RCPT TO:<ada@person.example>');
    await client.gone();
  });

  it('takes other limits with a reload, and says beyond them why not', async () => {
    await postern.reconfigure((settings) => (settings.smtp = { max_recipients: 1, max_connections: 3, max_address_connections: 2 }));
    const [a, b, c] = [await SmtpClient.start(postern.smtpPort), await SmtpClient.start(postern.smtpPort), await SmtpClient.start(postern.smtpPort, { from: '127.0.0.2' })];
    const beyond = [await SmtpClient.open(postern.smtpPort, { from: '127.0.0.3' })];
    assert.match((await beyond[0].reply()).text, /^421 4\.3\.2 /);
    c.end();
    await waitFor('it is gone', async () => (await postern.metric('postern_smtp_connections')) === 2);
    beyond.push(await SmtpClient.open(postern.smtpPort));
    assert.match((await beyond[1].reply()).text, /^421 4\.7\.0 /);
    assert.equal((await a.login(KEYS.billing)).code, 235);
    await a.expect(250, 'MAIL FROM:<news@shop.example>');
    await a.expect(250, 'RCPT TO:<ada@person.example>');
    await a.expect(452, 'RCPT TO:<bob@person.example>');
    assert.equal(await postern.metric('postern_smtp_refused_connections_total'), 2);
    for (const one of [a, b, ...beyond]) one.end();
    await postern.reconfigure((settings) => delete settings.smtp);
  });

  it('tells idle clients that it ends, and answers what was begun', async () => {
    const ada = await postern.person();
    const [idle, busy] = [await SmtpClient.start(postern.smtpPort), await SmtpClient.start(postern.smtpPort)];
    assert.equal((await busy.login(KEYS.billing)).code, 235);
    await busy.expect(250, 'MAIL FROM:<news@shop.example>');
    await busy.expect(250, `RCPT TO:<${ada.email}>`);
    await busy.expect(354, 'DATA');
    const ended = postern.terminate();
    assert.match((await idle.reply()).text, /^421 4\.3\.2 /);
    await idle.gone();
    busy.write(`${MAIL}.\r\n`);
    const reply = await busy.reply();
    assert.match(reply.text, /^(250|451|421) /, 'an answer of one kind or the other, not silence');
    await busy.gone();
    assert.deepEqual(await ended, { code: 0, signal: null }, postern.tail());
    await postern.launch();
  });
});

describe('the ports of several workers', () => {
  let house, postern, redis;

  before(async () => {
    redis = await RedisServer.start();
    house = await listening({ configure: (settings) => Object.assign(settings, { counters: redis.url, workers: 2 }) });
    ({ postern } = house);
  });
  after(async () => {
    await house?.end();
    await redis?.stop();
  });

  it('are served by both, and by the one that is left', async () => {
    const serve = async () => {
      const clients = await Promise.all(Array.from({ length: 24 }, () => SmtpClient.start(postern.smtpPort)));
      const codes = await Promise.all(clients.map(async (client) => (await client.login(KEYS.billing)).code));
      for (const client of clients) client.end();
      return new Set(codes);
    };
    assert.deepEqual(await serve(), new Set([235]));
    await waitFor('one figure for both', async () => (await postern.metric('postern_smtp_logins_total', { result: 'ok' })) === 24);
    process.kill(postern.workers[1], 'SIGKILL');
    await waitFor('its place is taken', () => postern.log.match(/event=worker_ended worker=1/));
    await waitFor('connections are served', async () => (await serve().catch(() => undefined))?.size === 1);
  });
});
