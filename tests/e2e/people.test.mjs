// What people said, through the native API: contacts, consents, opt-outs; who may lift what; the dry run; and that
// reading changes nothing.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FORWARDED, OPTED_OUT, assertOutcome, header } from './expect.mjs';
import { startHouse, waitFor } from './harness.mjs';

let house, postern, mail, sms;

before(async () => {
  house = await startHouse();
  ({ postern, mail, sms } = house);
});
after(() => house.end());

const hours = (n) => new Date(postern.now.getTime() + n * 3_600_000);
const outcome = async (answer) => header(await answer, 'X-Postern-Outcome');

/** An answer of the native API that refuses: RFC 9457 problem details. */
function assertProblem(answer, status, says) {
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  assert.match(answer.headers.get('content-type'), /^application\/problem\+json/);
  assert.equal(answer.body.status, status);
  assert.equal(typeof answer.body.title, 'string');
  if (says) assert.match(JSON.stringify(answer.body), says);
}

describe('contacts', () => {
  it('come back with source, confidence and version of each value', async () => {
    const { email, phone, id } = postern.stranger();
    await postern.api('PUT', `/postern/v1/contacts/${id}`, {
      addresses: { email: [email], sms: [phone] }, account: 'acme', zone: 'America/Chicago', language: 'en',
      preferences: { 'channel.primary': 'email', hours: { 'mon-fri': '08:00-18:00' }, 'frequency.max_per_week': 5, format: 'concise' },
    });
    const contact = await postern.api('GET', `/postern/v1/contacts/${id}`);
    assert.equal(contact.id, id);
    assert.equal(contact.account, 'acme');
    assert.deepEqual(contact.addresses, { email: [email], sms: [phone] });
    for (const value of [contact.zone, contact.language, contact.preferences['channel.primary'], contact.preferences.hours, contact.preferences['frequency.max_per_week']]) {
      assert.ok('value' in value && value.source && value.confidence && value.version >= 1, JSON.stringify(value));
    }
    assert.equal(contact.zone.value, 'America/Chicago');
    assert.equal(contact.preferences['frequency.max_per_week'].value, 5);
  });

  it('count versions up, and only of what changed', async () => {
    const ada = await postern.person({ preferences: { format: 'concise', 'frequency.max_per_day': 3 } });
    const before = await postern.api('GET', `/postern/v1/contacts/${ada.id}`);
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, {
      addresses: { email: [ada.email], sms: [ada.phone] }, zone: 'America/New_York', preferences: { format: 'detailed', 'frequency.max_per_day': 3 },
    });
    const now = await postern.api('GET', `/postern/v1/contacts/${ada.id}`);
    assert.equal(now.preferences.format.value, 'detailed');
    assert.equal(now.preferences.format.version, before.preferences.format.version + 1);
    assert.equal(now.preferences['frequency.max_per_day'].version, before.preferences['frequency.max_per_day'].version);
  });

  it('in force at once: the next message is decided by the new preferences', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    assert.equal(await outcome(postern.sms({ to: ada.phone }, { key: 'billing-sms' })), 'forwarded');
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, {
      addresses: { email: [ada.email], sms: [ada.phone] }, zone: 'America/New_York', preferences: { 'channel.never': ['sms'] },
    });
    assert.equal(await outcome(postern.sms({ to: ada.phone }, { key: 'billing-sms' })), 'blocked');
  });

  it('refuse what they cannot use, and say what would be right', async () => {
    const { id, email } = postern.stranger();
    const rows = [
      [{ addresses: { email: [email] }, zone: 'America/New_Yorkk' }, /America\/New_York/],
      [{ addresses: { email: ['no address'] } }, /email/],
      [{ addresses: { sms: ['12'] } }, /sms|number/],
      [{ addresses: { email: [email] }, preferences: { hours: { 'mon-fri': '08:00-08:00' } } }, /hours/],
      [{ addresses: { email: [email] }, preferences: { 'frequency.max_per_day': -1 } }, /max_per_day/],
      [{ addresses: { email: [email] }, preferences: { 'no.such': 1 } }, /no\.such/],
      [{ addresses: { email: [email] }, preferences: { digest: 'hourly' } }, /digest/],
      [{ addresses: { email: [email] }, surprise: 1 }, /surprise/],
    ];
    for (const [body, says] of rows) assertProblem(await postern.call('PUT', `/postern/v1/contacts/${id}`, body), 400, says);
    assertProblem(await postern.call('PUT', `/postern/v1/contacts/${id}`, '{"addresses":{},"addresses":{}}'), 400, /duplicate|twice/i);
    assertProblem(await postern.call('PUT', `/postern/v1/contacts/${id}`, '{"addresses":'), 400);
    assertProblem(await postern.call('GET', `/postern/v1/contacts/${id}`), 404);
  });

  it('an address belongs to one contact', async () => {
    const ada = await postern.person();
    assertProblem(await postern.call('PUT', '/postern/v1/contacts/thief', { addresses: { email: [ada.email] } }), 409);
  });

  it('need a key with the right to them', async () => {
    assertProblem(await postern.call('GET', '/postern/v1/contacts/x', undefined, { key: null }), 401);
    assertProblem(await postern.call('GET', '/postern/v1/contacts/x', undefined, { key: 'shop' }), 403);
    assertProblem(await postern.call('GET', '/postern/v1/no-such-thing'), 404);
    assertProblem(await postern.call('DELETE', '/postern/v1/opt-outs'), 405);
  });
});

describe('opt-outs', () => {
  it('are in force before they are acknowledged, under load', async () => {
    await postern.newDay('12:00');
    for (let round = 0; round < 8; round++) {
      const ada = await postern.person();
      let acknowledged = Infinity;
      const senders = Array.from({ length: 4 }, async () => {
        for (let i = 0; i < 6; i++) {
          const began = performance.now();
          const answer = await postern.sms({ to: ada.phone }, { key: 'billing-sms' });
          if (began > acknowledged) assert.equal(header(answer, 'X-Postern-Outcome'), 'blocked', 'a send that began after the acknowledgement');
        }
      });
      await postern.optOut(ada.phone);
      acknowledged = performance.now();
      const atAck = Date.now();
      await Promise.all(senders);
      const late = sms.sends(ada.phone).filter((one) => one.at > atAck + 50);
      assert.deepEqual(late.map((one) => one.at - atAck), [], 'nothing arrives at the provider after the acknowledgement');
    }
  });

  it('empty what waits for that person, on the channels that they cover', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    const answer = await postern.sms({ to: ada.phone });
    assert.equal(header(answer, 'X-Postern-Outcome'), 'deferred');
    assert.equal((await postern.deferred(ada.id)).length, 1);
    await postern.optOut(ada.email, { scope: 'global' });
    assert.deepEqual(await postern.deferred(ada.id), []);
    await postern.setClock(postern.at('12:00', 1));
    await postern.idle();
    assert.deepEqual(sms.sends(ada.phone), []);
  });

  it('a channel opt-out binds that channel only', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.phone, { scope: 'channel', channel: 'sms' });
    assert.equal((await postern.sms({ to: ada.phone })).error.code, 21610);
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
  });

  it('a category opt-out binds that category only', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email, { scope: 'category', category: 'newsletter' });
    assertOutcome(await postern.mail({ to: ada.email }), { status: 403, ...OPTED_OUT });
    assert.equal(await outcome(postern.mail({ to: ada.email }, { key: 'promo' })), 'forwarded');
    assert.equal(await outcome(postern.mail({ to: ada.email }, { key: 'billing' })), 'forwarded');
  });

  it('a global one lets transactional mail pass, with a notice, and no transactional SMS', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email);
    const answer = await postern.mail({ to: ada.email }, { key: 'billing' });
    assertOutcome(answer, { status: 202, outcome: 'forwarded', level: 'info' });
    assert.equal((await postern.sms({ to: ada.phone }, { key: 'billing-sms' })).error.code, 21610);
  });

  it('bind an address whose person nobody knows', async () => {
    const nobody = postern.stranger();
    await postern.optOut(nobody.email);
    assertOutcome(await postern.mail({ to: nobody.email }, { key: 'promo' }), { status: 403, ...OPTED_OUT });
  });

  it('answer bad ones with what would be right', async () => {
    const { email } = postern.stranger();
    for (const body of [{ address: email, scope: 'everything' }, { address: 'x', scope: 'global' }, { address: email, scope: 'channel' }, { address: email, scope: 'category', category: 'no-such' }])
      assertProblem(await postern.call('POST', '/postern/v1/opt-outs', { source: 'customer', ...body }), 400);
  });
});

describe('consent and cooling-off', () => {
  const grant = (person, change) => postern.call('POST', `/postern/v1/contacts/${person.id}/consents`, { channel: 'email', category: 'newsletter', state: 'granted', basis: 'web form', evidence: 'form 7', source: 'customer', ...change });

  it('a newsletter needs one, on each channel', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person({ consent: { email: ['newsletter'] } });
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
    assert.equal((await postern.sms({ to: ada.phone })).error.code, 7740301);
  });

  it('a withdrawal acts at once and empties the queue', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'deferred');
    await postern.consent(ada, { channel: 'sms', category: 'newsletter', state: 'revoked' });
    assert.deepEqual(await postern.deferred(ada.id), []);
    assert.equal((await postern.sms({ to: ada.phone })).error.code, 7740301);
  });

  it('granted again within 24 hours: pending, and it never activates by itself', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.consent(ada, { channel: 'email', category: 'newsletter', state: 'revoked' });
    await postern.setClock(hours(23));
    const answer = await grant(ada);
    assert.equal(answer.body.state, 'pending', JSON.stringify(answer.body));
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'blocked');
    await postern.setClock(hours(48));
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'blocked', 'still pending');
    assert.equal((await grant(ada)).body.state, 'granted', 'the customer confirms it later');
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
  });

  it('granted again after 24 hours: in force', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.consent(ada, { channel: 'email', category: 'newsletter', state: 'revoked' });
    await postern.setClock(hours(25));
    assert.equal((await grant(ada)).body.state, 'granted');
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
  });

  it('the cooling-off holds on the path of an opt-out too, and a narrower opt-in never lifts a wider opt-out', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email);
    await postern.setClock(hours(1));
    const soon = await grant(ada);
    assert.notEqual(soon.body.state, 'granted');
    await postern.setClock(hours(30));
    await grant(ada);
    assertOutcome(await postern.mail({ to: ada.email }), { status: 403, ...OPTED_OUT });
  });

  for (const source of ['import', 'sync'])
    it(`${source} can only restrict`, async () => {
      await postern.newDay('12:00');
      const ada = await postern.subscriber();
      await postern.consent(ada, { channel: 'email', category: 'newsletter', state: 'revoked' });
      await postern.setClock(hours(72));
      const lifted = await grant(ada, { source });
      assertProblem(lifted, 409);
      assert.equal(await outcome(postern.mail({ to: ada.email })), 'blocked');
      const bob = await postern.subscriber();
      await postern.consent(bob, { channel: 'email', category: 'newsletter', state: 'revoked', source });
      assert.equal(await outcome(postern.mail({ to: bob.email })), 'blocked');
    });

  it('an agent lifts only with evidence', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.consent(ada, { channel: 'email', category: 'newsletter', state: 'revoked' });
    await postern.setClock(hours(72));
    assertProblem(await grant(ada, { source: 'agent', evidence: undefined }), 409);
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'blocked');
  });

  it('a contact put again keeps its opt-outs', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email, { scope: 'channel', channel: 'email' });
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, { addresses: { email: [ada.email], sms: [ada.phone] }, zone: 'America/New_York' });
    assertOutcome(await postern.mail({ to: ada.email }, { key: 'promo' }), { status: 403, ...OPTED_OUT });
  });
});

describe('reading changes nothing', () => {
  it('GET and HEAD on what acts by POST', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    for (const method of ['GET', 'HEAD'])
      for (const target of ['/postern/v1/opt-outs', `/postern/v1/contacts/${ada.id}/consents`, '/postern/v1/decisions', '/postern/v1/test/clock', '/v3/mail/send'])
        assert.ok((await postern.call(method, `${target}?address=${encodeURIComponent(ada.email)}&scope=global&state=revoked`)).status >= 400, `${method} ${target}`);
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
  });

  it('HEAD answers as GET does, without the body', async () => {
    const ada = await postern.person();
    const answer = await postern.call('HEAD', `/postern/v1/contacts/${ada.id}`);
    assert.equal(answer.status, 200);
    assert.equal(answer.body ?? '', '');
  });
});

describe('the dry run', () => {
  const ask = (body) => postern.api('POST', '/postern/v1/decisions', { priority: 'P2', ...body });

  it("tells every rule's verdict and the facts that it read", async () => {
    await postern.newDay('22:00');
    const ada = await postern.subscriber();
    const decision = await ask({ to: ada.phone, channel: 'sms', category: 'newsletter' });
    assert.equal(decision.outcome, 'defer');
    assert.equal(decision.code, 'PST-DEFER-QUIET');
    assert.ok(decision.rules.length >= 20, 'every rule speaks');
    assert.equal(decision.rules.find((one) => one.rule === 'hours_organisation').verdict, 'defer');
    assert.equal(decision.rules.find((one) => one.rule === 'consent').verdict, 'pass');
    assert.match(JSON.stringify(decision.facts), /America\/New_York/);
    assert.ok(Date.parse(decision.release_at) >= postern.at('08:00', 1).getTime());
  });

  it('looks at the time that it is asked for', async () => {
    await postern.newDay('12:00', 'tue');
    const ada = await postern.subscriber();
    const question = { to: ada.phone, channel: 'sms', category: 'newsletter' };
    assert.equal((await ask(question)).outcome, 'forward');
    assert.equal((await ask({ ...question, at: postern.at('23:00').toISOString() })).outcome, 'defer');
    assert.equal((await ask({ ...question, at: postern.at('08:00', 1).toISOString() })).outcome, 'forward');
    assert.equal((await ask({ ...question, at: new Date(postern.at('08:00', 1).getTime() - 1).toISOString() })).outcome, 'defer');
  });

  it('sends nothing and counts nothing', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    for (let i = 0; i < 10; i++) assert.equal((await ask({ to: ada.email, channel: 'email', category: 'newsletter' })).outcome, 'forward');
    assert.deepEqual(mail.sends(ada.email), []);
    for (let i = 0; i < 3; i++) assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
    await waitFor('the cap to show', async () => (await ask({ to: ada.email, channel: 'email', category: 'newsletter' })).outcome === 'block');
  });

  it('refuses a question that it cannot read', async () => {
    for (const body of [{ to: 'x', channel: 'email' }, { to: 'a@b.example', channel: 'pigeon', category: 'newsletter' }, { to: 'a@b.example', channel: 'email', category: 'no-such' }, { to: 'a@b.example', channel: 'email', category: 'newsletter', at: 'tomorrow' }])
      assertProblem(await postern.call('POST', '/postern/v1/decisions', body), 400);
    assertProblem(await postern.call('GET', '/postern/v1/decisions/dec_ffffffffffffffff'), 404);
  });
});

describe('what waits', () => {
  async function night() {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    const answer = await postern.sms({ to: ada.phone });
    const rows = await postern.deferred(ada.id);
    assert.equal(rows.length, 1);
    return { ada, row: rows[0], answer };
  }

  it('is listed with its reason and time', async () => {
    const { row, answer } = await night();
    assert.match(row.id, /^def_[0-9a-f]+$/);
    assert.equal(row.decision_id, header(answer, 'X-Postern-Decision-Id'));
    assert.equal(row.state, 'waiting');
    assert.equal(row.channel, 'sms');
    assert.equal(row.category, 'newsletter');
    assert.equal(row.reason, 'quiet_hours');
    assert.equal(Date.parse(row.release_at), Date.parse(header(answer, 'X-Postern-Release-At')));
    assert.match(row.local_rule, /America\/New_York/);
  });

  it('is released early by hand, and decided again: quiet hours still hold', async () => {
    const { ada, row } = await night();
    await postern.api('POST', `/postern/v1/deferred/${row.id}/release`);
    await postern.idle();
    assert.deepEqual(sms.sends(ada.phone), []);
    assert.equal((await postern.deferred(ada.id)).length, 1, 'deferred again');
    await postern.setClock(postern.at('12:00', 1));
    await waitFor('the release', () => sms.sends(ada.phone).length === 1);
  });

  it('is released early when nothing stands against it any more', async () => {
    await postern.newDay('09:00');
    const ada = await postern.subscriber();
    await postern.mail({ to: ada.email, sendAt: postern.at('17:00') / 1000 });
    const [row] = await postern.deferred(ada.id);
    await postern.api('POST', `/postern/v1/deferred/${row.id}/release`);
    await waitFor('the release', () => mail.sends(ada.email).length === 1);
  });

  it('is cancelled by hand, for good', async () => {
    const { ada, row } = await night();
    await postern.api('POST', `/postern/v1/deferred/${row.id}/cancel`);
    assert.deepEqual(await postern.deferred(ada.id), []);
    assertProblem(await postern.call('POST', `/postern/v1/deferred/${row.id}/cancel`), 409);
    assertProblem(await postern.call('POST', '/postern/v1/deferred/def_ffffffffffffffff/release'), 404);
    await postern.setClock(postern.at('12:00', 1));
    await postern.idle();
    assert.deepEqual(sms.sends(ada.phone), []);
  });

  it('is decided again in full at release: a preference that came meanwhile counts', async () => {
    const { ada } = await night();
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, {
      addresses: { email: [ada.email], sms: [ada.phone] }, zone: 'America/New_York', preferences: { 'channel.never': ['sms'] },
    });
    await postern.setClock(postern.at('12:00', 1));
    await waitFor('it to end', async () => (await postern.deferred(ada.id)).length === 0);
    assert.deepEqual(sms.sends(ada.phone), []);
  });

  it('moves with the person: a new zone is decided by at release', async () => {
    const { ada, answer } = await night();
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, { addresses: { email: [ada.email], sms: [ada.phone] }, zone: 'America/Los_Angeles' });
    await postern.passRelease(header(answer, 'X-Postern-Release-At'));
    await waitFor('it to be deferred again', async () => Date.parse((await postern.deferred(ada.id))[0]?.release_at ?? 0) >= postern.at('11:00', 1).getTime());
    assert.deepEqual(sms.sends(ada.phone), []);
    await postern.setClock(postern.at('12:00', 1));
    await waitFor('the release', () => sms.sends(ada.phone).length === 1);
  });

  it('posternctl sees the same, and lets go and cancels', async () => {
    const { row, ada } = await night();
    const list = await postern.ctl('deferred', 'list');
    assert.equal(list.code, 0, list.stderr);
    assert.ok(list.stdout.includes(row.id));
    const cancel = await postern.ctl('deferred', 'cancel', row.id);
    assert.equal(cancel.code, 0, cancel.stderr);
    assert.deepEqual(await postern.deferred(ada.id), []);
  });

  it('posternctl explains a refusal', async () => {
    const ada = await postern.subscriber();
    await postern.optOut(ada.email);
    const { code, stdout, stderr } = await postern.ctl('explain', '--to', ada.email, '--channel', 'email', '--category', 'newsletter');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /opt_out_global/);
    assert.match(stdout, /block/);
  });
});

it('the audit holds after all of this', () => postern.assertAuditHolds());
it('forwarded is still forwarded', async () => {
  await postern.newDay('12:00');
  assertOutcome(await postern.mail({ to: (await postern.subscriber()).email }), { status: 202, ...FORWARDED });
});
