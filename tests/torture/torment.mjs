// One house under torture: the shim's counters and orders, one trial, and what must hold after it.  It knows no flow:
// a flow is { prepare, act, settle, judge } and says what its client did and heard.  The one idea: whatever call
// failed, the process goes on and serves, or it stops itself on purpose and says so; and three witnesses agree
// afterwards on what was accepted: the client, the provider, the record.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync, openSync, readSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { KEYS, POSTERND, compiled, sqlite, startHouse, waitFor } from '../e2e/harness.mjs';
import { content, deliver } from '../e2e/smtp.mjs';

export const KINDS = ['alloc', 'large', 'read', 'write', 'sync', 'connect', 'open'];
const WORDS = 5 + KINDS.length; // on, kind, nth, for ever, fired; calls of each kind
const HANG_MS = 10_000;
const FOR_EVER_MS = 1000; // so long; a client may have to wait as long, and then must hear something
const RESULT_MS = 1000;
const NO_KIND = KINDS.length;

/** Stops that a program makes on purpose, by the signal or code with which it ends, and the line that says why. */
const DELIBERATE = [
  { signal: 'SIGABRT', says: /event=out_of_memory|event=ensure_failed/ },
  { signal: 'SIGTRAP', says: /GLib-ERROR.*failed to allocate/ },
  { code: 1, says: /\S/ },
  { code: 2, says: /\S/ }, // posternctl: it could not find out
];

/** The words that nth_fails.c shares with its driver. */
class Shim {
  static async make() {
    const shim = new Shim();
    shim.library = await compiled('../torture/nth_fails.c', { shared: true, libraries: ['-ldl'] });
    shim.dir = await mkdtemp(path.join(tmpdir(), 'postern-torture-'));
    shim.file = path.join(shim.dir, 'orders');
    shim.fd = openSync(shim.file, 'w+');
    writeSync(shim.fd, Buffer.alloc(WORDS * 4));
    return shim;
  }

  get env() {
    const trace = process.env.TORTURE_TRACE ? { TORTURE_TRACE: process.env.TORTURE_TRACE } : {};
    const asan = process.env.ASAN_OPTIONS ? `${process.env.ASAN_OPTIONS}:` : '';
    return { LD_PRELOAD: this.library, TORTURE: this.file, ...trace, ASAN_OPTIONS: `${asan}verify_asan_link_order=0` };
  }

  #word(at, value) {
    writeSync(this.fd, Buffer.from(Uint32Array.of(value).buffer), 0, 4, at * 4);
  }

  /** kind: NO_KIND only counts. */
  arm(kind = NO_KIND, nth = 0, forEver = false) {
    const words = new Uint32Array(WORDS);
    words.set([0, kind, nth, forEver ? 1 : 0]);
    writeSync(this.fd, Buffer.from(words.buffer), 0, WORDS * 4, 0);
    this.#word(0, 1);
  }

  /** The calls since arm(), by kind, and how many of them failed. */
  disarm() {
    this.#word(0, 0);
    const words = new Uint32Array(WORDS);
    readSync(this.fd, words, 0, WORDS * 4, 0);
    return { fired: words[4], calls: [...words.subarray(5)] };
  }

  end() {
    closeSync(this.fd);
    rmSync(this.dir, { recursive: true });
  }
}

/** The status of a call that got no answer: the server went away. */
export const lost = 0;
export const accepted = ({ status }) => status >= 200 && status < 300;

/** An HTTP call on a connection of its own: { status, headers, text }, or { status: lost } when the server went away. */
function exchange(url, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, agent: false, headers: { ...headers, ...(body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }) } });
    const timer = setTimeout(() => {
      reject(new Error(`no answer within ${HANG_MS} ms: ${method} ${url}`));
      request.destroy();
    }, HANG_MS);
    const end = (answer) => (clearTimeout(timer), resolve(answer));
    request.on('error', () => end({ status: lost, headers: {}, text: '' }));
    request.on('response', async (response) => {
      let text = '';
      try {
        for await (const chunk of response) text += chunk;
        end({ status: response.statusCode, headers: response.headers, text });
      } catch {
        end({ status: lost, headers: {}, text: '' });
      }
    });
    request.end(body);
  });
}

export class Torment {
  #marks = 0;
  #said = []; // every message that was tried: { mark, ids, status, channel }
  #optedOut = []; // addresses whose opt-out was acknowledged
  restarts = 0;

  static async start(flow, options = {}) {
    const t = new Torment();
    t.flow = flow;
    t.shim = await Shim.make();
    const { configure = () => {}, env = {}, providers = [], ...rest } = options;
    t.house = await startHouse({
      ...rest,
      env: flow.tool ? env : { ...env, ...t.shim.env },
      configure: async (settings) => {
        settings.policy.caps = [];
        await configure(settings);
      },
    });
    t.postern = t.house.postern;
    t.providers = [t.house.mail, t.house.sms, ...providers];
    return t;
  }

  /** Start again without the shim; nothing that was said may be lost; stop, and no leak. */
  async end() {
    try {
      if (await this.#gone(0)) await this.revive();
      await this.postern.restart();
      await this.#assertNothingLost(this.#said, this.flow.mayBe);
      await this.#assertAudited();
      await this.postern.assertAuditHolds();
    } finally {
      await this.house.end();
      this.shim.end();
    }
  }

  // --- what a client does -----------------------------------------------------------------------------------------

  call(method, target, body, key = 'admin', headers = {}) {
    const { account, secret } = KEYS[key];
    return exchange(this.postern.url + target, {
      method,
      headers: {
        Authorization: account ? `Basic ${Buffer.from(`${account}:${secret}`).toString('base64')}` : `Bearer ${secret}`,
        ...(body === undefined ? {} : { 'Content-Type': account ? 'application/x-www-form-urlencoded' : 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
    });
  }

  /** What a client has heard of a message. */
  say(mark, channel, answer) {
    const ids = (answer.headers['x-postern-decision-id'] ?? '').split(/, ?/).filter(Boolean);
    const one = { ...answer, mark, ids, channel, outcome: answer.headers['x-postern-outcome'] };
    this.#said.push(one);
    return one;
  }

  /** The store was thrown away, and with it what was said so far. */
  forget() {
    this.#said = [];
    for (const fake of this.providers) fake.requests = [];
  }

  newMark() {
    return `mark-${process.pid}-${this.#marks++}.`;
  }

  async mail(people, { key = 'billing', mark = this.newMark(), headers = {}, more = {}, packed = false } = {}) {
    const personalizations = [people].flat().map((one) => ({ to: [{ email: one.email }] }));
    const mail = { personalizations, from: { email: 'news@shop.example' }, subject: 'Spring', content: [{ type: 'text/plain', value: mark }], ...more };
    const body = packed ? gzipSync(JSON.stringify(mail)) : mail;
    if (packed) headers = { ...headers, 'Content-Encoding': 'gzip' };
    return this.say(mark, 'mail', await this.call('POST', '/v3/mail/send', body, key, headers));
  }

  async sms(person, { key = 'billing-sms', mark = this.newMark(), callback } = {}) {
    const form = new URLSearchParams({ To: person.phone, From: '+12125550199', Body: mark, ...(callback ? { StatusCallback: callback } : {}) });
    return this.say(mark, 'sms', await this.call('POST', `/2010-04-01/Accounts/${KEYS[key].account}/Messages.json`, form.toString(), key));
  }

  /** A mail by SMTP, to one or to several, from a sender of its own: so a report is known by whom it is for. */
  async smtp(people, { key = 'billing', mark = this.newMark(), fields = [], body = () => mark } = {}) {
    const [to, from] = [[people].flat(), `${mark}@shop.example`.replace('.@', '@')];
    const bytes = content({ to: 'list@mail.example', from, fields: [...fields, `Message-ID: <${mark}1@shop.example>`], body: body(mark) });
    const heard = await deliver(this.postern.smtpPort, KEYS[key], { from, to: to.map((one) => one.email), bytes });
    const one = { ...heard, mark, from, people: to, channel: 'smtp' };
    this.#said.push(one);
    return one;
  }

  async optOut(person) {
    const answer = await this.call('POST', '/postern/v1/opt-outs', { address: person.email, scope: 'global', source: 'customer', reason: 'asked' });
    if (accepted(answer)) this.#optedOut.push(person);
    return answer;
  }

  // --- a trial ----------------------------------------------------------------------------------------------------

  /** How the process ended, if it does within so many milliseconds. */
  async #gone(ms) {
    let timer;
    const how = await Promise.race([this.postern.ended, new Promise((resolve) => (timer = setTimeout(resolve, ms)))]);
    clearTimeout(timer);
    return how;
  }

  /** Run a flow counting its calls only. */
  async count(flow) {
    const state = await flow.prepare(this);
    await flow.before?.(this, state);
    this.shim.arm();
    await flow.act(this, state);
    await this.postern.idle(flow.idleMs ?? 20);
    const { calls } = this.shim.disarm();
    if (flow.ends) await this.revive();
    else assert.equal(await this.#gone(2), undefined, `unharmed, it goes on\n${this.postern.tail()}`);
    await flow.judge?.(this, state, { intact: true });
    await flow.afterwards?.(this, state);
    return calls;
  }

  /** Fail the n-th call of a kind during the flow; throws when something does not hold.  Returns whether it failed. */
  async trial(flow, kind, nth, forEver) {
    const saidBefore = this.#said.length;
    const logBefore = this.postern.log.length;
    const state = await flow.prepare(this);
    await flow.before?.(this, state);
    this.shim.arm(kind, nth, forEver);
    const well = setTimeout(() => this.shim.disarm(), FOR_EVER_MS);
    let fired;
    try {
      await flow.act(this, state);
      await this.postern.idle(flow.idleMs ?? 20);
    } finally {
      clearTimeout(well);
      ({ fired } = this.shim.disarm());
    }
    await flow.afterwards?.(this, state);
    const fell = async () => {
      const how = await this.#gone(flow.ends ? HANG_MS : 2);
      assert.ok(how || !flow.ends, 'it ends');
      if (!how) return;
      await this.postern.idle(2); // its last words
      assert.ok(KINDS[kind] !== 'large' || flow.own || flow.ends, `the size was a peer's, and it ended with ${how.signal ?? how.code}: ${this.postern.tail(3)}`);
      assertDeliberate(how, this.postern.log.slice(logBefore), flow.ends);
      await this.revive();
    };
    await fell();
    await this.#stillServes(flow.ends ? () => {} : fell);
    const intact = fired === 0;
    await flow.judge?.(this, state, { intact });
    await this.#assertNothingLost(this.#said.slice(saidBefore), flow.mayBe);
    assert.doesNotMatch(this.postern.log.slice(logBefore), /ERROR: (?:Address|Leak)Sanitizer|runtime error:/);
    return fired > 0;
  }

  /** After a trial that found a fault: whatever runs is killed, and the next trial has a fresh process. */
  async recover() {
    this.shim.disarm();
    if (!this.house.mail.listening) await this.house.mail.start();
    if (!(await this.#gone(0))) await this.postern.kill();
    await this.revive();
  }

  async revive() {
    this.restarts++;
    await this.postern.launch();
  }

  /** A plain message goes through, at once or when what had failed is over; after a failed sync: after a restart. */
  async #stillServes(fell) {
    const stranger = this.postern.stranger();
    await waitFor(
      'a plain message to be forwarded',
      async () => {
        const ready = await exchange(`${this.postern.url}/readyz`);
        if (ready.status === 503 && /SQLite error/.test(ready.text)) {
          assert.doesNotMatch(ready.text, /out of memory/, 'memory that was short is no reason to stop for good');
          assert.deepEqual(await this.postern.terminate(), { code: 0, signal: null });
          await this.revive();
        }
        const { status, outcome, text } = await this.mail(stranger);
        if (status === lost) await fell(); // a moment after it was looked for
        assert.ok([202, 503, lost].includes(status), `a plain message: ${status} ${text}`);
        return status === 202 && outcome === 'forwarded';
      },
      { deadline: HANG_MS, every: 50 },
    );
    if (!this.postern.smtpPort) return;
    await waitFor(
      'a plain mail by SMTP to be forwarded',
      async () => {
        const { status, text } = await this.smtp(stranger);
        assert.ok([250, 421, 451].includes(status), `a plain mail by SMTP: ${status} ${text}`);
        return status === 250 && !text.includes('(');
      },
      { deadline: HANG_MS, every: 50 },
    );
  }

  // --- what must hold -----------------------------------------------------------------------------------------------

  #seen(mark) {
    return this.providers.flatMap((one) => one.requests).filter((request) => request.text.includes(mark));
  }

  async #assertNothingLost(said, mayBe = []) {
    for (const one of said) {
      if (one.channel === 'smtp') {
        await this.#assertMailAccounted(one);
        continue;
      }
      const seen = this.#seen(one.mark).length;
      const what = `${one.channel} ${one.mark} answered ${one.status} ${one.outcome ?? ''}, seen ${seen} times`;
      assert.ok(seen <= 1, what);
      const again = this.#said.some((other) => other !== one && other.mark === one.mark);
      if (one.status === 503 && !again) assert.equal(seen, 0, `${what}: ${one.text}`);
      if (!accepted(one)) continue;
      assert.ok(one.ids.length > 0, what);
      const results = [];
      for (const id of one.ids) results.push(await this.result(id));
      const told = `${what}, on record as ${results}`;
      assert.ok(results.every((result) => ['forwarded', 'deferred', 'unknown', 'blocked', ...mayBe].includes(result)), told);
      if (!this.flow.released && results.every((result) => result !== 'forwarded' && result !== 'unknown')) assert.equal(seen, 0, told);
      if (results.includes('forwarded')) assert.equal(seen, 1, told);
      if (one.outcome === 'forwarded') assert.equal(seen, 1, told);
    }
    for (const person of this.#optedOut.splice(0)) {
      const { status } = await this.mail(person, { key: 'promo' });
      assert.equal(status, 403, 'an acknowledged opt-out holds');
    }
  }

  /**
   * Each recipient of a mail that was answered with 250 is where it can be found: at the relay or in the sandbox, kept,
   * unknown on record, or in a report (sent or kept) to its sender.  A relay that took a mail and was not heard gets it
   * once more (RFC 5321 section 6.1).
   */
  async #assertMailAccounted(one) {
    const said = `the mail ${one.mark} answered ${one.status} ${one.text}, its recipients ${one.rcpts}`;
    const { relay } = this.house;
    const seen = relay ? relay.seen(one.mark).filter((mail) => mail.mail.path === one.from).length : 0;
    assert.ok(seen <= 2, `${said}: seen ${seen} times`);
    if (one.status >= 500) assert.equal(seen, 0, said);
    if (one.status !== 250) return;
    for (const [i, person] of one.people.entries()) {
      if (one.rcpts[i] !== 250) continue;
      const fate = await waitFor(`a fate of recipient ${i}: ${said}`, () => this.#fate(one, person), { deadline: RESULT_MS }).catch(() => undefined);
      if (fate) continue;
      assert.ok((await this.#unknownTo(person)) || (await this.#fate(one, person)), `no trace of recipient ${i}: ${said}`);
    }
  }

  /** Was something to this person begun, and is its end unknown?  Whose result could not be written is, after a restart. */
  async #unknownTo({ email }) {
    await this.postern.restart();
    assert.deepEqual(await this.postern.terminate(), { code: 0, signal: null }, this.postern.tail());
    const decided = `SELECT ref FROM audit WHERE kind = 'decision' AND personal LIKE '%${email}%'`;
    const n = await sqlite(path.join(this.postern.dir, 'postern.db'), `SELECT count(*) FROM audit WHERE kind = 'result' AND body LIKE '%"unknown"%' AND ref IN (${decided})`);
    await this.revive();
    return Number(n) > 0;
  }

  async #fate(one, { email }) {
    const { mark, from } = one;
    const { relay } = this.house;
    if (relay?.accepted(mark).some((mail) => mail.mail.path === from && mail.to.includes(email))) return 'forwarded';
    if (relay?.accepted(`Final-Recipient: rfc822; ${email}`).some((mail) => mail.to.includes(from))) return 'reported';
    const { deferred } = await this.postern.api('GET', '/postern/v1/deferred?state=any&limit=1000');
    if (deferred.some((row) => [email, from].includes(row.to) && (row.state !== 'ended' || row.end_reason === 'unknown') && row.state !== 'released')) return 'kept';
    const { messages } = await this.postern.api('GET', '/postern/v1/sandbox/messages');
    one.inSandbox ||= messages.some((message) => message.to === email && message.text.includes(mark)); // it keeps the newest
    return one.inSandbox && 'sandbox';
  }

  /** How a decision ended.  Whose result could not be written is unknown from the next start on. */
  async result(id) {
    const look = async () => (await this.postern.api('GET', `/postern/v1/decisions/${id}`)).result;
    const known = () => look().then((result) => result && result !== 'pending' && result);
    const result = await waitFor('a result', known, { deadline: RESULT_MS }).catch(() => undefined);
    if (result) return result;
    await this.postern.restart();
    assert.equal(await look(), 'unknown', `${id} after a restart`);
    return 'unknown';
  }

  /** Whatever reached a provider has a result on record that says so. */
  async #assertAudited() {
    assert.deepEqual(await this.postern.terminate(), { code: 0, signal: null }, this.postern.tail());
    const file = path.join(this.postern.dir, 'postern.db');
    const left = Number(await sqlite(file, `SELECT count(DISTINCT ref) FROM audit WHERE kind = 'result' AND (body LIKE '%"forwarded"%' OR body LIKE '%"unknown"%')`));
    const seen = this.#seen('mark-').length;
    assert.ok(left >= seen, `${seen} left, ${left} are on record`);
    await this.revive();
  }

  /** posternctl under the shim: { how, stdout, stderr }. */
  ctl(args) {
    return new Promise((resolve) => {
      const program = path.join(path.dirname(POSTERND), 'posternctl');
      execFile(program, ['-c', 'postern.yaml', ...args], { cwd: this.postern.dir, env: { ...this.postern.env, ...this.shim.env }, timeout: HANG_MS, killSignal: 'SIGKILL' }, (error, stdout, stderr) =>
        resolve({ code: error ? error.code ?? null : 0, signal: error?.signal ?? null, stdout, stderr }),
      );
    });
  }
}

/** It ended as it should have (mayEnd), or by its own will and said why. */
export function assertDeliberate({ code, signal }, said, mayEnd = false) {
  if (mayEnd && code === 0) return;
  const fits = DELIBERATE.find((one) => (one.signal ?? null) === signal && (signal !== null || one.code === code) && one.says.test(said));
  assert.ok(fits, `it ended with ${signal ?? code}:\n${said.split('\n').slice(-25).join('\n')}`);
}
