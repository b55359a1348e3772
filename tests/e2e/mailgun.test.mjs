// mailgun.js in front of Postern, in both versions that are in use and with both kinds of FormData: each row of the
// documented answers, as the SDK's caller sees it, as the provider received it, and as Postern says that it decided.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import NodeFormData from 'form-data';
import Mailgun from 'mailgun.js';
import Mailgun12 from 'mailgun12';
import { FakeMailgun, mailgunSays, parameters } from '../fakes/mailgun.mjs';
import { behave } from '../fakes/server.mjs';
import { FORWARDED, OPTED_OUT, assertDecisionObject, assertOutcome, assertOverrideHeaders, assertSentence, assertSoonAfter, decisionIds, header } from './expect.mjs';
import { KEYS, Postern, startHouse, waitFor } from './harness.mjs';

const ID = /^<\d{14}\.[0-9a-f]{16}@mg\.shop\.example>$/;
const FROM = 'The Shop <news@mg.shop.example>';
const TEXT = 'Hello from the shop';
const DOMAIN = 'mg.shop.example';
const key = (n) => ({ secret: `${n}123456789abcdef0123456789abcde-0123abcd-${n}4567890` });
Object.assign(KEYS, { 'shop-mailgun': key(1), 'desk-mailgun': key(2), 'billing-mailgun': key(3), 'strict-mailgun': key(4) });

const mg = new FakeMailgun();
let house, postern;

function configure(settings) {
  const one = (name, more) => ({ name, ...KEYS[name], roles: ['sender'], ...more });
  settings.providers.push({ name: 'main-mailgun', kind: 'mailgun', url: mg.url, secret: 'env:POSTERN_TEST_MAILGUN_SECRET', total_ms: 1500 });
  settings.mappings = [{ label: 'tag-promo', category: 'promo-out' }];
  settings.keys.push(
    one('shop-mailgun', { default_category: 'newsletter', categories: ['newsletter', 'promo-out', 'invoice'] }),
    one('desk-mailgun', { default_category: 'helpdesk', categories: ['helpdesk'], roles: ['sender', 'agent'], sender_kind: 'agent' }),
    one('billing-mailgun', { default_category: 'invoice', categories: ['invoice', 'code'] }),
    one('strict-mailgun', { default_category: 'newsletter', categories: ['newsletter'], partial: 'reject' }),
  );
}

before(async () => {
  await mg.start();
  house = await startHouse({ configure, env: { POSTERN_TEST_MAILGUN_SECRET: mg.key } });
  ({ postern } = house);
  const set = postern.setClock.bind(postern);
  postern.setClock = async (instant) => {
    await set(instant);
    mg.now = () => new Date(instant).getTime();
  };
});
after(async () => {
  await house.end();
  await mg.stop();
});
afterEach(() => mg.forget());

/** The SDK with its base URL changed and nothing else. */
function client(name = 'shop-mailgun', { lib = Mailgun, form = NodeFormData } = {}) {
  return new lib(form).client({ username: 'api', key: KEYS[name]?.secret ?? name, url: postern.url });
}
const create = (data, { name, ...how } = {}) => client(name, how).messages.create(DOMAIN, { from: FROM, subject: 'Spring', text: TEXT, ...data });

async function rejected(promise) {
  const error = await promise.then(() => undefined, (e) => e);
  assert.ok(error, 'it was accepted');
  return error;
}

/** The same call without the SDK: what it cannot show (fields) and what it cannot say. */
function raw(fields, { name = 'shop-mailgun', path = `/v3/${DOMAIN}/messages`, headers = {}, method = 'POST' } = {}) {
  const Authorization = `Basic ${Buffer.from(`api:${KEYS[name].secret}`).toString('base64')}`;
  const body = method === 'GET' ? undefined : new URLSearchParams(fields).toString();
  return postern.raw(method, path, body, { headers: { Authorization, 'Content-Type': 'application/x-www-form-urlencoded', ...headers } });
}
const plain = (to, more = {}) => ({ from: FROM, to, text: TEXT, ...more });
const sent = (person) => parameters(mg.sends(person.email)[0]);

/** Send to strangers until one is forwarded again: the breaker has closed. */
async function recovered() {
  const one = async () => header(await raw(plain((await postern.person()).email), { name: 'billing-mailgun' }), 'X-Postern-Outcome');
  await waitFor('the breaker to close', async () => (await one()) === 'forwarded', { deadline: 40_000, every: 250 });
}

for (const [version, lib] of [['14', Mailgun], ['12', Mailgun12]])
  for (const [kind, form] of [['form-data', NodeFormData], ["Node's FormData", FormData]])
    describe(`mailgun.js ${version} with ${kind}`, () => {
      it("accepted: the provider's own answer, the provider's own key, the same bytes", async () => {
        await postern.newDay('12:00');
        const ada = await postern.subscriber();
        const answer = await create({ to: `"Ada, L." <${ada.email}>` }, { lib, form });
        const [request] = mg.sends(ada.email);
        assert.deepEqual(answer, { status: 200, ...JSON.parse(request.answer.body) });
        assert.match(answer.id, ID);
        assert.equal(request.headers.authorization, `Basic ${Buffer.from(`api:${mg.key}`).toString('base64')}`);
        assert.doesNotMatch(request.rawHeaders.join(), /x-postern/i);
        assert.deepEqual(parameters(request).names, ['from', 'subject', 'text', 'to']);
        assert.equal(parameters(request).text('to'), `"Ada, L." <${ada.email}>`);
      });

      it('attachments arrive byte for byte, with what is said to Postern cut out beside them', async () => {
        await postern.newDay('12:00');
        const ada = await postern.subscriber();
        const bytes = Buffer.concat([Buffer.from('\r\n--\r\n\r\n'), Buffer.from(Array.from({ length: 256 }, (_, i) => i)), randomBytes(100_000), Buffer.from('\r\n')]);
        const data = { to: ada.email, 'h:X-Postern-Category': 'invoice', 'v:postern_topic': 'orders', 'h:X-Any': 'stays', 'v:user': '7', attachment: [{ filename: 'é "1".bin', data: bytes }, { filename: 'b.txt', data: Buffer.from('b') }], inline: { filename: 'i.png', data: Buffer.from([0]) } };
        const answer = await create(data, { lib, form });
        assert.equal(answer.message, 'Queued. Thank you.');
        const got = sent(ada);
        assert.deepEqual(got.all('attachment'), [bytes, Buffer.from('b')]);
        assert.deepEqual(got.all('inline'), [Buffer.from([0])]);
        assert.deepEqual([got.text('h:X-Any'), got.text('v:user')], ['stays', '7']);
        assert.equal(got.names.filter((name) => /postern/i.test(name)).length, 0);
      });

      it('a hard block is 403, and its sentence reaches the caller whole', async () => {
        const ada = await postern.subscriber();
        await postern.optOut(ada.email);
        const error = await rejected(create({ to: ada.email }, { lib, form }));
        assert.deepEqual([error.status, error.type, error.message], [403, 'MailgunAPIError', 'PST-HARD-OPTOUT']);
        assertSentence(error.details, { code: 'PST-HARD-OPTOUT' });
        assert.deepEqual(mg.sends(ada.email), []);
      });

      it('a soft block is 409, with prompt and token in the sentence', async () => {
        await postern.newDay('20:00');
        const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
        const error = await rejected(create({ to: ada.email }, { lib, form, name: 'desk-mailgun' }));
        assert.deepEqual([error.status, error.message], [409, 'PST-SOFT-QUIET']);
        const [token] = /ovr_[A-Za-z0-9]+$/.exec(error.details) ?? assert.fail(error.details);
        assertSentence(error.details, { code: 'PST-SOFT-QUIET', token });
      });

      it('partial: who is blocked goes from every list and from recipient-variables, and is told of', async () => {
        await postern.newDay('12:00');
        const people = await Promise.all(Array.from({ length: 5 }, () => postern.subscriber()));
        const [ada, bob, cid, dan, eve] = people;
        for (const one of [bob, dan]) await postern.optOut(one.email);
        const variables = Object.fromEntries(people.map((one, i) => [one.email, { n: i }]));
        const answer = await create({ to: [ada.email, `"Bob, B" <${bob.email}>, ${cid.email}`], cc: `${dan.email}, ${eve.email}`, 'recipient-variables': JSON.stringify(variables) }, { lib, form });
        const got = sent(ada);
        assert.deepEqual(got.all('to').map(String), [ada.email, cid.email]);
        assert.deepEqual(got.all('cc').map(String), [eve.email]);
        const { [bob.email]: _b, [dan.email]: _d, ...left } = variables;
        assert.deepEqual(JSON.parse(got.text('recipient-variables')), left);
        assert.deepEqual([mg.sends(bob.email).length, mg.sends(dan.email).length], [0, 0]);
        assert.equal(answer.message, 'Queued. Thank you.');
        assert.equal(answer.id, JSON.parse(mg.sends(ada.email)[0].answer.body).id);
        assert.deepEqual([answer.postern.outcome, answer.postern.forwarded], ['partial', 3]);
        assert.deepEqual(answer.postern.blocked.map((one) => one.recipient), [bob.email, dan.email]);
      });

      it('messages.mime: the envelope is to, the text goes as it is but for what is ours', async () => {
        await postern.newDay('12:00');
        const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
        await postern.optOut(bob.email);
        const head = `From: ${FROM}\r\nTo: ${bob.email}\r\nSubject: Spring\r\n`;
        const rest = 'X-Mailgun-Track: no\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nX-Postern-Topic: of the text\r\n.\r\n';
        const answer = await client('shop-mailgun', { lib, form }).messages.create(DOMAIN, { to: [ada.email, bob.email], message: `${head}X-Postern-Category: promo-out\r\n${rest}` });
        assert.equal(answer.postern.outcome, 'partial');
        const got = sent(ada);
        assert.equal(got.text('message'), head + rest);
        assert.deepEqual(got.all('to').map(String), [ada.email]);
        assert.equal((await postern.decision(answer.postern.decision_id)).category, 'promo-out');
      });

      it('a wrong key is 401 Forbidden', async () => {
        const error = await rejected(create({ to: 'a@x.test' }, { lib, form, name: 'key-of-nobody' }));
        assert.equal(error.status, 401);
        assert.equal(error.details, 'Forbidden');
      });

      it("what Mailgun says no to comes as Mailgun's own", async () => {
        await postern.newDay('12:00');
        const ada = await postern.subscriber();
        mg.when(ada.email, mailgunSays.largeBatches(DOMAIN), 1);
        const error = await rejected(create({ to: ada.email }, { lib, form }));
        assert.deepEqual([error.status, error.details], [403, `Domain ${DOMAIN} is not allowed to send large batches yet`]);
      });

      it('other calls of the same client pass through', async () => {
        const { items } = await client('shop-mailgun', { lib, form }).events.get(DOMAIN, { event: 'accepted' });
        assert.equal(items[0].event, 'accepted');
        const domains = await client('shop-mailgun', { lib, form }).domains.list();
        assert.equal(domains[0].name, DOMAIN);
        const error = await rejected(client('shop-mailgun', { lib, form }).events.get('other.example'));
        assert.deepEqual([error.status, error.details], [404, 'Domain not found: other.example']);
      });
    });

describe('what is kept', () => {
  /** A mail outside of a contact's hours is deferred to 08:00 of the next day. */
  async function deferOne(more = {}) {
    await postern.newDay('20:00', 'tue');
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const answer = await create({ to: ada.email, ...more });
    const [waiting] = await postern.deferred(ada.id);
    return { ada, answer, releaseAt: waiting.release_at };
  }

  it('deferred is 200 with an id of ours, then sent once, without what was ours', async () => {
    const { ada, answer, releaseAt } = await deferOne({ 'h:X-Postern-Topic': 'spring', attachment: { filename: 'a.bin', data: Buffer.from([0, 13, 10]) } });
    assert.deepEqual([answer.status, answer.message, answer.postern.outcome], [200, 'Queued. Thank you.', 'deferred']);
    assert.match(answer.id, ID);
    assert.equal(new Date(answer.postern.release_at).getTime(), new Date(releaseAt).getTime());
    assert.deepEqual(mg.sends(ada.email), []);
    await postern.passRelease(releaseAt);
    await waitFor('the released mail', () => mg.sends(ada.email).length === 1);
    assert.deepEqual(sent(ada).all('attachment'), [Buffer.from([0, 13, 10])]);
    assert.equal(sent(ada).names.includes('h:X-Postern-Topic'), false);
    await postern.decision(answer.postern.decision_id);
    assert.deepEqual(await postern.deferred(ada.id), []);
  });

  it('an opt-out while it waits wins', async () => {
    const { ada, releaseAt } = await deferOne();
    await postern.optOut(ada.email);
    await postern.passRelease(releaseAt);
    await waitFor('the end of it', async () => (await postern.deferred(ada.id)).length === 0);
    assert.deepEqual(mg.sends(ada.email), []);
  });

  it('a copy that waits with its recipient gone goes as the recipient', async () => {
    await postern.newDay('20:00', 'tue');
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const bob = await postern.subscriber({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    await create({ to: ada.email, cc: bob.email });
    await postern.optOut(ada.email);
    const [waiting] = await postern.deferred(bob.id);
    await postern.passRelease(waiting.release_at);
    await waitFor('the released copy', () => mg.sends(bob.email).length === 1);
    assert.deepEqual([sent(bob).all('to').map(String), sent(bob).all('cc')], [[bob.email], []]);
    assert.deepEqual(mg.sends(ada.email), []);
  });

  it('o:deliverytime is kept here and decided again at that time', async () => {
    await postern.newDay('09:00');
    const ada = await postern.subscriber();
    const at = postern.at('15:00');
    const answer = await create({ to: ada.email, 'o:deliverytime': at.toUTCString() });
    assert.equal(answer.postern.outcome, 'deferred');
    assertSoonAfter(answer.postern.release_at, at, 5);
    assert.deepEqual(mg.sends(ada.email), []);
    await postern.passRelease(answer.postern.release_at);
    await waitFor('the scheduled mail', () => mg.sends(ada.email).length === 1);
    assert.equal(sent(ada).text('o:deliverytime'), undefined);
  });

  it('o:deliver-within ends what could not be sent in time', async () => {
    await postern.newDay('20:00', 'tue');
    const ada = await postern.subscriber({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const error = await rejected(create({ to: ada.email, 'o:deliver-within': '2h' }));
    assert.equal(error.status, 403);
    assert.match(error.message, /^PST-HARD-EXPIRY$/);
  });

  it('Mailgun down: kept, answered as queued, sent once when it is back', async () => {
    await postern.newDay('10:00');
    const ada = await postern.subscriber();
    await mg.stop();
    const answer = await raw(plain(ada.email));
    assertOutcome(answer, { status: 200, outcome: 'deferred', code: 'PST-UPSTREAM-DOWN' });
    assert.match(JSON.parse(answer.text).id, ID);
    await mg.start();
    await postern.setClock(postern.at('10:30'));
    await waitFor('the kept mail', () => mg.sends(ada.email).length > 0, { deadline: 40_000 });
    await recovered();
    assert.equal(mg.sends(ada.email).length, 1);
  });

  it('an otp does not wait: 503', async () => {
    await postern.newDay('10:00');
    const ada = await postern.person();
    await mg.stop();
    const error = await rejected(create({ to: ada.email, 'h:X-Postern-Category': 'code' }, { name: 'billing-mailgun' }));
    assert.deepEqual([error.status, error.message, error.details], [503, 'PST-UPSTREAM-DOWN', 'upstream provider unavailable, message not accepted']);
    await mg.start();
    await recovered();
    assert.deepEqual(mg.sends(ada.email), []);
  });

  it('no answer after the bytes went out: unknown, and never again', async () => {
    await postern.newDay('10:00');
    const ada = await postern.subscriber();
    mg.when(ada.email, behave.close(), 1);
    const answer = await raw(plain(ada.email));
    assertOutcome(answer, { status: 200, outcome: 'unknown' });
    assert.match(JSON.parse(answer.text).id, ID);
    await postern.setClock(postern.at('12:00'));
    await recovered();
    assert.equal(mg.sends(ada.email).length, 1);
  });
});

describe('the sandbox, which any key may use', () => {
  it('answers as Mailgun would and shows what would have been sent; other calls are not found', async () => {
    const box = await Postern.start();
    try {
      const ada = await box.subscriber();
      const client = new Mailgun(NodeFormData).client({ username: 'api', key: KEYS.shop.secret, url: box.url });
      const answer = await client.messages.create(DOMAIN, { from: FROM, to: `Ada <${ada.email}>`, subject: 'Spring', text: TEXT });
      assert.equal(answer.message, 'Queued. Thank you.');
      assert.match(answer.id, ID);
      const { messages } = await box.api('GET', '/postern/v1/sandbox/messages');
      assert.deepEqual([messages[0].to, messages[0].from, messages[0].subject, messages[0].text], [ada.email, 'news@mg.shop.example', 'Spring', TEXT]);
      assert.equal((await rejected(client.domains.list())).status, 404);
    } finally {
      await box.stop();
    }
  });
});

describe('answers and limits', () => {
  it('every answer has the fields, a soft block the token', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    assertOutcome(await raw(plain(ada.email)), { status: 200, ...FORWARDED });
    await postern.optOut(ada.email);
    const hard = await raw(plain(ada.email));
    assertOutcome(hard, { status: 403, ...OPTED_OUT });
    assertDecisionObject(JSON.parse(hard.text).postern, { code: 'PST-HARD-OPTOUT', level: 'hard', recipient: ada.email });
    await postern.newDay('20:00');
    const bob = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const soft = await raw(plain(bob.email), { name: 'desk-mailgun' });
    const { message, error, postern: decision } = JSON.parse(soft.text);
    assertOutcome(soft, { status: 409, outcome: 'blocked', level: 'soft', code: error });
    assertDecisionObject(decision, { code: error, level: 'soft', recipient: bob.email });
    assertOverrideHeaders(soft, decision.override);
    assertSentence(message, { code: error, token: decision.override.token });
  });

  it('a wrong key is text, as Mailgun writes it', async () => {
    const answer = await raw(plain('a@x.test'), { headers: { Authorization: 'Basic YXBpOm5v' } });
    assert.equal(answer.status, 401);
    assert.equal(answer.text, 'Forbidden');
    assert.match(header(answer, 'Content-Type'), /^text\/plain/);
  });

  it('a tag maps to a category; test mode is evaluated, not counted, and forwarded', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    const tagged = await raw(plain(ada.email, { 'o:tag': 'tag-promo' }));
    assert.equal((await postern.decision(decisionIds(tagged)[0])).category, 'promo-out');
    const bob = await postern.subscriber();
    for (let i = 0; i < 4; i++) assertOutcome(await raw(plain(bob.email, { 'o:testmode': 'yes', text: `${i}` })), { status: 200, ...FORWARDED });
    assert.equal(mg.sends(bob.email).length, 4);
    assert.equal(sent(bob).text('o:testmode'), 'yes');
    for (let i = 0; i < 3; i++) assertOutcome(await raw(plain(bob.email, { text: `offer ${i}` })), { status: 200, ...FORWARDED });
    assert.equal(header(await raw(plain(bob.email, { text: 'offer 4' })), 'X-Postern-Code'), 'PST-HARD-FREQUENCY');
  });

  it("Mailgun's 429 goes to the caller, and its words hold back what follows", async () => {
    await postern.newDay('12:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    mg.when(ada.email, mailgunSays.tooManyFor(DOMAIN, 2), 1);
    const error = await rejected(create({ to: ada.email }));
    assert.deepEqual([error.status, error.details], [429, `Domain ${DOMAIN} is not allowed to send: account-requests-per-sec limit exceeded, try again after 2 seconds`]);
    assert.equal(header(await raw(plain(bob.email)), 'X-Postern-Outcome'), 'deferred');
    assert.deepEqual(mg.sends(bob.email), []);
    await postern.unpaused();
    await recovered();
  });

  it('an idempotency key: sent once, answered twice', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const fields = plain(ada.email, { 'h:Idempotency-Key': `order-${ada.id}` });
    const first = await raw(fields);
    const again = await raw(fields);
    assertOutcome(first, { status: 200, ...FORWARDED });
    assert.equal(again.text, first.text);
    assert.equal(header(again, 'Postern-Replayed'), 'true');
    assert.equal(mg.sends(ada.email).length, 1);
    assert.equal((await raw({ ...fields, text: 'other' })).status, 422);
  });

  it('an idempotency key of a multipart, whose boundary is another each time', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const data = { to: ada.email, 'h:Idempotency-Key': `parts-${ada.id}`, attachment: { filename: 'a.bin', data: randomBytes(1000) } };
    const [first, again] = [await create(data), await create(data)];
    assert.deepEqual(again, first);
    assert.equal(mg.sends(ada.email).length, 1);
    const error = await rejected(create({ ...data, attachment: { filename: 'b.bin', data: data.attachment.data } }));
    assert.deepEqual([error.status, error.message], [422, 'PST-KEY-REUSED']);
  });

  it('all or nothing, where the key wants it', async () => {
    await postern.newDay('12:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    await postern.optOut(bob.email);
    const answer = await raw(plain(`${ada.email},${bob.email}`), { name: 'strict-mailgun' });
    assertOutcome(answer, { status: 403, ...OPTED_OUT });
    assert.deepEqual(mg.sends(ada.email), []);
  });

  it('a stored message is shown, and sent again only to whom it may', async () => {
    await postern.newDay('12:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    await create({ to: ada.email });
    const path = `/v3/domains/${DOMAIN}/messages/${mg.keys.at(-1)}`;
    assert.equal(JSON.parse((await raw({}, { path, method: 'GET' })).text).subject, 'Spring');
    await postern.optOut(bob.email);
    assertOutcome(await raw({ to: bob.email }, { path }), { status: 403, ...OPTED_OUT });
    assertOutcome(await raw({ to: ada.email }, { path }), { status: 200, ...FORWARDED });
    assert.equal(mg.sends(ada.email).length, 2);
    assert.deepEqual(mg.sends(bob.email), []);
    assert.equal((await raw({ to: ada.email }, { path: `${path}?to=${bob.email}` })).status, 400);
  });

  it('a thousand recipients, each in a field of its own; one more is too many', async () => {
    await postern.newDay('12:00');
    const many = (n) => Array.from({ length: n }, (_, i) => `many.${i}@mail.example`);
    const answer = await create({ to: many(1000), 'h:X-Postern-Category': 'invoice' });
    assert.equal(answer.message, 'Queued. Thank you.');
    assert.equal(sent({ email: 'many.999@mail.example' }).all('to').length, 1000);
    const error = await rejected(create({ to: many(1001), 'h:X-Postern-Category': 'invoice' }));
    assert.deepEqual([error.status, error.details], [400, 'Too many recipients, max is 1000']);
  });

  it('twenty megabytes go through with a claim cut out; more than 25 are too large', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const bytes = randomBytes(20 << 20);
    const answer = await create({ to: ada.email, 'h:X-Postern-Category': 'invoice', attachment: { filename: 'a.bin', data: bytes } });
    assert.equal(answer.message, 'Queued. Thank you.');
    assert.ok(sent(ada).all('attachment')[0].equals(bytes));
    const error = await rejected(create({ to: ada.email, attachment: { filename: 'a.bin', data: Buffer.alloc(25 * 1024 * 1024) } }));
    assert.equal(error.status, 413);
  });

  it('what two readers could read differently is refused', async () => {
    for (const fields of [plain('a@x.test;b@x.test'), plain('a@x.test', { To: 'b@x.test' }), plain('a@x.test', { 'h:X': 'a\r\nBcc: b@x.test' }), plain('a@x.test', { 'recipient-variables': '{"a":1,"a":2}' })]) {
      const answer = await raw(fields);
      assert.equal(answer.status, 400, JSON.stringify(fields));
      assert.ok(JSON.parse(answer.text).message.length > 0);
    }
  });
});
