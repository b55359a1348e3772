// Drives one real posternd for a test: writes its configuration into a directory of its own, starts it on a free port
// with the zone of the process far from the recipients', waits until it is ready, speaks to it with the providers' own
// SDKs and with the native API, moves its clock, kills or stops it.  It knows the documented interfaces only; the one
// idea is that a test asks three witnesses: what the SDK's caller saw, what the fake provider received, and what
// Postern itself says it decided.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import sgMail from '@sendgrid/mail';
import twilio from 'twilio';
import { FakeCallback } from '../fakes/callback.mjs';
import { FakeSendGrid } from '../fakes/sendgrid.mjs';
import { FakeTwilio } from '../fakes/twilio.mjs';
import { KEYS, configuration, environment, yaml } from './config.mjs';

export { KEYS };

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = path.resolve(HERE, '../..');
export const POSTERND = path.resolve(process.env.POSTERN ?? path.join(ROOT, 'build/dev/posternd'));
const POSTERNCTL = path.join(path.dirname(POSTERND), 'posternctl');
export const OUT = path.join(ROOT, 'tests/out');

const READY_MS = 10_000;
const STOP_MS = 35_000;
const WAIT_MS = 10_000;
const SENDER_MAIL = 'news@shop.example';
const SENDER_SMS = '+12125550199';
const BODY = 'Hello from the shop';

/** Poll until the predicate gives something true, and return that; fail with what was awaited at the deadline. */
export async function waitFor(what, predicate, { deadline = WAIT_MS, every = 20 } = {}) {
  const end = performance.now() + deadline;
  for (;;) {
    const value = await predicate();
    if (value) return value;
    if (performance.now() > end) assert.fail(`waited ${deadline} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/** Start fakes and a Postern in front of them; stop all of it with end().  relay: a FakeRelay, for mail by SMTP. */
export async function startHouse(options = {}) {
  const mail = await new FakeSendGrid().start();
  const sms = await new FakeTwilio().start();
  const callbacks = await new FakeCallback().start();
  const fakes = [mail, sms, callbacks];
  if (options.relay) fakes.push(await options.relay.start());
  const postern = await Postern.start({ mail, sms, callbacks, ...options });
  return { mail, sms, callbacks, relay: options.relay, postern, end: () => endHouse(postern, fakes) };
}

async function endHouse(postern, fakes) {
  try {
    await postern.stop();
  } finally {
    await Promise.all(fakes.map((one) => one.stop()));
  }
}

/** A port on which nobody listens; below those that the kernel gives to connections, so it stays free. */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const server = net.createServer().listen(port, '127.0.0.1');
    const free = await once(server, 'listening').then(() => true, () => false);
    if (!free) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Test days begin here, later than the clock of any machine that runs this. */
const FIRST_DAY = Date.UTC(2031, 0, 6);
const DAY_MS = 86_400_000;
const NEW_YORK = new Intl.DateTimeFormat('en-GB', { timeZone: 'America/New_York', hour: '2-digit', minute: '2-digit' });

/** The instant at which New York's clocks show this time on the n-th test day. */
function inNewYork(day, time) {
  const [hours, minutes] = time.split(':').map(Number);
  const asIfUtc = FIRST_DAY + day * DAY_MS + (hours * 60 + minutes) * 60_000;
  const offset = [5, 4].find((h) => NEW_YORK.format(asIfUtc + h * 3_600_000) === time);
  return new Date(asIfUtc + offset * 3_600_000);
}
const AREA_CODES = [212, 315, 347, 516, 518, 585, 607, 631, 646, 716, 718, 845, 914, 917, 201, 551, 609, 732, 848, 856, 862, 908, 973];

/** The n-th person of this process: an address and a number that no other test uses. */
let people = 0;

export class Postern {
  #child;
  #log = '';
  /** Where the log of the present process begins. */
  #bornAt = 0;
  #fakes;
  #day = -1;
  #nowMs;
  #secrets = new Set([...Object.values(KEYS).map((key) => key.secret), BODY]);
  /** No process of ours runs. */
  #stopped = true;

  /**
   * configure may change the configuration; clock: false leaves the system's time in force; wrap: a command in front
   * of posternd's, which must exec it.  relay: a started FakeRelay (or what has its url); then SMTP is listened to.
   * tls: a certificate() for all ports; whoever asks for it sets NODE_TLS_REJECT_UNAUTHORIZED for the native API.
   */
  static async start({ mail, sms, callbacks, relay, tls, configure = () => {}, clock = true, env = {}, wrap = [] } = {}) {
    const postern = new Postern();
    postern.command = [...wrap, POSTERND, '-c', 'postern.yaml'];
    postern.#fakes = { mail, sms, callbacks, relay };
    postern.dir = await mkdtemp(path.join(tmpdir(), 'postern-e2e-'));
    postern.port = await freePort();
    postern.file = path.join(postern.dir, 'postern.yaml');
    if (relay) Object.assign(postern, { smtpPort: await freePort(), smtpsPort: tls && (await freePort()) });
    const settings = configuration({ port: postern.port, mail, sms, callbacks, smtp: relay && { relay, port: postern.smtpPort, securePort: postern.smtpsPort }, tls });
    await configure(settings);
    postern.settings = settings;
    await postern.writeConfiguration();
    postern.env = { PATH: process.env.PATH, TZ: 'Pacific/Auckland', ...sanitizers(), ...environment({ mail, sms, relay }), ...env };
    await postern.launch();
    if (clock) await postern.newDay('12:00');
    return postern;
  }

  get url() {
    return `${this.settings.listen.tls ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  /** All that posternd wrote to stderr and stdout, over all of its lives. */
  get log() {
    return this.#log;
  }

  // --- life ---------------------------------------------------------------------------------------------------

  /** Start the binary on the directory as it is; returns the milliseconds until it was ready. */
  async launch() {
    const began = performance.now();
    this.#bornAt = this.#log.length;
    const [program, ...args] = this.command;
    const child = spawn(program, args, { cwd: this.dir, env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#stopped = false;
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (this.#log += text));
    const spawned = new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    await spawned;
    const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    child.ended = exited;
    let early;
    exited.then((how) => (early = how));
    await waitFor(
      `${POSTERND} ready\n${this.tail()}`,
      async () => {
        if (early) assert.fail(`posternd ended before it was ready (${JSON.stringify(early)}):\n${this.tail()}`);
        return (await fetch(`${this.url}/readyz`).then(drain, () => undefined))?.status === 200;
      },
      { deadline: READY_MS, every: 5 },
    );
    const took = performance.now() - began;
    if (this.#nowMs !== undefined) await this.#putClock(this.#nowMs);
    return took;
  }

  /** The configuration as it stands in settings; text: something else instead. */
  async writeConfiguration(text = `${yaml(this.settings).trimStart()}\n`) {
    await writeFile(this.file, text);
  }

  /** SIGHUP, and what came of it: "applied" or "refused". */
  async reload() {
    const results = ['applied', 'refused'];
    const count = () => Promise.all(results.map((result) => this.metric('postern_reload_total', { result })));
    const before = await count();
    this.signal('SIGHUP');
    return waitFor('the end of the reload', async () => {
      const now = await count();
      return results.find((_, i) => now[i] > before[i]);
    });
  }

  /** Change the settings, write them, reload: must be applied. */
  async reconfigure(change) {
    await change(this.settings);
    await this.writeConfiguration();
    assert.equal(await this.reload(), 'applied', this.tail());
  }

  get pid() {
    return this.#child.pid;
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** How its present process ends: { code, signal }. */
  get ended() {
    return this.#child.ended;
  }

  /** The process ids of its workers, by their numbers, as the log last said them. */
  get workers() {
    const pids = [];
    for (const [, worker, pid] of this.#log.slice(this.#bornAt).matchAll(/event=worker_ready worker=(\d+) pid=(\d+)/g)) pids[worker] = Number(pid);
    return pids;
  }

  /** Ask it to stop, and return how it ended, without judging. */
  async terminate() {
    this.#child.kill('SIGTERM');
    this.#stopped = true;
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, STOP_MS, undefined)));
    const how = await Promise.race([this.#child.ended, late]);
    clearTimeout(timer);
    if (!how) {
      this.#child.kill('SIGKILL');
      assert.fail(`posternd did not end within ${STOP_MS} ms of SIGTERM\n${this.tail()}`);
    }
    return how;
  }

  /** SIGTERM; it must drain and exit 0, its log must hold nobody's address and no secret.  Removes the directory. */
  async stop() {
    if (!this.#stopped) {
      const how = await this.terminate();
      assert.deepEqual(how, { code: 0, signal: null }, `exit after SIGTERM\n${this.tail()}`);
      this.assertCleanLog();
    }
    if (!process.env.POSTERN_E2E_KEEP) await rm(this.dir, { recursive: true, force: true });
  }

  /** kill -9. */
  async kill() {
    this.#child.kill('SIGKILL');
    await this.#child.ended;
    this.#stopped = true;
  }

  /** Stop by SIGTERM and start again on the same store. */
  async restart() {
    assert.deepEqual(await this.terminate(), { code: 0, signal: null }, this.tail());
    return this.launch();
  }

  tail(lines = 40) {
    return this.#log.split('\n').slice(-lines).join('\n');
  }

  /** Logs hold no addresses, no bodies and no secrets. */
  assertCleanLog() {
    for (const secret of this.#secrets) {
      const at = this.#log.indexOf(secret);
      if (at === -1) continue;
      const line = this.#log.slice(this.#log.lastIndexOf('\n', at) + 1, this.#log.indexOf('\n', at));
      assert.fail(`the log holds what it must not (${secret}): ${line}`);
    }
  }

  /** A text that must never be found in the log. */
  keepSecret(text) {
    this.#secrets.add(text);
    return text;
  }

  // --- time ---------------------------------------------------------------------------------------------------

  /** Postern's wall clock reads this instant now, and runs on; the providers' too. */
  async setClock(instant) {
    const ms = new Date(instant).getTime();
    await this.#putClock(ms);
    this.#nowMs = ms;
    for (const fake of Object.values(this.#fakes)) if (fake) fake.now = () => ms;
  }

  async #putClock(ms) {
    await this.api('PUT', '/postern/v1/test/clock', { now: new Date(ms).toISOString() });
  }

  /** What setClock said last. */
  get now() {
    return new Date(this.#nowMs);
  }

  /** Go to the next weekday (or, with 'sat', the next of that name), at a New York time. */
  async newDay(time, weekday) {
    const names = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
    const fits = (day) => {
      const name = names[new Date(FIRST_DAY + day * DAY_MS).getUTCDay()];
      return weekday ? name === weekday : name !== 'sat' && name !== 'sun';
    };
    do this.#day += 1;
    while (!fits(this.#day));
    await this.setClock(this.at(time));
  }

  /** A New York time of the running test day (or so many days later), as a Date. */
  at(time, daysLater = 0) {
    return inNewYork(this.#day + daysLater, time);
  }

  /** Move the clock past an instant and past the jitter that spreads releases over the minutes after it. */
  async passRelease(releaseAt, jitterMinutes = 30) {
    await this.setClock(new Date(releaseAt).getTime() + jitterMinutes * 60_000);
  }

  /** Give Postern time to do what it must not do: nothing can be awaited that proves that nothing happens. */
  async idle(ms = 400) {
    await new Promise((resolve) => setTimeout(resolve, ms));
  }

  // --- native API ---------------------------------------------------------------------------------------------

  /** One native call, whatever its answer: { status, headers, body }, the body parsed when it is JSON. */
  async call(method, target, body, { key = 'admin', headers = {} } = {}) {
    const answer = await fetch(this.url + target, {
      method,
      headers: {
        ...(key ? { Authorization: `Bearer ${KEYS[key].secret}` } : {}),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    const type = answer.headers.get('content-type') ?? '';
    return { status: answer.status, headers: answer.headers, body: text && type.includes('json') ? JSON.parse(text) : text };
  }

  /** One native call that must succeed; returns its body. */
  async api(method, target, body, options) {
    const answer = await this.call(method, target, body, options);
    assert.ok(answer.status >= 200 && answer.status < 300, `${method} ${target}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /**
   * The decision, once its result is there: a result row follows the answer.  `until` narrows which result is waited
   * for; results are forwarded, deferred, blocked, refused, unknown, cancelled, expired, opted_out_meanwhile.
   */
  async decision(id, { until } = {}) {
    assert.match(id ?? '', /^dec_[0-9a-f]{16,}$/, 'a decision id');
    return waitFor(`a result of decision ${id}${until ? ` (${until})` : ''}`, async () => {
      const decision = await this.api('GET', `/postern/v1/decisions/${id}`);
      return (until ? decision.result === until : decision.result && decision.result !== 'pending') && decision;
    });
  }

  /** What waits for this contact (or for all). */
  async deferred(contact) {
    const query = new URLSearchParams(contact ? { contact } : {}), rows = [];
    for (;;) {
      const page = await this.api('GET', `/postern/v1/deferred?${query}`);
      rows.push(...page.deferred);
      if (!page.next_after) return rows;
      query.set('after', page.next_after);
    }
  }

  /** /metrics as [{ name, labels, value }]. */
  /** Wait until no provider asks any more to be left alone: after a 429 what is sent meanwhile is kept. */
  async unpaused() {
    await waitFor('the end of the pause', async () => (await this.metric('postern_upstream_paused_seconds')) === 0);
  }

  async metrics() {
    const answer = await fetch(`${this.url}/metrics`);
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('content-type'), /^text\/plain/);
    return (await answer.text())
      .split('\n')
      .filter((line) => line && !line.startsWith('#'))
      .map((line) => {
        const [, name, labels, value] = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/i.exec(line) ?? assert.fail(`not a sample: ${line}`);
        const pairs = [...(labels ?? '').matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, k, v]) => [k, v]);
        return { name, labels: Object.fromEntries(pairs), value: Number(value) };
      });
  }

  /** The sum of a metric over the samples with these labels. */
  async metric(name, labels = {}) {
    const fits = (sample) => sample.name === name && Object.entries(labels).every(([k, v]) => sample.labels[k] === v);
    return (await this.metrics()).filter(fits).reduce((sum, sample) => sum + sample.value, 0);
  }

  // --- people -------------------------------------------------------------------------------------------------

  /** A person whom Postern does not know: an id, an address, a number that nobody else has. */
  stranger() {
    const n = people++;
    const email = this.keepSecret(`person.${n}.${process.pid}@mail.example`);
    const phone = this.keepSecret(`+1${AREA_CODES[n % AREA_CODES.length]}55501${String(Math.floor(n / AREA_CODES.length)).padStart(2, '0')}`);
    return { id: `person-${n}`, email, phone };
  }

  /**
   * A contact.  consent: { email: [categories], sms: [categories] }, granted by the customer; preferences as documented.
   */
  async person({ consent = {}, preferences, zone = 'America/New_York', ...more } = {}) {
    const person = this.stranger();
    await this.api('PUT', `/postern/v1/contacts/${person.id}`, {
      addresses: { email: [person.email], sms: [person.phone] },
      zone,
      ...(preferences ? { preferences } : {}),
      ...more,
    });
    for (const [channel, categories] of Object.entries(consent))
      for (const category of categories) await this.consent(person, { channel, category });
    return person;
  }

  /** A subscriber of the newsletter on both channels. */
  subscriber(settings = {}) {
    return this.person({ consent: { email: ['newsletter'], sms: ['newsletter'] }, ...settings });
  }

  consent(person, change) {
    return this.api('POST', `/postern/v1/contacts/${person.id}/consents`, {
      state: 'granted', basis: 'web form', evidence: 'form 7, box ticked', source: 'customer', ...change,
    });
  }

  optOut(address, { scope = 'global', ...more } = {}) {
    return this.api('POST', '/postern/v1/opt-outs', { address, scope, source: 'customer', reason: 'asked by e-mail', ...more });
  }

  // --- the providers' own clients -----------------------------------------------------------------------------

  /** @sendgrid/mail with its base URL changed and nothing else. */
  sendgrid(key = 'shop') {
    const service = new sgMail.MailService();
    service.setApiKey(KEYS[key]?.secret ?? key);
    service.client.setDefaultRequest('baseUrl', `${this.url}/`);
    return service;
  }

  /** twilio with its base URL changed and nothing else; lib: another version of the package. */
  twilio(key = 'shop-sms', { lib = twilio, ...options } = {}) {
    const { account, secret } = typeof key === 'string' ? KEYS[key] : key;
    const client = lib(account, secret, options);
    client.api.baseUrl = this.url;
    return client;
  }

  /**
   * Send a mail through the SDK; what its caller sees: { status, headers, body, error }, error being the SDK's own.
   * Fields of `message` win over a plain mail; multiple: one personalization for each `to`.
   */
  async mail(message, { key = 'shop', multiple = false } = {}) {
    const mail = { from: SENDER_MAIL, subject: 'Spring', text: BODY, ...message };
    return callerSees(async () => {
      const [response] = await this.sendgrid(key).send(mail, multiple);
      return { status: response.statusCode, headers: response.headers, body: response.body };
    });
  }

  /** The same for an SMS: { status, headers, message, error }, message being the SDK's MessageInstance. */
  async sms(params, { key = 'shop-sms', lib } = {}) {
    const client = this.twilio(key, { lib });
    return callerSees(
      async () => {
        const message = await client.messages.create({ from: SENDER_SMS, body: BODY, ...params });
        return { status: client.httpClient.lastResponse.statusCode, headers: client.httpClient.lastResponse.headers, message };
      },
      () => client.httpClient.lastResponse?.headers,
    );
  }

  /** A raw request under a provider-shaped path with the key's credential, the body being bytes as given. */
  async raw(method, target, body, { key = 'shop', headers = {} } = {}) {
    const { account, secret } = KEYS[key];
    const Authorization = account ? `Basic ${Buffer.from(`${account}:${secret}`).toString('base64')}` : `Bearer ${secret}`;
    const type = account ? 'application/x-www-form-urlencoded' : 'application/json';
    const answer = await fetch(this.url + target, { method, body, headers: { Authorization, ...(body === undefined ? {} : { 'Content-Type': type }), ...headers } });
    const bytes = Buffer.from(await answer.arrayBuffer());
    return { status: answer.status, headers: answer.headers, bytes, text: bytes.toString('utf8') };
  }

  /** posternctl -c postern.yaml ...: { code, stdout, stderr }. */
  ctl(...args) {
    return new Promise((resolve) => {
      execFile(POSTERNCTL, ['-c', 'postern.yaml', ...args], { cwd: this.dir, env: this.env }, (error, stdout, stderr) =>
        resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr }),
      );
    });
  }

  async assertAuditHolds() {
    const { code, stdout, stderr } = await this.ctl('audit', 'verify');
    assert.equal(code, 0, `posternctl audit verify: ${stdout}${stderr}`);
  }
}

/** SQL on a store of which no posternd holds the file: what it prints. */
export async function sqlite(file, sql) {
  const { stdout } = await promisify(execFile)(await compiled('sql.c', { libraries: ['-lsqlite3'] }), [file, sql]);
  return stdout;
}

/** The log of sends of a store, as store/packed.c writes it: eight numbers of seven bits a byte, then the category. */
export async function sentOf(file) {
  const rows = (await sqlite(file, 'SELECT hex(entries) FROM sends ORDER BY id')).split('\n').filter(Boolean);
  return rows.flatMap((row) => unpacked(Buffer.from(row, 'hex')));
}

function unpacked(bytes) {
  const sends = [];
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      value |= BigInt(bytes[at] & 0x7f) << shift;
      if (bytes[at++] < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const [decision, atMs, contact, subject] = Array.from({ length: 8 }, number);
    const length = Number(number());
    sends.push({ decision, atMs: Number(atMs), contact, subject, category: bytes.toString('utf8', at, (at += length)) });
  }
  return sends;
}

/** A C program (or, with shared, a library) of this directory, compiled once: its path. */
export async function compiled(source, { shared = false, libraries = [] } = {}) {
  const out = path.join(OUT, `${path.basename(source, '.c')}${shared ? '.so' : ''}-${process.pid}`);
  if (!compilations.has(out)) compilations.set(out, compile(source, { out, shared, libraries }));
  await compilations.get(out);
  return out;
}

const compilations = new Map();

async function compile(source, { out, shared, libraries }) {
  await mkdir(OUT, { recursive: true });
  const kind = shared ? ['-shared', '-fPIC'] : [];
  await promisify(execFile)('gcc', ['-std=c17', '-D_GNU_SOURCE', '-O1', '-Wall', ...kind, '-o', out, path.join(HERE, source), ...libraries]);
  process.once('exit', () => rmSync(out, { force: true }));
}

/** How posternd ends when it is started with this file: { code, signal, output }. */
export async function runToEnd(args, { cwd, env = {}, deadline = READY_MS } = {}) {
  const child = spawn(POSTERND, args, { cwd, env: { PATH: process.env.PATH, ...sanitizers(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), deadline);
  const [code, signal] = await once(child, 'close');
  clearTimeout(timer);
  return { code, signal, output };
}

/** What a sanitizer build is told by the environment. */
function sanitizers() {
  const names = ['ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS', 'TSAN_OPTIONS', 'LD_LIBRARY_PATH'];
  return Object.fromEntries(names.filter((name) => process.env[name]).map((name) => [name, process.env[name]]));
}

async function drain(answer) {
  await answer.arrayBuffer();
  return answer;
}

/** Run an SDK call; an answer of the server that the SDK throws is a result too, anything else is thrown on. */
async function callerSees(run, lastHeaders = () => undefined) {
  try {
    return await run();
  } catch (error) {
    if (error.response?.body !== undefined && Number.isInteger(error.code))
      return { status: error.code, headers: error.response.headers, body: error.response.body, error };
    if (Number.isInteger(error.status)) return { status: error.status, headers: lastHeaders() ?? {}, error };
    throw error;
  }
}
