// How long a client by SMTP may take, and how often it may guess, by the real binary, whose even clock is moved: until
// its time is up it is listened to, then it hears 421 and is gone.
import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { KEYS, compiled, waitFor } from './harness.mjs';
import { FROM, QUEUED, loggedIn, startMailHouse } from './smtp.mjs';
import { SmtpClient } from './smtp_client.mjs';

const LATE = /^421 4\.4\.2 Timeout/;
let house, postern, dir, clock, ahead = 0;

before(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'postern-clock-'));
  clock = await open(path.join(dir, 'ahead'), 'w+');
  await clock.write(Buffer.alloc(8));
  const shim = await compiled('moved_clock.c', { shared: true, libraries: ['-ldl'] });
  const link = `${process.env.ASAN_OPTIONS ? `${process.env.ASAN_OPTIONS}:` : ''}verify_asan_link_order=0`;
  house = await startMailHouse({ tls: true, env: { LD_PRELOAD: shim, MOVED_CLOCK: path.join(dir, 'ahead'), ASAN_OPTIONS: link } });
  ({ postern } = house);
});
after(async () => {
  await house.end();
  await clock.close();
  await rm(dir, { recursive: true });
});

/** So many seconds later; what was due meanwhile has been done. */
async function later(seconds) {
  ahead += seconds * 1000;
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(Math.round(ahead)));
  await clock.write(bytes, 0, 8, 0);
  for (let i = 0; i < 3; i++) assert.equal((await fetch(`${postern.url}/healthz`)).status, 200); // each is a turn of the loop
}
const gone = (one) => waitFor('the end of it', () => one.closed);
const hearsLate = async (one) => {
  assert.match((await one.reply()).text, LATE);
  await one.gone();
};
/** Where its content is awaited. */
async function atData() {
  const one = await loggedIn(house);
  await one.expect(250, `MAIL FROM:<${FROM}>`);
  await one.expect(250, `RCPT TO:<${(await postern.person()).email}>`);
  await one.expect(354, 'DATA');
  return one;
}
const alive = (...all) => assert.deepEqual(all.map((one) => one.closed), all.map(() => false));

describe('who is silent', { timeout: 30_000 }, () => {
  it('has 10 s for a handshake', async () => {
    const one = { closed: false, socket: net.connect(postern.smtpsPort, '127.0.0.1') };
    one.socket.on('data', () => {}).on('close', () => (one.closed = true));
    await waitFor('it is there', async () => (await postern.metric('postern_smtp_connections')) === 1);
    const timeouts = await postern.metric('postern_smtp_timeouts_total');
    await later(5);
    alive(one);
    await later(6);
    await gone(one);
    assert.equal(await postern.metric('postern_smtp_timeouts_total'), timeouts + 1);
  });

  it('has 300 s for a command, before the login, after it and in a transaction', async () => {
    const [fresh, idle, mail] = [await SmtpClient.start(postern.smtpPort), await loggedIn(house), await loggedIn(house)];
    await mail.expect(250, `MAIL FROM:<${FROM}>`);
    await later(285);
    alive(fresh, idle, mail);
    await idle.expect(250, 'NOOP');
    await later(20);
    for (const one of [fresh, mail]) await hearsLate(one);
    await idle.expect(250, 'NOOP');
    idle.end();
  });

  it('has 180 s for the next piece of the data', async () => {
    const [one, other] = [await atData(), await atData()];
    for (const both of [one, other]) await both.push(`Subject: s\r\n\r\n${'Hello to you.\r\n'.repeat(2000)}`); // not slow for minutes
    await later(165);
    alive(one, other);
    other.write('Hello\r\n');
    await later(20);
    await hearsLate(one);
    other.write('.\r\n');
    assert.match((await other.reply()).text, QUEUED);
    other.end();
  });

  it('sends at least 64 bytes a second of the data, after the first minute', async () => {
    const [slow, steady] = [await atData(), await atData()];
    const head = 'Subject: s\r\n\r\n';
    slow.write(head + 'x'.repeat(58 * 64 - head.length));
    steady.write(head + 'x'.repeat(90 * 64 - head.length));
    await later(50);
    alive(slow, steady);
    await later(12);
    await hearsLate(slow);
    steady.write('\r\n.\r\n');
    assert.match((await steady.reply()).text, QUEUED);
    steady.end();
  });

  it('has 10 s when more than two thirds of the connections are taken', async () => {
    await waitFor('the others are gone', async () => (await postern.metric('postern_smtp_connections')) === 0);
    await postern.reconfigure((settings) => (settings.smtp = { max_connections: 3 }));
    const [first, second] = [await SmtpClient.start(postern.smtpPort), await SmtpClient.start(postern.smtpPort)];
    await later(60);
    alive(first, second);
    const third = await SmtpClient.start(postern.smtpPort);
    await first.expect(250, 'NOOP');
    await second.expect(250, 'NOOP');
    await later(5);
    alive(first, second, third);
    for (const one of [first, second]) await one.expect(250, 'NOOP');
    await later(6);
    await hearsLate(third);
    for (const one of [first, second]) one.end();
    await postern.reconfigure((settings) => delete settings.smtp);
  });
});

describe('who guesses', { timeout: 30_000 }, () => {
  const count = async (result) => postern.metric('postern_smtp_logins_total', { result });
  /** The answer to a wrong login, which comes a second later than the question. */
  async function guess(from, login, n) {
    const one = await SmtpClient.start(postern.smtpPort, { from });
    const before = (await count('wrong')) + (await count('throttled'));
    const answer = one.login({ login, secret: `guess-${n}-0123456789abcdef` });
    await waitFor('it is looked at', async () => (await count('wrong')) + (await count('throttled')) > before, { every: 1 });
    assert.equal(one.text.includes('535'), false, 'it comes late');
    await later(1);
    assert.match((await answer).text, /^535 5\.7\.8 Authentication credentials invalid$/);
    one.end();
  }

  it('has 20 guesses of an address in a minute looked at, and no more; all hear the same', async () => {
    const wrong = await count('wrong');
    for (let i = 0; i < 40; i++) await guess('127.0.0.11', `user${i}`, i); // one a second
    const seen = (await count('wrong')) - wrong;
    assert.ok(seen >= 15 && seen <= 20, `${seen} reached the keys`);
    await guess('127.0.0.12', 'user1', 1);
    assert.equal((await count('wrong')) - wrong, seen + 1, 'another address is another matter');
    const one = await SmtpClient.start(postern.smtpPort, { from: '127.0.0.12' });
    assert.equal((await one.login(KEYS.billing)).code, 235);
    one.end();
  });

  it('has 5 guesses at one login looked at, and one more after a quarter of a minute', async () => {
    const before = { wrong: await count('wrong'), throttled: await count('throttled') };
    const since = async () => [(await count('wrong')) - before.wrong, (await count('throttled')) - before.throttled];
    for (let i = 0; i < 5; i++) await guess('127.0.0.13', 'apikey', i);
    assert.deepEqual(await since(), [5, 0]);
    await guess('127.0.0.13', 'apikey', 5);
    assert.deepEqual(await since(), [5, 1]);
    await later(15);
    await guess('127.0.0.13', 'apikey', 6);
    assert.deepEqual(await since(), [6, 1]);
  });
});
