// kill -9 at one call to the kernel, and at the next, and the next: thirteen ways of a message or of a wish through posternd,
// each cut off at every point at which something of it has just been written, synced, sent or received.  After the next
// start whatever a client was told is so, nothing went twice, and what the provider saw and what the audit says agree
// one to one.
// CI takes some points of each way; KILL_POINTS=all takes every one, KILL_POINTS=40 so many.  KILL_SEED repeats a run.
import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { decisionIds, header } from '../e2e/expect.mjs';
import { KEYS, compiled, sqlite, startHouse, waitFor } from '../e2e/harness.mjs';
import { content, decisionIn, deliver } from '../e2e/smtp.mjs';
import { FakeRelay, relaySays } from '../fakes/relay.mjs';

const POINTS = process.env.KILL_POINTS ?? '5';
const SEED = Number(process.env.KILL_SEED ?? Date.now() % 2 ** 31);
const MANY = 1_000_000_000;

let seed = SEED >>> 0;
const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
/** Which of n calls: all, or so many spread over them. */
function* points(n) {
  const wanted = POINTS === 'all' ? n : Math.min(n, Number(POINTS));
  for (let i = 0; i < wanted; i++) yield 1 + Math.floor(((i + (wanted === n ? 0 : random())) * n) / wanted);
}

let house, postern, shared, dir;
before(async () => {
  console.log(`# KILL_SEED=${SEED}`);
  const shim = await compiled('../faults/kill_at_call.c', { shared: true, libraries: ['-ldl'] });
  dir = await mkdtemp(path.join(tmpdir(), 'postern-kill-'));
  shared = await open(path.join(dir, 'control'), 'w+');
  await shared.truncate(8);
  house = await startHouse({
    relay: new FakeRelay(),
    env: { LD_PRELOAD: shim, KILL_AT_CALL: path.join(dir, 'control') },
    configure: (settings) => {
      settings.policy.caps = [];
      settings.policy.quiet_hours = {};
    },
  });
  ({ postern } = house);
});
after(async () => {
  await house?.end();
  await shared?.close();
  await rm(dir, { recursive: true, force: true });
});

/** From now on: it dies at its left-th call. */
const arm = (left) => shared.write(Buffer.from(Int32Array.of(left, 0).buffer), 0, 8, 0);
/** No more of it; how many calls were made since, and whether it died. */
async function disarm(armed) {
  const { buffer } = await shared.read(Buffer.alloc(8), 0, 8, 0);
  await arm(0);
  return { calls: armed - buffer.readInt32LE(0), killed: buffer.readInt32LE(4) };
}

// --- the ways ---------------------------------------------------------------------------------------------------------

const billing = (person, more = {}) => postern.mail({ to: person.email, ...more }, { key: 'billing' });
const sends = (person) => [...house.mail.sends(person.email), ...house.sms.sends(person.phone)];
const told = (answer) => answer?.status >= 200 && answer.status < 300;
const optOut = (person) => ({ address: person.email, scope: 'global', source: 'customer', reason: 'asked' });
const later = (person) => billing(person, { sendAt: Math.floor(postern.now / 1000) + 60 });
const waiting = (person, state = 'any') => postern.api('GET', `/postern/v1/deferred?contact=${person.id}&state=${state}`).then((body) => body.deferred);

async function sentAtMostOnce(person, answer) {
  const seen = sends(person).length;
  assert.ok(seen <= 1, `sent ${seen} times`);
  if (!told(answer)) return;
  const { result } = await postern.decision(decisionIds(answer)[0]);
  const outcome = header(answer, 'X-Postern-Outcome');
  assert.ok(['forwarded', 'unknown', 'deferred'].includes(result), result);
  if (outcome === 'forwarded') assert.equal(seen, 1, 'told that it went');
  if (result === 'forwarded') assert.equal(seen, 1, 'recorded that it went');
  if (result === 'deferred') assert.equal(seen, 0, 'recorded that it waits');
}

const ways = {
  'a mail': { act: (person) => billing(person), check: sentAtMostOnce },
  'an SMS': { act: (person) => postern.sms({ to: person.phone }, { key: 'billing-sms' }), check: sentAtMostOnce },
  'a mail to one who opted out': {
    prepare: (person) => postern.optOut(person.email),
    act: (person) => postern.mail({ to: person.email }, { key: 'promo' }),
    async check(person, answer) {
      assert.deepEqual(sends(person), []);
      assert.ok(!told(answer));
      if (answer?.status === 403) assert.equal((await postern.decision(decisionIds(answer)[0])).result, 'blocked');
    },
  },
  'a mail for later': {
    act: later,
    async check(person, answer) {
      assert.deepEqual(sends(person), []);
      const kept = (await waiting(person)).length;
      assert.ok(told(answer) ? kept === 1 : kept <= 1, `${kept} kept, answer ${answer?.status}`);
    },
  },
  'a release': {
    prepare: async (person) => assert.equal((await later(person)).status, 202),
    async act(person) {
      this.due = postern.now.getTime() + 31 * 60_000;
      await postern.setClock(this.due);
      await waitFor('it to go', () => sends(person).length > 0, { deadline: 700 });
    },
    async check(person) {
      await postern.setClock(this.due); // it may have died before it took the time over
      const over = ({ state }) => !['waiting', 'releasing'].includes(state);
      await waitFor('an end', async () => {
        const rows = await waiting(person);
        return rows.every(over) && rows;
      });
      // Killed between the record that it leaves and the call, it is unknown, and stays unsent.
      assert.ok(sends(person).length <= 1, `sent ${sends(person).length} times`);
    },
  },
  'a cancelling': {
    prepare: later,
    async act(person) {
      const [{ id }] = await waiting(person);
      return postern.call('POST', `/postern/v1/deferred/${id}/cancel`, {});
    },
    async check(person, answer) {
      const [row] = await waiting(person);
      if (told(answer)) assert.equal(row.state, 'cancelled');
      assert.deepEqual(sends(person), []);
    },
  },
  'an opt-out': {
    act: (person) => postern.call('POST', '/postern/v1/opt-outs', optOut(person)),
    async check(person, answer) {
      if (told(answer)) assert.equal((await postern.mail({ to: person.email }, { key: 'promo' })).status, 403);
    },
  },
  'a consent': {
    act: (person) => postern.call('POST', `/postern/v1/contacts/${person.id}/consents`, { state: 'granted', channel: 'email', category: 'newsletter', basis: 'form', evidence: 'e', source: 'customer' }),
    async check(person, answer) {
      if (told(answer)) assert.equal((await postern.mail({ to: person.email })).status, 202);
    },
  },
  'a contact': {
    act: (person) => postern.call('PUT', `/postern/v1/contacts/${person.id}`, { preferences: { 'frequency.max_per_day': 0 } }),
    async check(person, answer) {
      const { status } = await postern.mail({ to: person.email }, { key: 'promo' });
      if (told(answer)) assert.notEqual(status, 202, 'none a day');
    },
  },
  'a mail by SMTP': { act: (person) => bySmtp([person]), check: accounted },
  'a mail by SMTP that the relay puts off': {
    prepare: (person) => house.relay.when('RCPT', relaySays.reply('451 4.2.1 Later'), { match: person.email }),
    act: (person) => bySmtp([person]),
    async check(person, answer) {
      await accounted(person, answer);
      assert.equal(relayed(person), 0);
      assert.equal((await waiting(person, 'waiting')).length, 1, 'kept once, however often it came');
    },
  },
  'a mail by SMTP to two, of whom one opted out': {
    async prepare(person) {
      this.never = await postern.person();
      await postern.optOut(this.never.email);
    },
    act(person) {
      return bySmtp([person, this.never], 'shop', ['X-Postern-Category: promo-out']);
    },
    async check(person, answer) {
      const { email } = this.never;
      const reports = () => house.relay.accepted(`Final-Recipient: rfc822; ${email}`).filter((one) => one.to.includes(senderOf(person))).length;
      const begun = async () => (await allKept()).some((row) => row.to === senderOf(person));
      const isTold = () => waitFor('a report, or the record of one', async () => reports() > 0 || begun());
      if (answer?.status === 250) await isTold();
      await accounted(person, answer, () => this.act(person));
      await isTold();
      assert.ok(!house.relay.transactions.some((one) => one.to.includes(email)), 'who opted out gets nothing');
    },
  },
  'a mail that is repeated under its key': {
    act: (person) => keyed(person),
    async check(person) {
      await waitFor('a final answer', async () => ![409, 500, 502, 503].includes((await keyed(person)).status));
      assert.ok(sends(person).length <= 1, `sent ${sends(person).length} times`);
    },
  },
};

const senderOf = (person) => `${person.id}@shop.example`;
const relayed = (person) => house.relay.accepted(person.email).filter((one) => one.mail.path === senderOf(person)).length;
const allKept = () => postern.api('GET', '/postern/v1/deferred?state=any').then((body) => body.deferred);

/** A mail, the same each time that it is sent again. */
function bySmtp(people, key = 'billing', fields = []) {
  const from = senderOf(people[0]);
  const to = people.map((one) => one.email);
  return deliver(postern.smtpPort, KEYS[key], { from, to, bytes: content({ from, to: to[0], fields: [...fields, `Message-ID: <${people[0].id}@shop.example>`] }) });
}

/**
 * What was answered with 250 is at the relay, kept, or unknown on record.  A client that did not hear it sends the mail
 * again, and it is there then: once, or twice when it was killed before the relay's word was on record.
 */
async function accounted(person, answer, again = () => bySmtp([person])) {
  const isThere = async () => relayed(person) > 0 || (await waiting(person)).length > 0;
  if (answer?.status === 250 && !(await isThere())) assert.equal((await postern.decision(decisionIn(answer.text))).result, 'unknown', answer.text);
  assert.equal((await again()).status, 250);
  assert.ok(await isThere(), 'a mail that comes again is sent');
  const sent = relayed(person);
  assert.ok(sent <= 2, `sent ${sent} times`);
  assert.equal((await again()).status, 250);
  assert.equal(relayed(person), sent, 'recorded once, it is not sent again');
}

const keyed = (person) =>
  postern.raw('POST', '/v3/mail/send', JSON.stringify({ personalizations: [{ to: [{ email: person.email }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] }), {
    key: 'billing',
    headers: { 'Idempotency-Key': person.id },
  });

/** One way, killed at its n-th call; how many calls there were, and whether it was killed. */
async function run(way, n) {
  const person = await postern.person();
  await way.prepare?.(person);
  await arm(n);
  const answer = await way.act(person).catch(() => undefined); // a client whose connection breaks knows nothing
  if (n === MANY) await postern.idle(30);
  const { calls, killed } = await disarm(n);
  if (n !== MANY) {
    /* where it did not come to that call it dies here: it could come to it while we ask */
    await postern.kill();
    await postern.launch();
  }
  await way.check(person, answer);
  return { calls, killed };
}

describe('killed at one call', { timeout: POINTS === 'all' ? 3_600_000 : 600_000 }, () => {
  for (const [name, way] of Object.entries(ways))
    it(name, async (t) => {
      const { calls } = await run(way, MANY);
      let kills = 0;
      for (const n of points(calls)) kills += (await run(way, n)).killed;
      t.diagnostic(`${calls} calls, killed at ${kills} of them`);
      assert.ok(kills > 0);
    });
});

it('provider and audit agree one to one, and the chain holds', async (t) => {
  await postern.assertAuditHolds();
  await postern.terminate();
  const rows = await sqlite(path.join(postern.dir, 'postern.db'), "SELECT body FROM audit WHERE kind = 'result'");
  const results = rows.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  const recorded = results.filter((one) => one.result === 'forwarded').map((one) => one.provider_id);
  const answered = [...house.mail.requests, ...house.sms.requests].filter((one) => one.method === 'POST').map((one) => one.answer?.headers['X-Message-Id'] ?? (one.answer && JSON.parse(one.answer.body).sid));
  answered.push(...house.relay.accepted().map((one) => one.id));
  const unknown = results.filter((one) => one.result === 'unknown').length;
  assert.equal(new Set(recorded).size, recorded.length, 'each once');
  for (const id of recorded) assert.equal(answered.filter((one) => one === id).length, 1, `the provider gave ${id} once`);
  const untold = answered.length - recorded.length;
  assert.ok(untold <= unknown, `${untold} that the provider saw have no result, ${unknown} are recorded as unknown`);
  t.diagnostic(`the provider saw ${answered.length}; ${recorded.length} recorded as forwarded, ${unknown} as unknown`);
});
