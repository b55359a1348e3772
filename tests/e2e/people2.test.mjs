// What people said, sentence by sentence: which of several values is in force and what gives way to what; whom an
// opt-out binds, in every spelling; the cooling-off on every path; levels and shadow by configuration; what an answer
// says when a message would expire; what a dry run shows.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FORWARDED, OPTED_OUT, assertOutcome, decisionIds, header } from './expect.mjs';
import { KEYS, startHouse, waitFor } from './harness.mjs';

let house, postern, mail, sms;

before(async () => {
  house = await startHouse();
  ({ postern, mail, sms } = house);
});
after(() => house.end());

const outcome = async (answer) => header(await answer, 'X-Postern-Outcome');
const hours = (n) => new Date(postern.now.getTime() + n * 3_600_000);
const contact = (person, query = '') => postern.api('GET', `/postern/v1/contacts/${person.id}${query}`);
const put = (person, body) => postern.api('PUT', `/postern/v1/contacts/${person.id}`, body);
const tryPut = (person, body) => postern.call('PUT', `/postern/v1/contacts/${person.id}`, body);
const state = (person, preferences, claim = {}) => put(person, { preferences, ...claim });
const ask = (body) => postern.api('POST', '/postern/v1/decisions', { priority: 'P2', ...body });
const grant = (person, change) => postern.call('POST', `/postern/v1/contacts/${person.id}/consents`, { channel: 'email', category: 'newsletter', state: 'granted', basis: 'web form', evidence: 'form 7', source: 'customer', ...change });
const cap = 'frequency.max_per_day';
const crm = { source: 'sync', system: 'crm' };
const helpdesk = { source: 'sync', system: 'helpdesk' };

describe('which value is in force', () => {
  it("an agent's and a sync's values stand beside the customer's, and give way to it", async () => {
    const ada = await postern.person({ preferences: { language: 'fr' } });
    await state(ada, { language: 'en' }, { source: 'agent' });
    await state(ada, { language: 'de' }, crm);
    const shown = await contact(ada);
    assert.equal(shown.preferences.language.value, 'fr');
    assert.equal(shown.preferences.language.authority, 'contact');
    assert.deepEqual(shown.others.map((one) => [one.key, one.value, one.source, one.system]).sort(), [['language', 'de', 'sync', 'crm'], ['language', 'en', 'agent', null]]);
    assert.deepEqual(shown.flagged, []);
  });

  it('falls back when the stronger is taken back, one authority after the other', async () => {
    const ada = await postern.person({ preferences: { language: 'fr' } });
    await state(ada, { language: 'en' }, { source: 'agent' });
    await state(ada, { language: 'de' }, crm);
    const inForce = async () => (await contact(ada)).preferences.language.value;
    await state(ada, { language: null });
    assert.equal(await inForce(), 'en');
    await state(ada, { language: null }, { source: 'agent' });
    assert.equal(await inForce(), 'de');
    await state(ada, { language: null }, crm);
    assert.equal(await inForce(), null);
    await state(ada, { language: 'it' });
    assert.equal(await inForce(), 'it');
  });

  it('a detected value never overwrites an explicit one, however often it comes', async () => {
    const ada = await postern.person({ preferences: { language: 'fr' } });
    for (const language of ['en', 'de', 'en']) await state(ada, { language }, { source: 'behaviour', confidence: 'medium' });
    assert.equal((await contact(ada)).preferences.language.value, 'fr');
    assert.equal((await tryPut(ada, { preferences: { language: 'en' }, confidence: 'low' })).status, 409, "not as the customer's own either");
    assert.equal((await contact(ada)).preferences.language.value, 'fr');
  });

  it('locked by the organisation beats the agent, not the contact', async () => {
    const ada = await postern.person();
    await state(ada, { format: 'concise' }, { locked: true });
    await state(ada, { format: 'detailed' }, { source: 'agent' });
    assert.equal((await contact(ada)).preferences.format.value, 'concise');
    await state(ada, { format: 'detailed' });
    assert.equal((await contact(ada)).preferences.format.value, 'detailed');
  });

  it('help desk beats CRM on equal rank and time; a newer CRM beats both', async () => {
    const ada = await postern.person();
    const stated_at = hours(-5).toISOString();
    await state(ada, { language: 'de' }, { ...helpdesk, stated_at });
    await state(ada, { language: 'en' }, { ...crm, stated_at });
    assert.equal((await contact(ada)).preferences.language.value, 'de');
    assert.deepEqual((await contact(ada)).flagged, []);
    await state(ada, { language: 'fr' }, { ...crm, stated_at: hours(-4).toISOString() });
    assert.equal((await contact(ada)).preferences.language.value, 'fr');
  });

  it('equal in everything and different: the restrictive one, flagged for review', async () => {
    const ada = await postern.person();
    const stated_at = hours(-5).toISOString();
    await state(ada, { [cap]: 5, language: 'de' }, { source: 'sync', system: 'erp', stated_at });
    await state(ada, { [cap]: 2, language: 'de' }, { source: 'sync', system: 'till', stated_at });
    const shown = await contact(ada);
    assert.equal(shown.preferences[cap].value, 2);
    assert.deepEqual(shown.flagged, [cap]);
    await state(ada, { [cap]: 3 });
    assert.deepEqual((await contact(ada)).flagged, [], 'the customer settled it');
  });

  it('an import restricts at once, loosens never, and the customer has the last word', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber({ preferences: { [cap]: 2 } });
    const inForce = async () => (await contact(ada)).preferences[cap].value;
    await state(ada, { [cap]: 50, 'channel.never': [] }, crm);
    assert.equal(await inForce(), 2);
    await state(ada, { [cap]: 0 }, crm);
    assert.equal(await inForce(), 0);
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'blocked');
    await state(ada, { [cap]: 50 }, crm);
    assert.equal(await inForce(), 0, 'what it restricted it does not give back');
    await state(ada, { [cap]: 2 });
    assert.equal(await inForce(), 2, 'the same word again is news');
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
    const { version } = await contact(ada);
    await state(ada, { [cap]: 2 });
    assert.equal((await contact(ada)).version, version, 'and now it is none');
  });

  it('a sync that repeats itself makes no versions', async () => {
    const ada = await postern.person({ preferences: { [cap]: 5, language: 'fr' } });
    const same = () => state(ada, { [cap]: 3, language: 'de' }, crm);
    await same();
    const { version } = await contact(ada);
    for (let i = 0; i < 3; i++) await same();
    assert.equal((await contact(ada)).version, version);
  });

  it('keeps every version with time, source and what was before', async () => {
    const ada = await postern.person({ preferences: { language: 'fr' } });
    await state(ada, { language: 'en' }, { source: 'agent' });
    await state(ada, { language: 'it' });
    const { history } = await contact(ada, '?history=1');
    const rows = history.filter((one) => one.key === 'language').sort((a, b) => a.version - b.version);
    assert.deepEqual(rows.map((one) => [one.version, one.value, one.source]), [[1, 'fr', 'customer'], [2, 'en', 'agent'], [3, 'it', 'customer']]);
    for (const row of rows) assert.ok(!Number.isNaN(Date.parse(row.updated_at)));
  });

  it('what is said for a topic beats category, channel and any', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await put(ada, { preferences: { [cap]: 3 }, by_channel: { email: { [cap]: 2 } }, by_category: { newsletter: { [cap]: 1 } }, by_topic: { shoes: { [cap]: 0 } } });
    const capped = async (more) => (await ask({ to: ada.email, channel: 'email', category: 'newsletter', ...more })).facts.preferences_in_force[cap].value;
    assert.equal(await capped({ topic: 'shoes' }), 0);
    assert.equal(await capped({ topic: 'hats' }), 1);
    assert.equal(await capped({ category: 'promo-out' }), 2);
    assert.equal(await capped({ to: ada.phone, channel: 'sms', category: 'promo-out' }), 3);
    assert.equal((await ask({ to: ada.email, channel: 'email', category: 'newsletter', topic: 'shoes' })).outcome, 'block');
    await put(ada, { by_topic: { shoes: { [cap]: null } } });
    assert.equal(await capped({ topic: 'shoes' }), 1, 'null gives way to the wider');
  });

  it('refuses a time in the future and an older word over a newer', async () => {
    const ada = await postern.person({ preferences: { language: 'fr' } });
    const late = await tryPut(ada, { preferences: { language: 'en' }, stated_at: hours(48).toISOString() });
    assert.equal(late.status, 400);
    assert.match(late.body.detail, /stated_at.*future/);
    const old = await tryPut(ada, { preferences: { language: 'en' }, stated_at: hours(-48).toISOString() });
    assert.equal(old.status, 409);
    assert.equal((await contact(ada)).preferences.language.value, 'fr');
  });

  it('hours that never open are flagged, and block', async () => {
    await postern.newDay('12:00', 'wed');
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-fri': '08:00-18:00' }, 'days.never': ['mon', 'tue', 'wed', 'thu', 'fri'] } });
    assert.deepEqual((await contact(ada)).flagged, ['hours']);
    const answer = await postern.mail({ to: ada.email });
    assertOutcome(answer, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-QUIET' });
    assert.match(JSON.stringify(answer.error.response.body), /empty window/);
  });
});

describe('the zone', () => {
  it("that changes at noon: the day's sends still count, until the old zone's midnight", async () => {
    await postern.newDay('04:00', 'tue');
    const ada = await postern.subscriber({ preferences: { [cap]: 1 } });
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
    await postern.setClock(postern.at('12:00'));
    await put(ada, { zone: 'Asia/Tokyo' });
    await put(ada, { zone: 'Pacific/Auckland' }); // where a new day began at 06:00
    await postern.setClock(postern.at('23:30'));
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'blocked', "New York's day still runs");
    await postern.setClock(postern.at('00:01', 1));
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded', "now it is Auckland's, in which nothing was sent");
  });

  it("of a CRM does not move the customer's", async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber({ zone: 'America/New_York' });
    await put(ada, { zone: 'Asia/Tokyo', ...crm });
    const shown = await contact(ada);
    assert.equal(shown.zone.value, 'America/New_York');
    assert.deepEqual(shown.others.map((one) => [one.key, one.value]), [['zone', 'Asia/Tokyo']]);
    assert.deepEqual((await ask({ to: ada.phone, channel: 'sms', category: 'newsletter' })).facts.zone, { basis: 'explicit', candidates: ['America/New_York'] });
    await put(ada, { zone: null });
    assert.deepEqual((await ask({ to: ada.email, channel: 'email', category: 'newsletter' })).facts.zone, { basis: 'postal', candidates: ['Asia/Tokyo'] });
  });
});

describe('whom an opt-out binds', () => {
  it('do not contact: every class, every channel, for good', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email, { scope: 'do_not_contact', source: 'organisation' });
    assertOutcome(await postern.mail({ to: ada.email }, { key: 'billing' }), { status: 403, ...OPTED_OUT });
    assert.equal((await postern.sms({ to: ada.phone }, { key: 'code-sms' })).error.code, 21610);
    await postern.setClock(hours(72));
    const again = await grant(ada);
    assert.equal(again.status, 409);
    assert.match(again.body.detail, /must not be contacted/);
  });

  it('STOP said to one number binds that number only', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    await postern.optOut(ada.phone, { scope: 'channel', channel: 'sms', sender: '+12125550199' });
    assert.equal((await postern.sms({ to: ada.phone }, { key: 'billing-sms' })).error.code, 21610);
    assertOutcome(await postern.sms({ to: ada.phone, from: '+12125550198' }, { key: 'billing-sms' }), { status: 201, ...FORWARDED });
  });

  it('a channel opt-out lets codes pass with a notice', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    await postern.optOut(ada.phone, { scope: 'channel', channel: 'sms' });
    assertOutcome(await postern.sms({ to: ada.phone }, { key: 'code-sms' }), { status: 201, outcome: 'forwarded', level: 'info' });
  });

  it('a category opt-out on one channel leaves the other', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.phone, { scope: 'category', category: 'newsletter', channel: 'sms' });
    assert.equal((await postern.sms({ to: ada.phone })).error.code, 21610);
    assertOutcome(await postern.mail({ to: ada.email }), { status: 202, ...FORWARDED });
  });

  it('a category opt-out binds that category whatever its class', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    await postern.optOut(ada.email, { scope: 'category', category: 'invoice' });
    assertOutcome(await postern.mail({ to: ada.email }, { key: 'billing' }), { status: 403, ...OPTED_OUT });
    assertOutcome(await postern.mail({ to: ada.email, headers: undefined, customArgs: { postern_category: 'code' } }, { key: 'billing' }), { status: 202, outcome: 'forwarded' });
  });

  it('a topic opt-out binds messages that state that topic', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email, { scope: 'topic', topic: 'shoes' });
    assert.equal(await outcome(postern.mail({ to: ada.email, customArgs: { postern_topic: 'shoes' } })), 'blocked');
    assert.equal(await outcome(postern.mail({ to: ada.email, customArgs: { postern_topic: 'hats' } })), 'forwarded');
  });

  it('the widest names the reason, all are recorded', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email, { scope: 'category', category: 'newsletter' });
    await postern.optOut(ada.email);
    const answer = await postern.mail({ to: ada.email });
    const decision = await postern.decision(decisionIds(answer)[0]);
    assert.equal(decision.reason, 'opted_out');
    const reasons = decision.violations.map((one) => one.reason);
    assert.ok(reasons.includes('opted_out') && reasons.includes('opted_out_category'), reasons.join());
  });

  it('every spelling of the address, in to, cc and bcc', async () => {
    await postern.newDay('12:00');
    const { email } = postern.stranger();
    const [local, domain] = email.split('@');
    await postern.optOut(`${local.toUpperCase()}+some.list@${domain}`);
    const cased = (text, n) => [...text].map((c, i) => ((n >> (i % 9)) & 1 ? c.toUpperCase() : c)).join('');
    const spellings = Array.from({ length: 500 }, (_, n) => `${cased(local, n)}${n % 3 ? `+${cased('tag', n)}${n}` : ''}@${cased(domain, n >> 1)}`);
    const other = await postern.person();
    const passed = [];
    for (let i = 0; i < spellings.length; i += 50) {
      const answers = await Promise.all(spellings.slice(i, i + 50).map((to, k) => postern.mail({ ...[{ to }, { to: other.email, cc: to }, { to: other.email, bcc: to }][k % 3] }, { key: 'promo' }).then((answer) => [to, answer])));
      for (const [to, answer] of answers) if (mail.sends(to).length > 0 || (answer.status === 202 && header(answer, 'X-Postern-Outcome') === 'forwarded')) passed.push(to);
    }
    assert.deepEqual(passed, []);
    const reached = mail.requests.filter((one) => one.text.toLowerCase().includes(`"${local}`));
    assert.equal(reached.length, 0, 'in no spelling at the provider');
  });

  it('a contact made of another spelling inherits it, and an import cannot grant it away', async () => {
    await postern.newDay('12:00');
    const { email, id } = postern.stranger();
    await postern.optOut(email);
    const spelt = email.replace('@', '+new@');
    await postern.api('PUT', `/postern/v1/contacts/${id}`, { addresses: { email: [spelt] }, source: 'import' });
    assert.equal((await grant({ id }, { source: 'import' })).status, 409);
    await postern.setClock(hours(30));
    assert.equal((await grant({ id }, { source: 'import' })).status, 409);
    assertOutcome(await postern.mail({ to: spelt }, { key: 'promo' }), { status: 403, ...OPTED_OUT });
  });

  it('a number in another form than E.164 is no number', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    const digits = ada.phone.slice(2);
    const forms = [digits, `1${digits}`, `001${digits}`, `+1 ${digits}`, `+1-${digits}`, `(+1)${digits}`, `tel:+1${digits}`, `+1${digits.replace(/\d/g, (d) => String.fromCharCode(0xff10 + Number(d)))}`, `+1${digits.replace(/\d/g, (d) => String.fromCharCode(0x660 + Number(d)))}`, `+1${digits}x1`];
    for (const to of forms) {
      const answer = await postern.sms({ to }, { key: 'billing-sms' });
      assert.equal(answer.status, 400, `${to}: ${answer.status}`);
      assert.equal(answer.error.code, 21211, to);
      assert.equal((await postern.call('POST', '/postern/v1/opt-outs', { address: to, scope: 'global', source: 'customer' })).status, 400, to);
    }
    assert.deepEqual(sms.requests.filter((one) => one.text.includes(digits)), []);
  });
});

describe('bad input', () => {
  it('unknown categories, channels, sources and contacts are named', async () => {
    const ada = await postern.person();
    const rows = [
      ['/postern/v1/opt-outs', { address: ada.email, scope: 'category', category: 'newsleter', source: 'customer' }, 400, /category.*newsletter/],
      [`/postern/v1/contacts/${ada.id}/consents`, { channel: 'email', category: 'newsleter', state: 'granted', basis: 'b', evidence: 'e', source: 'customer' }, 400, /category.*newsletter/],
      [`/postern/v1/contacts/${ada.id}/consents`, { channel: 'fax', category: 'newsletter', state: 'granted', source: 'customer' }, 400, /channel.*sms/],
      [`/postern/v1/contacts/${ada.id}/consents`, { channel: 'email', category: 'newsletter', state: 'maybe', source: 'customer' }, 400, /state.*granted/],
      [`/postern/v1/contacts/${ada.id}/consents`, { channel: 'email', category: 'newsletter', state: 'granted', source: 'hearsay' }, 400, /source.*customer/],
      ['/postern/v1/contacts/no-such-person/consents', { channel: 'email', category: 'newsletter', state: 'granted', basis: 'b', evidence: 'e', source: 'customer' }, 404, /no-such-person/],
      ['/postern/v1/opt-outs', { contact: 'no-such-person', scope: 'global', source: 'customer' }, 404, /no-such-person/],
    ];
    for (const [target, body, status, says] of rows) {
      const answer = await postern.call('POST', target, body);
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      assert.match(answer.body.detail, says);
    }
  });

  it('a category that is unknown or not the key\'s: 400, nothing sent', async () => {
    const ada = await postern.subscriber();
    for (const category of ['no-such', 'helpdesk']) {
      const answer = await postern.mail({ to: ada.email, customArgs: { postern_category: category } });
      assert.equal(answer.status, 400);
      assert.match(JSON.stringify(answer.body), new RegExp(category));
      const text = await postern.raw('POST', `/2010-04-01/Accounts/${KEYS['shop-sms'].account}/Messages.json`, new URLSearchParams({ To: ada.phone, From: '+12125550199', Body: 'x' }).toString(), { key: 'shop-sms', headers: { 'X-Postern-Category': category } });
      assert.equal(text.status, 400);
      assert.match(text.text, new RegExp(category));
    }
    assert.deepEqual([...mail.sends(ada.email), ...sms.sends(ada.phone)], []);
  });

  it("another account in the path than the key's: refused in Twilio's form, nothing sent", async () => {
    const ada = await postern.person();
    for (const account of [KEYS['shop-sms'].account, `AC${'e'.repeat(32)}`]) {
      const answer = await postern.raw('POST', `/2010-04-01/Accounts/${account}/Messages.json`, new URLSearchParams({ To: ada.phone, From: '+12125550199', Body: 'x' }).toString(), { key: 'billing-sms' });
      assert.ok([401, 403, 404].includes(answer.status), `${answer.status} ${answer.text}`);
      assert.ok(Number.isInteger(JSON.parse(answer.text).code));
    }
    assert.deepEqual(sms.sends(ada.phone), []);
  });

  it('a deferral that would expire is refused at once and names both times', async () => {
    await postern.newDay('22:00', 'tue');
    const opens = postern.at('08:00', 1).toISOString().slice(0, 16);
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const text = await postern.sms({ to: ada.phone, validityPeriod: 3600 });
    assertOutcome(text, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-EXPIRY' });
    const expires = postern.at('23:00').toISOString();
    const letter = await postern.mail({ to: ada.email, customArgs: { postern_expires_at: expires } });
    assertOutcome(letter, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-EXPIRY' });
    for (const said of [text.error.message, letter.body.errors[0].message]) {
      assert.ok(said.includes(opens), `${said} names ${opens}`);
      assert.ok(said.includes(expires.slice(0, 13)), `${said} names ${expires}`);
    }
    assert.deepEqual(await postern.deferred(ada.id), []);
  });
});

describe('the cooling-off', () => {
  const paths = [
    ['a channel', (p) => postern.optOut(p.email, { scope: 'channel', channel: 'email' }), { category: undefined }],
    ['a category', (p) => postern.optOut(p.email, { scope: 'category', category: 'newsletter', channel: 'email' }), {}],
    ['a category on every channel', (p) => postern.optOut(p.email, { scope: 'category', category: 'newsletter' }), { channel: undefined }],
    ['everything', (p) => postern.optOut(p.email), { channel: undefined, category: undefined }],
    ['a STOP, by START', (p) => postern.optOut(p.phone, { scope: 'channel', channel: 'sms' }), { channel: 'sms', category: undefined }],
  ];
  for (const [name, stop, start] of paths)
    it(`after ${name}: pending for 24 hours, never active by itself, then lifted`, async () => {
      await postern.newDay('12:00', 'mon');
      const ada = await postern.subscriber();
      const send = () => outcome(start.channel === 'sms' ? postern.sms({ to: ada.phone }) : postern.mail({ to: ada.email }));
      assert.equal(await send(), 'forwarded');
      await stop(ada);
      await postern.setClock(hours(23));
      const soon = await grant(ada, start);
      assert.equal(soon.status, 202);
      assert.equal(soon.body.state, 'pending');
      assert.equal(await send(), 'blocked');
      await postern.setClock(hours(24));
      assert.equal(await send(), 'blocked', 'it does not activate by itself');
      const granted = await grant(ada, start);
      assert.equal(granted.body.state, 'granted', JSON.stringify(granted.body));
      assert.equal(granted.body.lifted, 1);
      assert.equal(await send(), 'forwarded');
    });

  it('holds for an agent with evidence too', async () => {
    await postern.newDay('12:00', 'mon');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email, { scope: 'category', category: 'newsletter', channel: 'email' });
    const agent = { source: 'agent', evidence: 'call 12345, recorded', banner_acknowledged: true };
    assert.equal((await grant(ada, agent)).body.state, 'pending');
    await postern.setClock(hours(25));
    assert.equal((await grant(ada, { ...agent, banner_acknowledged: false })).status, 409, 'the banner first');
    assert.equal((await grant(ada, agent)).body.state, 'granted');
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
  });

  it('nobody but the customer and an agent lifts, however late, on every path', async () => {
    await postern.newDay('12:00', 'mon');
    for (const [, stop, start] of paths) {
      const ada = await postern.subscriber();
      await stop(ada);
      const now = postern.now;
      await postern.setClock(hours(100));
      for (const source of ['import', 'sync', 'organisation', 'provider', 'behaviour']) {
        const answer = await grant(ada, { ...start, source });
        assert.ok(answer.status === 409 || (answer.status === 400 && /source/.test(answer.body.detail)), `${source}: ${JSON.stringify(answer.body)}`);
      }
      assertOutcome(await (start.channel === 'sms' ? postern.sms({ to: ada.phone }) : postern.mail({ to: ada.email })), { status: start.channel === 'sms' ? 400 : 403, ...OPTED_OUT });
      await postern.setClock(now);
    }
  });

  it('a narrower grant never lifts a wider opt-out', async () => {
    await postern.newDay('12:00', 'mon');
    const ada = await postern.subscriber();
    await postern.optOut(ada.email);
    await postern.setClock(hours(30));
    const narrow = await grant(ada);
    assert.equal(narrow.body.lifted ?? 0, 0);
    await grant(ada, { category: undefined });
    assertOutcome(await postern.mail({ to: ada.email }), { status: 403, ...OPTED_OUT });
  });
});

describe('what a dry run shows', () => {
  it('the hours that bind, when they open, and the preferences in force', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-fri': ['09:00-12:00', '13:00-18:00'] }, language: 'fr' } });
    await state(ada, { language: 'en', digest: 'none' }, { source: 'agent' });
    const { facts } = await ask({ to: ada.phone, channel: 'sms', category: 'newsletter' });
    assert.deepEqual(facts.windows.map((one) => [one.of, one.sense, one.open]), [['organisation', 'quiet', false], ['contact', 'allowed', false]]);
    const [organisation, own] = facts.windows;
    assert.equal(Date.parse(organisation.opens_at), postern.at('08:00', 1).getTime());
    assert.deepEqual(organisation.week.mon, ['21:00-08:00']);
    assert.equal(Date.parse(own.opens_at), postern.at('09:00', 1).getTime());
    assert.deepEqual(Object.keys(own.week), ['mon', 'tue', 'wed', 'thu', 'fri']);
    assert.deepEqual(own.week.tue, ['09:00-12:00', '13:00-18:00']);
    assert.equal(facts.preferences_in_force.language.value, 'fr');
    assert.equal(facts.preferences_in_force.digest.authority, 'agent');
    assert.equal(facts.preferences.length, 5, 'all that was stated: zone, hours, two languages, digest');
    const { code, stdout, stderr } = await postern.ctl('explain', '--to', ada.phone, '--channel', 'sms', '--category', 'newsletter');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /organisation/);
    assert.match(stdout, /hours_contact/);
  });
});

describe('levels by configuration', () => {
  let other;
  before(async () => {
    other = await startHouse({
      configure: (settings) => {
        settings.policy.caps = [];
        settings.policy.levels = [
          { rule: 'channel_other', class: 'transactional', level: 'soft', outcome: 'hold' },
          { rule: 'channel_other', class: 'support', level: 'soft', outcome: 'digest' },
          { rule: 'channel_other', class: 'marketing', level: 'soft', outcome: 'redirect' },
          { rule: 'channel_never', shadow: true },
        ];
      },
    });
  });
  after(() => other.end());

  const prefers = (channel) => other.postern.subscriber({ preferences: { 'channel.primary': channel } });

  for (const [word, kind, mailKey, smsKey, recorded] of [['held', 'held', 'billing', 'billing-sms', 'hold'], ['digest', 'digest', 'bot', 'bot-sms', 'digest']])
    it(`${recorded}: answered as kept, listed with its kind, recorded`, async () => {
      await other.postern.newDay('12:00');
      const [ada, bob] = [await prefers('sms'), await prefers('email')];
      const letter = await other.postern.mail({ to: ada.email }, { key: mailKey });
      assert.equal(letter.status, 202);
      assert.equal(header(letter, 'X-Postern-Outcome'), word);
      assert.match(header(letter, 'X-Message-Id'), /^[A-Za-z0-9_-]{22}$/);
      const text = await other.postern.sms({ to: bob.phone }, { key: smsKey });
      assert.equal(text.status, 201);
      assert.equal(header(text, 'X-Postern-Outcome'), word);
      assert.match(text.message.sid, /^SM[0-9a-f]{32}$/);
      for (const [person, answer] of [[ada, letter], [bob, text]]) {
        const rows = await other.postern.deferred(person.id);
        assert.deepEqual(rows.map((one) => [one.kind, one.state, one.reason]), [[kind, 'waiting', 'channel_other']]);
        const decision = await other.postern.api('GET', `/postern/v1/decisions/${decisionIds(answer)[0]}`);
        assert.equal(decision.outcome, recorded);
        assert.equal(decision.level, 'soft');
        assert.ok(decision.violations.some((one) => one.rule === 'channel_other' && one.outcome === recorded));
      }
      await other.postern.setClock(other.postern.at('12:00', 2));
      await other.postern.idle(200);
      assert.deepEqual([...other.mail.sends(ada.email), ...other.sms.sends(bob.phone)], []);
      const [{ id }] = await other.postern.deferred(ada.id);
      await other.postern.api('POST', `/postern/v1/deferred/${id}/cancel`);
      assert.deepEqual(await other.postern.deferred(ada.id), []);
    });

  it('redirect without a body for the other channel blocks, and says so', async () => {
    await other.postern.newDay('12:00');
    const ada = await prefers('sms');
    const answer = await other.postern.mail({ to: ada.email });
    assert.equal(header(answer, 'X-Postern-Outcome'), 'blocked');
    assert.equal((await other.postern.decision(decisionIds(answer)[0])).reason, 'channel_other');
    assert.deepEqual(other.mail.sends(ada.email), []);
  });

  it('one rule in shadow: forwarded, recorded, counted', async () => {
    await other.postern.newDay('12:00');
    const ada = await other.postern.subscriber({ preferences: { 'channel.never': ['email'] } });
    const before = await other.postern.metric('postern_would_have_total', { outcome: 'block' });
    const answer = await other.postern.mail({ to: ada.email });
    assert.equal(header(answer, 'X-Postern-Outcome'), 'forwarded');
    const decision = await other.postern.decision(decisionIds(answer)[0]);
    assert.equal(decision.outcome, 'forward');
    assert.equal(decision.would_have, 'block');
    assert.ok(decision.violations.some((one) => one.rule === 'channel_never' && one.shadow === true));
    assert.equal(await other.postern.metric('postern_would_have_total', { outcome: 'block' }), before + 1);
    await other.postern.optOut(ada.email);
    assert.equal(await outcome(other.postern.mail({ to: ada.email })), 'blocked', 'the others still act');
  });

  it('the audit holds', () => other.postern.assertAuditHolds());
});

describe('the whole policy in shadow', () => {
  let other;
  before(async () => {
    other = await startHouse({ configure: (settings) => (settings.policy.shadow = true) });
  });
  after(() => other.end());

  it('forwards, records and counts what it would have done', async () => {
    await other.postern.newDay('22:00', 'tue');
    const ada = await other.postern.subscriber();
    const would = (outcome_) => other.postern.metric('postern_would_have_total', { outcome: outcome_ });
    const [deferred, blocked] = [await would('defer'), await would('block')];
    const text = await other.postern.sms({ to: ada.phone });
    assert.equal(header(text, 'X-Postern-Outcome'), 'forwarded');
    assert.equal((await other.postern.decision(decisionIds(text)[0])).would_have, 'defer');
    assert.equal(await would('defer'), deferred + 1);
    await other.postern.optOut(ada.email);
    const letter = await other.postern.mail({ to: ada.email });
    assert.equal(header(letter, 'X-Postern-Outcome'), 'forwarded');
    assert.equal((await other.postern.decision(decisionIds(letter)[0])).would_have, 'block');
    assert.equal(await would('block'), blocked + 1);
    assert.equal(other.mail.sends(ada.email).length, 1);
  });

  it('caps are counted and do not act', async () => {
    await other.postern.newDay('12:00');
    const ada = await other.postern.subscriber();
    for (let i = 0; i < 5; i++) assert.equal(await outcome(other.postern.mail({ to: ada.email, text: `offer ${i}` })), 'forwarded');
    await waitFor('the cap to show', async () => (await other.postern.api('POST', '/postern/v1/decisions', { to: ada.email, channel: 'email', category: 'newsletter' })).would_have === 'block');
  });
});

it('the audit holds after all of this', () => postern.assertAuditHolds());
