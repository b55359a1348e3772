// Windows and caps as the clock of the recipient shows them: margins, the part after midnight, both clock changes, the
// Monday of a week, the gap over midnight, slots kept for a class, and the end of a message that is deferred too often.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { header } from './expect.mjs';
import { startHouse, waitFor } from './harness.mjs';

let house, postern, mail, sms;

before(async () => {
  house = await startHouse({ configure: (settings) => (settings.policy.caps = []) });
  ({ postern, mail, sms } = house);
});
after(() => house.end());

const outcome = async (answer) => header(await answer, 'X-Postern-Outcome');
const offer = (person, n) => postern.mail({ to: person.email, text: `offer ${n}` });
const ask = (person, at, more = {}) => postern.api('POST', '/postern/v1/decisions', { to: person.email, channel: 'email', category: 'newsletter', at: new Date(at).toISOString(), ...more });

describe('windows', () => {
  it('forwarding stops 120 s before a window ends', async () => {
    const ada = await postern.subscriber();
    await postern.newDay('20:57', 'tue');
    const text = { to: ada.phone, channel: 'sms' };
    const closes = postern.at('21:00').getTime() - 120_000;
    assert.equal((await ask(ada, closes - 1, text)).outcome, 'forward');
    assert.equal((await ask(ada, closes, text)).outcome, 'defer');
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'forwarded');
    await postern.setClock(closes + 1000);
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'deferred');
  });

  it('start is inside, and the part after midnight belongs to the day on which it started', async () => {
    await postern.newDay('12:00', 'fri');
    const ada = await postern.subscriber({ preferences: { hours: { fri: '22:00-02:00' } } });
    const rows = [['21:59', 0, false], ['22:00', 0, true], ['01:57', 1, true], ['01:58', 1, false], ['22:30', 1, false]];
    for (const [time, later, open] of rows) assert.equal((await ask(ada, postern.at(time, later))).outcome === 'forward', open, `${time}, ${later}`);
  });

  it('days.never also closes what reaches into them', async () => {
    await postern.newDay('12:00', 'fri');
    const ada = await postern.subscriber({ preferences: { hours: { fri: '22:00-02:00' }, 'days.never': ['sat'] } });
    assert.equal((await ask(ada, postern.at('23:00'))).outcome, 'forward');
    assert.notEqual((await ask(ada, postern.at('01:00', 1))).outcome, 'forward');
  });

  it('a time that the clock jumps over opens at the next instant that exists', async () => {
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-sun': '02:30-04:00' } } });
    // New York, 2031-03-09: 02:00 EST is 03:00 EDT, 07:00Z
    assert.equal((await ask(ada, '2031-03-09T06:59:59Z')).outcome, 'defer');
    assert.equal(Date.parse((await ask(ada, '2031-03-09T06:30:00Z')).release_at), Date.parse('2031-03-09T07:00:00Z'));
    assert.equal((await ask(ada, '2031-03-09T07:00:00Z')).outcome, 'forward');
  });

  it('a time that is there twice keeps quiet as long as possible', async () => {
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-sun': '01:30-05:00' } } });
    const bob = await postern.subscriber({ preferences: { hours: { 'mon-sun': ['00:00-01:30'] } } });
    // New York, 2031-11-02: 01:30 EDT is 05:30Z, 01:30 EST is 06:30Z
    assert.equal((await ask(ada, '2031-11-02T05:45:00Z')).outcome, 'defer');
    assert.equal(Date.parse((await ask(ada, '2031-11-02T05:45:00Z')).release_at), Date.parse('2031-11-02T06:30:00Z'));
    assert.notEqual((await ask(bob, '2031-11-02T05:45:00Z')).outcome, 'forward', 'a closing is the earlier reading');
  });

  it('the dead-letter list takes what is deferred for the sixth time; a person can let it go', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    await postern.sms({ to: ada.phone });
    const [{ id }] = await postern.deferred(ada.id);
    const row = async () => (await postern.api('GET', `/postern/v1/deferred?id=${id}`)).deferred[0];
    for (let i = 2; i <= 5; i++) {
      await postern.api('POST', `/postern/v1/deferred/${id}/release`);
      await waitFor(`deferral ${i}`, async () => (await row()).deferrals === i);
      assert.equal((await row()).state, 'waiting');
    }
    await postern.api('POST', `/postern/v1/deferred/${id}/release`);
    await waitFor('the dead letter', async () => (await row()).state === 'dead');
    await postern.setClock(postern.at('12:00', 1));
    await postern.idle(200);
    assert.deepEqual(sms.sends(ada.phone), [], 'dead: the morning does not wake it');
    await postern.api('POST', `/postern/v1/deferred/${id}/release`);
    await waitFor('the release', () => sms.sends(ada.phone).length === 1);
  });
});

describe("the customer's own caps", () => {
  it('a week starts on Monday', async () => {
    await postern.newDay('20:00', 'sun');
    const ada = await postern.subscriber({ preferences: { 'frequency.max_per_week': 1 } });
    assert.equal(await outcome(offer(ada, 1)), 'forwarded');
    await postern.setClock(postern.at('23:30'));
    assert.equal(await outcome(offer(ada, 2)), 'blocked');
    await postern.setClock(postern.at('00:05', 1));
    assert.equal(await outcome(offer(ada, 3)), 'forwarded');
  });

  it('23:45 and 00:15 are not two days: an hour must lie between them', async () => {
    await postern.newDay('23:45', 'tue');
    const ada = await postern.subscriber({ preferences: { 'frequency.max_per_day': 1 } });
    assert.equal(await outcome(offer(ada, 1)), 'forwarded');
    await postern.setClock(postern.at('00:15', 1));
    const soon = await offer(ada, 2);
    assert.equal(header(soon, 'X-Postern-Outcome'), 'blocked');
    assert.match(JSON.stringify(soon.body), /too soon/);
    await postern.setClock(postern.at('00:46', 1));
    assert.equal(await outcome(offer(ada, 3)), 'forwarded');
  });

  it('what was stated for SMS counts SMS', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber({ by_channel: { sms: { 'frequency.max_per_day': 1 } } });
    assert.equal(await outcome(postern.sms({ to: ada.phone, body: 'offer 1' })), 'forwarded');
    for (let n = 0; n < 3; n++) assert.equal(await outcome(offer(ada, n)), 'forwarded');
    assert.equal(await outcome(postern.sms({ to: ada.phone, body: 'offer 2' })), 'blocked');
  });

  it('automated support waits for the next slot, an agent is asked', async () => {
    await postern.newDay('12:00', 'tue');
    const ada = await postern.person({ preferences: { 'frequency.max_per_day': 1 } });
    assert.equal(await outcome(postern.mail({ to: ada.email, text: 'case 1' }, { key: 'bot' })), 'forwarded');
    const waits = await postern.mail({ to: ada.email, text: 'case 2' }, { key: 'bot' });
    assert.equal(header(waits, 'X-Postern-Outcome'), 'deferred');
    assert.ok(Date.parse(header(waits, 'X-Postern-Release-At')) >= postern.at('00:00', 1).getTime());
    const asked = await postern.mail({ to: ada.email, text: 'case 3' }, { key: 'desk' });
    assert.equal(asked.status, 409);
    const low = await postern.mail({ to: ada.email, text: 'case 4', customArgs: { postern_priority: 'P3' } }, { key: 'bot' });
    assert.equal(header(low, 'X-Postern-Outcome'), 'digest');
  });
});

describe("the organisation's caps", () => {
  let other;
  before(async () => {
    other = await startHouse({
      configure: (settings) => {
        settings.policy.caps = [
          { name: 'all', calendar: 'day', limit: 3, reserve: { class: 'support', slots: 1 } },
          { name: 'promo', category: 'promo-out', rolling: '24h', limit: 1 },
        ];
      },
    });
  });
  after(() => other.end());
  const send = (person, key, n) => outcome(other.postern.mail({ to: person.email, text: `${key} ${n}` }, { key }));

  it('keep the last slot for support', async () => {
    await other.postern.newDay('12:00');
    const ada = await other.postern.subscriber();
    assert.deepEqual([await send(ada, 'shop', 1), await send(ada, 'shop', 2), await send(ada, 'shop', 3)], ['forwarded', 'forwarded', 'blocked']);
    assert.deepEqual([await send(ada, 'bot', 1), await send(ada, 'bot', 2)], ['forwarded', 'deferred']);
  });

  it('without classes: receipts use up room and are not held up; codes are nowhere', async () => {
    await other.postern.newDay('12:00');
    const ada = await other.postern.subscriber();
    for (let n = 0; n < 4; n++) assert.equal(await outcome(other.postern.mail({ to: ada.email, text: `code ${n}`, customArgs: { postern_category: 'code' } }, { key: 'billing' })), 'forwarded');
    for (let n = 0; n < 2; n++) assert.equal(await send(ada, 'billing', n), 'forwarded');
    assert.equal(await send(ada, 'shop', 1), 'blocked');
    for (let n = 2; n < 5; n++) assert.equal(await send(ada, 'billing', n), 'forwarded');
  });

  it('rolling: a slot is free exactly one span after the send that held it', async () => {
    await other.postern.newDay('12:00', 'tue');
    const ada = await other.postern.subscriber();
    assert.equal(await send(ada, 'promo', 1), 'forwarded');
    await other.postern.setClock(other.postern.at('11:59', 1));
    assert.equal(await send(ada, 'promo', 2), 'blocked');
    await other.postern.setClock(other.postern.at('12:01', 1));
    assert.equal(await send(ada, 'promo', 3), 'forwarded');
  });
});

it('the audit holds after all of this', () => postern.assertAuditHolds());
