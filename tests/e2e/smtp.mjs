// What the tests of mail by SMTP share: a house with a relay behind it, and mail sent through it by nodemailer or by the
// raw client.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import nodemailer from 'nodemailer';
import { FakeRelay } from '../fakes/relay.mjs';
import { KEYS, startHouse } from './harness.mjs';
import { SmtpClient, certificate } from './smtp_client.mjs';

/** What Postern says of a mail that it handed on: the relay's own id. */
export const QUEUED = /^250 2\.0\.0 Ok: queued as R\d{8}$/;
export const NOTHING_ILLEGAL = { bareCr: 0, bareLf: 0, nul: 0, unstuffed: 0 };
export const FROM = 'news@shop.example';

/**
 * A house with a fake relay: { postern, relay, cert, ... }.  relay: options of FakeRelay, or a FakeRelay; tls: true for
 * STARTTLS and implicit TLS (and HTTPS).
 */
export async function startMailHouse({ relay = {}, tls = false, ...options } = {}) {
  const cert = tls ? await certificate() : undefined;
  if (tls) process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; // for fetch; SMTP clients are given the certificate
  const house = await startHouse({ relay: relay instanceof FakeRelay ? relay : new FakeRelay(relay), tls: cert, ...options });
  return {
    ...house,
    cert,
    end: async () => {
      await house.end();
      await cert?.remove();
    },
  };
}

/** How nodemailer reaches Postern; how: plain, starttls, tls; key: a name of KEYS, or a secret. */
export function transportOptions({ postern, cert }, { key = 'billing', how = 'plain', ...more } = {}) {
  const ways = {
    plain: { port: postern.smtpPort, ignoreTLS: true },
    starttls: { port: postern.smtpPort, requireTLS: true, tls: { ca: cert?.cert, rejectUnauthorized: true, servername: 'localhost' } },
    tls: { port: postern.smtpsPort, secure: true, tls: { ca: cert?.cert, rejectUnauthorized: true, servername: 'localhost' } },
  };
  return { host: '127.0.0.1', auth: { user: 'apikey', pass: KEYS[key]?.secret ?? key }, ...ways[how], ...more };
}

/** One mail through nodemailer; what its caller sees: info, or { error }. */
export async function submit(house, mail, { lib = nodemailer, ...options } = {}) {
  const transport = lib.createTransport(transportOptions(house, options));
  try {
    return await transport.sendMail({ from: FROM, subject: 'Spring', text: 'Hello from the shop', ...mail });
  } catch (error) {
    if (!error.responseCode && error.name === 'TypeError') throw error;
    return { error };
  } finally {
    transport.close();
  }
}

/** A raw client, logged in. */
export async function loggedIn({ postern }, key = 'billing', options = {}) {
  const client = await SmtpClient.start(postern.smtpPort, options);
  const reply = await client.login(KEYS[key] ?? { secret: key });
  assert.equal(reply.code, 235, reply.text);
  return client;
}

/** For the answer to what is beyond a limit; sanitizers are slow. */
const AT_ONCE_MS = process.env.ASAN_OPTIONS || /asan|coverage/.test(process.env.POSTERN ?? '') ? 500 : 50;

/** The reply to a line (or to having come: no line), and the milliseconds that it took. */
export async function timed(one, line) {
  const began = performance.now();
  const { text } = await (line === undefined ? one.reply() : one.command(line));
  return { text, ms: performance.now() - began };
}

/** What ask() is answered, each time; and once of a few times at once: the machine may be busy. */
export async function hearsAtOnce(refusal, ask) {
  let least = Infinity;
  for (let i = 0; i < 15 && least >= AT_ONCE_MS; i++) {
    const { text, ms } = await ask();
    assert.match(text, refusal);
    least = Math.min(least, ms);
  }
  assert.ok(least < AT_ONCE_MS, `it took ${least.toFixed(1)} ms`);
}

/**
 * A mail by SMTP on a connection of its own: { status, text, rcpts }.  The status is that of what ended it (a refusal of
 * the greeting or of the login, of DATA, or the answer to the content), or 0, when the server went away; rcpts: the code that each recipient heard.
 */
export async function deliver(port, key, { from, to, bytes }) {
  let client;
  try {
    client = await SmtpClient.open(port);
    for (const [code, say] of [[220, () => client.reply()], [250, () => client.command('EHLO client.example')], [235, () => client.login(key)]]) {
      const reply = await say();
      if (reply?.code !== code) return { status: reply?.code ?? 0, text: reply?.text ?? '', rcpts: [] };
    }
    const { mail, rcpts, data, end } = await client.send({ from, to, content: bytes });
    const last = data?.code === 354 ? end : data;
    const refused = mail !== undefined && mail.code !== 250 ? mail : undefined;
    return { status: (refused ?? last)?.code ?? 0, text: (refused ?? last)?.text ?? '', rcpts: rcpts.map((one) => one?.code ?? 0) };
  } catch (error) {
    if (error.code === 'ERR_ASSERTION') throw error; // it was waited for in vain
    return { status: 0, text: '', rcpts: [] };
  } finally {
    client?.end();
  }
}

/** Content of a small mail, as bytes with CRLF. */
export function content({ to = 'someone@mail.example', from = FROM, fields = [], body = 'Hello from the shop' } = {}) {
  return Buffer.from([`From: ${from}`, `To: ${to}`, 'Subject: Spring', ...fields, '', body, ''].join('\r\n'));
}

/** A decision id out of a reply. */
export const decisionIn = (text) => /dec_[0-9a-f]{16,}/.exec(text)?.[0];

/** A program's end: { code, stdout, stderr }. */
export function run(program, args, { input, ...options } = {}) {
  return new Promise((resolve) => {
    const child = execFile(program, args, { timeout: 30_000, maxBuffer: 1 << 26, ...options }, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr }),
    );
    if (input !== undefined) child.stdin.end(input);
  });
}
