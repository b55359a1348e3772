// An opt-out is final: once it is acknowledged no send to that address starts, whatever stage its messages are in.  The
// provider is slow and takes one call at a time, so that hundreds of calls wait inside Postern, decided, recorded, not
// yet written; opt-outs and withdrawals come in meanwhile.  The witness is the provider: what arrived after the
// acknowledgement was a breach, but for the one request that may have been on the wire at that moment.
import assert from 'node:assert/strict';
import { afterEach, after, before, describe, it } from 'node:test';
import { behave } from '../fakes/server.mjs';
import { decisionIds, header } from './expect.mjs';
import { startHouse, waitFor } from './harness.mjs';

const LATENCY_MS = 20;
/** A request that was written before the acknowledgement is noted this much after it at the latest. */
const ON_THE_WIRE_MS = 3 * LATENCY_MS;
let house, postern, mail, sms;

before(async () => {
  house = await startHouse({
    configure: (settings) => {
      settings.policy.caps = [];
      for (const provider of settings.providers) if (provider.kind !== 'sandbox') Object.assign(provider, { max_concurrency: 1, total_ms: 50_000 });
    },
  });
  ({ postern, mail, sms } = house);
});
after(() => house.end());
afterEach(() => {
  mail.forget();
  sms.forget();
});

const outcomeOf = (answer) => header(answer, 'X-Postern-Outcome');
const slow = () => {
  mail.when(() => true, behave.late(LATENCY_MS));
  sms.when(() => true, behave.late(LATENCY_MS));
};
const people = (n) => Promise.all(Array.from({ length: n }, () => postern.subscriber()));
const arrived = (fake, address) => fake.requests.filter((one) => one.holds(address));
const underWay = (fake, n) => waitFor(`${n} calls at the provider`, () => fake.requests.length >= n, { every: 2 });

/** Nothing for this address arrived after the acknowledgement. */
function assertFinal(fake, address, acknowledged) {
  const late = arrived(fake, address).map((one) => one.at - acknowledged).filter((ms) => ms > ON_THE_WIRE_MS);
  assert.deepEqual(late, [], 'ms after the acknowledgement');
}

/** Ask, and return when the 2xx came in. */
async function acknowledged(revoke) {
  await revoke;
  return Date.now();
}

/** The decision that was made last of those that came of this one. */
async function lastOf(id) {
  const one = await postern.api('GET', `/postern/v1/decisions/${id}`);
  return one.children?.length > 0 ? lastOf(one.children.at(-1)) : one;
}

describe('200 sends in flight', () => {
  const cases = [
    ['e-mail, opted out of everything', () => mail, (p) => p.email, (p, n) => postern.mail({ to: p.email, text: `offer ${n}` }, { key: 'promo' }), (p) => postern.optOut(p.email)],
    ['e-mail, by another spelling', () => mail, (p) => p.email, (p, n) => postern.mail({ to: p.email, text: `offer ${n}` }, { key: 'promo' }), (p) => postern.optOut(p.email.replace('@', '+x@').toUpperCase())],
    ['e-mail, consent withdrawn', () => mail, (p) => p.email, (p, n) => postern.mail({ to: p.email, text: `offer ${n}` }), (p) => postern.consent(p, { channel: 'email', category: 'newsletter', state: 'revoked' })],
    ['SMS, opted out of the channel', () => sms, (p) => p.phone, (p, n) => postern.sms({ to: p.phone, body: `offer ${n}` }), (p) => postern.optOut(p.phone, { scope: 'channel', channel: 'sms' })],
    ['SMS, opted out by the e-mail address', () => sms, (p) => p.phone, (p, n) => postern.sms({ to: p.phone, body: `offer ${n}` }), (p) => postern.optOut(p.email)],
  ];
  for (const [name, provider, address, send, revoke] of cases)
    it(name, async () => {
      await postern.newDay('12:00');
      const fake = provider();
      const all = await people(20);
      fake.requests.length = 0;
      slow();
      const sends = all.flatMap((person) => Array.from({ length: 10 }, (_, n) => send(person, n).then((answer) => ({ person, answer }))));
      await underWay(fake, 5);
      const acks = new Map();
      for (const person of all.filter((_, i) => i % 2 === 0)) acks.set(person, await acknowledged(revoke(person)));
      const results = await Promise.all(sends);

      assert.ok(fake.requests.length < 150, 'most of those opted out were still inside Postern');
      for (const [person, ack] of acks) assertFinal(fake, address(person), ack);
      for (const { person, answer } of results) {
        if (!acks.has(person)) assert.equal(outcomeOf(answer), 'forwarded', 'nobody else is touched');
        else if (outcomeOf(answer) !== 'forwarded') assert.match(header(answer, 'X-Postern-Code'), /^PST-HARD-(OPTOUT|NOCONSENT)$/);
      }
      for (const person of all) {
        const forwarded = results.filter((one) => one.person === person && outcomeOf(one.answer) === 'forwarded').length;
        assert.equal(arrived(fake, address(person)).length, forwarded, 'the provider and the callers agree');
      }
      const taken = results.find((one) => acks.has(one.person) && outcomeOf(one.answer) === 'blocked');
      assert.equal((await postern.decision(decisionIds(taken.answer)[0])).result, 'blocked');
    });
});

describe('a message that waits at the provider', () => {
  it('with three recipients goes to the two who did not opt out', async () => {
    await postern.newDay('12:00');
    const [ada, bob, eve, other] = await people(4);
    mail.requests.length = 0;
    slow();
    const queue = Array.from({ length: 30 }, (_, n) => postern.mail({ to: other.email, text: `offer ${n}` }, { key: 'promo' }));
    await underWay(mail, 1);
    const sent = postern.mail({ to: [ada.email, bob.email], bcc: eve.email }, { key: 'promo' });
    await postern.idle(100);
    const ack = await acknowledged(postern.optOut(eve.email));
    const answer = await sent;
    await Promise.all(queue);
    assert.equal(answer.status, 202);
    assert.equal(outcomeOf(answer), 'partial');
    assertFinal(mail, eve.email, ack);
    assert.equal(arrived(mail, ada.email).length, 1);
    assert.equal(arrived(mail, bob.email).length, 1);
    assert.deepEqual(arrived(mail, eve.email), []);
  });

  it('because it was released: ends, and says why', async () => {
    await postern.newDay('22:00', 'tue');
    const all = await people(40);
    const answers = await Promise.all(all.map((person) => postern.sms({ to: person.phone })));
    for (const answer of answers) assert.equal(outcomeOf(answer), 'deferred');
    sms.requests.length = 0;
    slow();
    await postern.setClock(postern.at('12:00', 1));
    await underWay(sms, 3);
    const acks = await Promise.all(all.map(async (person) => [person, await acknowledged(postern.optOut(person.phone))]));
    await waitFor('the queue to empty', async () => (await postern.deferred()).length === 0);
    await waitFor('the provider to rest', async () => (await postern.metric('postern_upstream_in_flight')) === 0);
    for (const [person, ack] of acks) assertFinal(sms, person.phone, ack);
    assert.ok(sms.requests.length < 40, 'some were still to come');
    for (const answer of answers) {
      const first = decisionIds(answer)[0];
      const last = await waitFor('the last word', async () => {
        const one = await lastOf(first);
        return one.id !== first && !['pending', 'not_sent'].includes(one.result) && one;
      });
      assert.ok(last.result === 'forwarded' || last.reason === 'opted_out', `${last.result}, ${last.reason}`);
    }
  });
});

it('the audit holds after all of this', () => postern.assertAuditHolds());
