// plivo in front of Postern, in both versions that are in use: each row of the documented answers, as the SDK's caller
// sees it, as the provider received it, and as Postern says that it decided.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import plivo from 'plivo';
import plivo40 from 'plivo40';
import { FakePlivo, plivoSays, signV2 } from '../fakes/plivo.mjs';
import { behave } from '../fakes/server.mjs';
import { FORWARDED, OPTED_OUT, assertDecisionObject, assertOutcome, assertSentence, assertSoonAfter, decisionIds, header } from './expect.mjs';
import { KEYS, startHouse, waitFor } from './harness.mjs';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const SRC = '12125550199';
const TEXT = 'Hello from the shop';
const key = (n) => ({ account: `MA${String(n).padStart(18, '0')}`, secret: `${n}123456789abcdef0123456789abcdef` });
Object.assign(KEYS, { 'shop-plivo': key(1), 'desk-plivo': key(2), 'billing-plivo': key(3), 'strict-plivo': key(4) });

const text = new FakePlivo();
let house, postern, callbacks;

function configure(settings) {
  const one = (name, more) => ({ name, ...KEYS[name], roles: ['sender'], ...more });
  settings.providers.push({ name: 'main-plivo', kind: 'plivo', url: text.url, account: text.account, secret: 'env:POSTERN_TEST_PLIVO_SECRET', total_ms: 1500 });
  settings.keys.push(
    one('shop-plivo', { default_category: 'newsletter', categories: ['newsletter', 'promo-out'] }),
    one('desk-plivo', { default_category: 'helpdesk', categories: ['helpdesk'], roles: ['sender', 'agent'], sender_kind: 'agent' }),
    one('billing-plivo', { default_category: 'invoice', categories: ['invoice', 'code'] }),
    one('strict-plivo', { default_category: 'newsletter', categories: ['newsletter'], partial: 'reject' }),
  );
}

before(async () => {
  await text.start();
  house = await startHouse({ configure, env: { POSTERN_TEST_PLIVO_SECRET: text.token } });
  ({ postern, callbacks } = house);
});
after(async () => {
  await house.end();
  await text.stop();
});

/** The SDK with its base URL changed and nothing else. */
function client(name = 'shop-plivo', { lib = plivo } = {}) {
  const { account, secret } = typeof name === 'string' ? KEYS[name] : name;
  return new lib.Client(account, secret, { url: `${postern.url}/v1/Account/${account}` });
}

const messagesOf = (name) => `/v1/Account/${KEYS[name].account}/Message/`;
const number = (person) => person.phone.slice(1);

/** The same call without the SDK: what it cannot show (status, fields) and what it cannot say. */
function raw(name, body, headers = {}) {
  const bytes = typeof body === 'string' ? body : JSON.stringify(body);
  return postern.raw('POST', messagesOf(name), bytes, { key: name, headers: { 'Content-Type': 'application/json', ...headers } });
}

const create = (dst, more = {}) => ({ src: SRC, dst, text: TEXT, ...more });
const to = (...people) => people.map(number).join('<');

async function rejected(promise) {
  const error = await promise.then(() => undefined, (e) => e);
  assert.ok(error, 'it was accepted');
  return error;
}

/** A marketing SMS at night is deferred to 08:00. */
async function deferOne(more = {}, { lib } = {}) {
  await postern.newDay('22:00', 'tue');
  const ada = await postern.subscriber();
  const answer = await client('shop-plivo', { lib }).messages.create(SRC, number(ada), TEXT, more);
  const [waiting] = await postern.deferred(ada.id);
  return { ada, answer, uuid: answer.messageUuid[0], releaseAt: waiting.release_at };
}

const release = async ({ ada, releaseAt }) => {
  await postern.passRelease(releaseAt);
  await waitFor('the released SMS', () => text.sends(ada.phone).length === 1);
  return text.sends(ada.phone)[0];
};

const formOf = (request) => Object.fromEntries(request.method === 'GET' ? request.query : request.form);

/** The posts about a message, once one has this status; each must be signed with the key's own token. */
async function told(callback, uuid, status, name = 'shop-plivo') {
  const about = () => callbacks.requests.filter((one) => formOf(one).MessageUUID === uuid);
  const post = await waitFor(`${status} of ${uuid}`, () => about().find((one) => formOf(one).Status === status));
  const nonce = post.headers['x-plivo-signature-v2-nonce'];
  for (const field of ['x-plivo-signature-v2', 'x-plivo-signature-ma-v2'])
    assert.ok(plivo.validateSignature(callback, nonce, post.headers[field], KEYS[name].secret), field);
  assert.ok(post.target.startsWith(new URL(callback).pathname + new URL(callback).search), post.target);
  return { request: post, form: formOf(post), all: about() };
}

for (const [version, lib] of [['4.79', plivo], ['4.40', plivo40]])
  describe(`plivo ${version}`, () => {
    it("one number: the provider's own answer, the provider's own account", async () => {
      await postern.newDay('12:00');
      const ada = await postern.subscriber();
      const answer = await client('shop-plivo', { lib }).messages.create({ src: SRC, dst: ada.phone, text: TEXT });
      const [request] = text.sends(ada.phone);
      const theirs = JSON.parse(request.answer.body);
      assert.deepEqual([answer.apiId, answer.message, answer.messageUuid], [theirs.api_id, 'message(s) queued', theirs.message_uuid]);
      assert.equal(request.path, `/v1/Account/${text.account}/Message/`);
      assert.equal(request.headers.authorization, `Basic ${Buffer.from(`${text.account}:${text.token}`).toString('base64')}`);
      assert.deepEqual(request.json, { src: SRC, dst: ada.phone, text: TEXT });
      assert.doesNotMatch(request.rawHeaders.join(), /x-postern/i);
    });

    it('several: one call to the provider, one uuid each', async () => {
      await postern.newDay('12:00');
      const people = [await postern.subscriber(), await postern.subscriber(), await postern.subscriber()];
      const answer = await client('shop-plivo', { lib }).messages.create(SRC, to(...people), TEXT);
      const seen = text.sends(people[0].phone);
      assert.equal(seen.length, 1);
      assert.equal(seen[0].json.dst, to(...people));
      assert.deepEqual(answer.messageUuid, JSON.parse(seen[0].answer.body).message_uuid);
      assert.equal(answer.messageUuid.length, 3);
    });

    it('a hard block is 400, and its sentence reaches the caller whole', async () => {
      const ada = await postern.subscriber();
      await postern.optOut(ada.phone, { scope: 'channel', channel: 'sms' });
      const error = await rejected(client('shop-plivo', { lib }).messages.create(SRC, number(ada), TEXT));
      assert.equal(error.status, 400);
      assertSentence(error.message, { code: 'PST-HARD-OPTOUT' });
      assert.match(error.apiID, UUID);
      assert.deepEqual(text.sends(ada.phone), []);
    });

    it('a soft block is 400 too, with prompt and token in the sentence', async () => {
      await postern.newDay('20:00');
      const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
      const error = await rejected(client('desk-plivo', { lib }).messages.create(SRC, number(ada), TEXT));
      assert.equal(error.status, 400);
      const [token] = /ovr_[A-Za-z0-9]+$/.exec(error.message) ?? assert.fail(error.message);
      assertSentence(error.message, { code: 'PST-SOFT-QUIET', token });
    });

    it('wrong credentials are 401, with a text', async () => {
      const { account, secret } = KEYS['shop-plivo'];
      for (const wrong of [{ account, secret: 'f'.repeat(32) }, { account: 'MA777777777777777777', secret }, { account: KEYS['desk-plivo'].account, secret }]) {
        const error = await rejected(client(wrong, { lib }).messages.create(SRC, '12125550188', TEXT));
        assert.equal(error.status, 401);
        assert.match(error.message, /authentication failed/);
      }
      assert.deepEqual(text.sends('+12125550188'), []);
    });

    it('deferred: a uuid of ours, fetched and listed, left out of no list, sent once, told to the callback', async () => {
      const url = `${callbacks.url}/plivo?order=${version}`;
      const one = await deferOne({ url, method: 'POST' }, { lib });
      assert.match(one.uuid, UUID);
      assertSoonAfter(one.releaseAt, postern.at('08:00', 1));
      const mine = client('shop-plivo', { lib });
      const fetched = await mine.messages.get(one.uuid);
      assert.deepEqual(
        [fetched.messageUuid, fetched.messageState, fetched.toNumber, fetched.fromNumber, fetched.messageDirection, fetched.errorCode],
        [one.uuid, 'queued', number(one.ada), SRC, 'outbound', null],
      );
      assert.ok((await mine.messages.list({ limit: 20, offset: 0 })).some((m) => m.messageUuid === one.uuid));
      assert.deepEqual(text.sends(one.ada.phone), []);
      const request = await release(one);
      const { form } = await told(url, one.uuid, 'queued');
      assert.deepEqual([form.To, form.From, form.Type, form.Units], [number(one.ada), SRC, 'sms', '1']);
      await postern.idle();
      assert.equal(text.sends(one.ada.phone).length, 1);
      const theirs = JSON.parse(request.answer.body).message_uuid[0];
      assert.notEqual(theirs, one.uuid);
      assert.equal((await mine.messages.get(one.uuid)).messageState, 'queued', 'of the provider, under our uuid');
      assert.ok(text.requests.some((r) => r.method === 'GET' && r.path.endsWith(`/Message/${theirs}/`)));
    });

    it('some blocked: accepted, a uuid for each, and the blocked are told to the callback', async () => {
      await postern.newDay('12:00');
      const [ada, bob, eve] = [await postern.subscriber(), await postern.subscriber(), await postern.subscriber()];
      await postern.optOut(bob.phone);
      const url = `${callbacks.url}/partial?v=${version}`;
      const answer = await client('shop-plivo', { lib }).messages.create(SRC, to(ada, bob, eve), TEXT, { url });
      const [request] = text.sends(ada.phone);
      assert.equal(request.json.dst, to(ada, eve));
      assert.deepEqual(text.sends(bob.phone), []);
      const theirs = JSON.parse(request.answer.body).message_uuid;
      const [first, second, third] = answer.messageUuid;
      assert.deepEqual([first, third], theirs);
      assert.match(second, UUID);
      const { form } = await told(url, second, 'failed');
      assert.deepEqual([form.ErrorCode, form.To], ['200', number(bob)]);
    });

    it("the provider's own refusal reaches the caller", async () => {
      await postern.newDay('12:00');
      const ada = await postern.person();
      text.when(number(ada), plivoSays.badSource(), 1);
      const error = await rejected(client('billing-plivo', { lib }).messages.create(SRC, number(ada), TEXT));
      assert.deepEqual([error.status, error.message], [400, 'src is invalid']);
    });

    it('provider down and not kept: 500, with a text', async () => {
      await postern.newDay('12:00');
      const ada = await postern.person();
      await text.stop();
      const body = create(number(ada));
      const answer = await raw('billing-plivo', body, { 'X-Postern-Category': 'code' });
      await text.start();
      assert.equal(answer.status, 500);
      assert.equal(header(answer, 'X-Postern-Code'), 'PST-UPSTREAM-DOWN');
      assert.equal(JSON.parse(answer.text).error, 'upstream provider unavailable, message not accepted');
      assert.equal(header(answer, 'Retry-After'), '30');
      assert.deepEqual(text.sends(ada.phone), []);
    });
  });

describe('Plivo: forwarded', () => {
  it("gives the provider's bytes, and the provider the application's", async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    const body = `{ "dst" : "${ada.phone}",\t"src":"${SRC}","text":"Gr\\u00fc\\u00dfe \u{1F44B}", "x_unknown": [1, {"dst": "y"}] }`;
    const answer = await raw('billing-plivo', body);
    const [id] = assertOutcome(answer, { status: 202, ...FORWARDED });
    const [request] = text.sends(ada.phone);
    assert.equal(request.text, body);
    assert.equal(answer.text, request.answer.body);
    const decision = await postern.decision(id, { until: 'forwarded' });
    assert.equal(decision.provider_id, JSON.parse(answer.text).message_uuid[0]);
  });

  it('each of several has its own provider id; one that Plivo takes for no number is refused', async () => {
    await postern.newDay('12:00');
    const people = [await postern.person(), await postern.person(), await postern.person()];
    text.invalid.add(number(people[1]));
    const answer = await raw('billing-plivo', create(to(...people)));
    const ids = decisionIds(answer);
    const { message_uuid: uuids, invalid_number: invalid } = JSON.parse(answer.text);
    assert.deepEqual(invalid, [number(people[1])]);
    assert.deepEqual([uuids.length, ids.length], [2, 3]);
    const [first, second, third] = await Promise.all(ids.map((id) => postern.decision(id)));
    assert.deepEqual([first.result, first.provider_id], ['forwarded', uuids[0]]);
    assert.equal(second.result, 'refused');
    assert.deepEqual([third.result, third.provider_id], ['forwarded', uuids[1]]);
  });

  it('a number that is written twice is one message, and the provider gets it as it was written', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const dst = `${number(ada)}<${ada.phone.slice(0, 5)} ${ada.phone.slice(5)}`;
    const answer = await raw('shop-plivo', create(dst));
    assert.equal(assertOutcome(answer, { status: 202, ...FORWARDED }).length, 1);
    assert.equal(text.sends(ada.phone)[0].json.dst, dst);
    assert.equal(JSON.parse(answer.text).message_uuid.length, 1);
  });

  it('other calls of the SDK pass with the own account', async () => {
    const numbers = await client().numbers.list();
    assert.equal(numbers.length, 0);
    assert.equal(text.requests.at(-1).path, `/v1/Account/${text.account}/Number/`);
    const error = await rejected(client().messages.get('11111111-1111-4111-8111-111111111111'));
    assert.equal(error.status, 404);
  });

  it("the application's own callback stays when the provider's uuid is the answer", async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const url = `${callbacks.url}/direct`;
    const answer = await client().messages.create(SRC, number(ada), TEXT, { url });
    assert.equal(text.sends(ada.phone)[0].json.url, url);
    assert.equal(await text.progress(answer.messageUuid[0], 'delivered'), 200);
  });
});

describe('Plivo: blocked and refused', () => {
  it('the body of a block has the decision', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.phone, { scope: 'channel', channel: 'sms' });
    const answer = await raw('shop-plivo', create(ada.phone));
    assertOutcome(answer, { status: 400, ...OPTED_OUT });
    assertDecisionObject(JSON.parse(answer.text).postern, { code: 'PST-HARD-OPTOUT', level: 'hard', recipient: ada.phone });
  });

  it('all or nothing, when the key says so', async () => {
    await postern.newDay('12:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    await postern.optOut(bob.phone);
    const answer = await raw('strict-plivo', create(to(ada, bob), { url: `${callbacks.url}/strict` }));
    assertOutcome(answer, { status: 400, outcome: 'blocked', code: 'PST-HARD-OPTOUT' });
    await postern.idle(100);
    assert.deepEqual(text.sends(ada.phone), []);
    assert.deepEqual(callbacks.requests.filter((one) => one.path === '/strict'), [], 'it was refused: there is nothing to tell');
  });

  for (const [name, body] of [
    ['no dst', { src: SRC, text: TEXT }],
    ['a dst that is no number', create('12')],
    ['a comma between two', create('12125550188,12125550187')],
    ['neither src nor powerpack', { dst: '12125550188', text: TEXT }],
    ['both', create('12125550188', { powerpack_uuid: '86bbb125-97bb-4d72-89fd-81d5c515b015' })],
    ['no text', create('12125550188', { text: '' })],
    ['1601 characters', create('12125550188', { text: 'x'.repeat(1601) })],
    ['dst twice', `{"src":"${SRC}","dst":"12125550188","d\\u0073t":"12125550187","text":"x"}`],
    ['DST', `{"src":"${SRC}","dst":"12125550188","DST":"12125550187","text":"x"}`],
    ['no JSON', 'src=1&dst=12125550188'],
    ['1001 numbers', create(Array.from({ length: 1001 }, (_, i) => 12125550000 + i).join('<'))],
  ])
    it(`${name}: 400, and nothing is sent`, async () => {
      const sent = text.requests.length;
      const answer = await raw('billing-plivo', body);
      assert.equal(answer.status, 400, answer.text);
      const error = JSON.parse(answer.text);
      assert.match(error.api_id, UUID);
      assert.ok(error.error.length > 10, error.error);
      assert.equal(text.requests.length, sent);
    });

  it('without the last slash it is no call', async () => {
    const sent = text.requests.length;
    const answer = await postern.raw('POST', messagesOf('billing-plivo').slice(0, -1), JSON.stringify(create('12125550188')), { key: 'billing-plivo', headers: { 'Content-Type': 'application/json' } });
    assert.equal(answer.status, 404);
    assert.equal(text.requests.length, sent);
  });

  for (const [name, status, behaviour] of [['400', 400, plivoSays.badSource()], ['401', 401, plivoSays.unauthorized()], ['404', 404, plivoSays.noSuch()], ['429', 429, plivoSays.tooMany(1)]])
    it(`the provider's ${name} passes through byte for byte`, async () => {
      await postern.newDay('12:00');
      const ada = await postern.person();
      text.when(number(ada), behaviour, 1);
      const answer = await raw('billing-plivo', create(ada.phone));
      assertOutcome(answer, { status, outcome: 'refused' });
      const { headers, body } = text.sends(ada.phone)[0].answer;
      assert.equal(answer.text, body);
      for (const [field, value] of Object.entries(headers)) assert.equal(header(answer, field), value, field);
      await postern.unpaused();
    });

  for (const [name, behaviour] of [['hangs', behave.stall()], ['resets', behave.reset()], ['says 500', plivoSays.broken()]])
    it(`a provider that ${name}: unknown, and never again`, async () => {
      await postern.newDay('12:00');
      const ada = await postern.person();
      text.when(number(ada), behaviour);
      const answer = await raw('billing-plivo', create(ada.phone));
      const [id] = assertOutcome(answer, { status: 202, outcome: 'unknown' });
      assert.match(JSON.parse(answer.text).message_uuid[0], UUID);
      await postern.decision(id, { until: 'unknown' });
      await postern.setClock(postern.at('20:00'));
      await postern.idle();
      assert.equal(text.sends(ada.phone).length, 1);
      text.forget();
    });
});

describe('Plivo: deferred', () => {
  it('several: each under a uuid of its own, each released by itself', async () => {
    await postern.newDay('22:00', 'tue');
    const people = [await postern.subscriber(), await postern.subscriber(), await postern.subscriber()];
    const url = `${callbacks.url}/several`;
    const answer = await client().messages.create(SRC, to(...people), TEXT, { url });
    assert.equal(new Set(answer.messageUuid).size, 3);
    for (const [i, person] of people.entries()) {
      const fetched = await client().messages.get(answer.messageUuid[i]);
      assert.deepEqual([fetched.messageState, fetched.toNumber], ['queued', number(person)]);
    }
    await postern.optOut(people[1].phone);
    const { form } = await told(url, answer.messageUuid[1], 'failed');
    assert.deepEqual([form.ErrorCode, form.To], ['200', number(people[1])]);
    assert.equal((await client().messages.get(answer.messageUuid[1])).errorCode, '200');
    const releases = await Promise.all([people[0], people[2]].map(async (one) => (await postern.deferred(one.id))[0].release_at));
    await postern.passRelease(releases.sort().at(-1));
    for (const [i, person] of [[0, people[0]], [2, people[2]]]) {
      await waitFor('the released SMS', () => text.sends(person.phone).length === 1);
      assert.equal(text.sends(person.phone)[0].json.dst, number(person));
      await told(url, answer.messageUuid[i], 'queued');
    }
    assert.deepEqual(text.sends(people[1].phone), []);
  });

  it("relays Plivo's own posts after the release, with the uuid that the application knows; by GET where it asked so", async () => {
    for (const method of ['POST', 'GET']) {
      const url = `${callbacks.url}/relayed?by=${method}&x=a%26b`;
      const one = await deferOne({ url, method });
      const request = await release(one);
      await told(url, one.uuid, 'queued');
      const theirs = JSON.parse(request.answer.body).message_uuid[0];
      const given = request.json.url;
      assert.ok(given.startsWith(`${postern.url}/postern/v1/callbacks/plivo/${one.uuid}?`), given);
      assert.equal(request.json.method, 'POST');
      assert.equal(await text.progress(theirs, 'sent'), 204);
      assert.equal(await text.progress(theirs, 'delivered', { v3: true }), 204);
      const { request: post } = await told(url, one.uuid, 'delivered');
      assert.equal(post.method, method);
      assert.doesNotMatch(post.text + post.target, new RegExp(`${theirs}|${text.account}`));
      assert.equal((await client().messages.get(one.uuid)).messageState, 'delivered');
      const error = await rejected(client().messages.listMedia(one.uuid));
      assert.equal(error.message, `no media of ${one.uuid}`);
    }
  });

  it('takes no post that Plivo did not sign, nor one to another place', async () => {
    const url = `${callbacks.url}/forged`;
    const one = await deferOne({ url });
    const request = await release(one);
    await told(url, one.uuid, 'queued');
    const theirs = JSON.parse(request.answer.body).message_uuid[0];
    const given = new URL(request.json.url);
    const elsewhere = new URL(given);
    elsewhere.searchParams.set('to', `${callbacks.url}/elsewhere`);
    const body = new URLSearchParams({ MessageUUID: theirs, Status: 'failed' });
    const nonce = '12345';
    const good = signV2(text.token, given.href, nonce);
    for (const [target, signature] of [[given, 'x'], [given, ''], [elsewhere, good], [new URL(given.pathname, given), good]]) {
      const answer = await fetch(target, { method: 'POST', body, headers: { 'X-Plivo-Signature-V2': signature, 'X-Plivo-Signature-V2-Nonce': nonce } });
      assert.equal(answer.status, 403, target.href);
    }
    const answer = await fetch(given, { method: 'POST', body, headers: { 'X-Plivo-Signature-V2': good, 'X-Plivo-Signature-V2-Nonce': nonce } });
    assert.equal(answer.status, 204);
    await told(url, one.uuid, 'failed');
    assert.deepEqual(callbacks.requests.filter((r) => r.path === '/elsewhere'), []);
  });

  it("another application's key does not see it", async () => {
    const one = await deferOne();
    assert.equal((await rejected(client('billing-plivo').messages.get(one.uuid))).status, 404);
  });

  it('some blocked, some deferred, the rest sent: a uuid each, in order', async () => {
    await postern.newDay('12:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    const eve = await postern.subscriber({ preferences: { hours: { 'mon-sun': '18:00-20:00' } } });
    await postern.optOut(bob.phone);
    const answer = await raw('shop-plivo', create(to(eve, bob, ada)));
    assertOutcome(answer, { status: 202, outcome: 'partial' });
    assert.deepEqual(['Forwarded', 'Blocked', 'Deferred'].map((what) => header(answer, `X-Postern-${what}`)), ['1', '1', '1']);
    const { message_uuid: uuids } = JSON.parse(answer.text);
    const [request] = text.sends(ada.phone);
    assert.equal(request.json.dst, number(ada));
    assert.equal(uuids[2], JSON.parse(request.answer.body).message_uuid[0]);
    assert.equal((await client().messages.get(uuids[0])).toNumber, number(eve));
    const releaseAt = (await postern.deferred(eve.id))[0].release_at;
    await postern.passRelease(releaseAt);
    await waitFor('the released SMS', () => text.sends(eve.phone).length === 1);
  });

  it('kept while the provider is down, and sent once when it is back', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    await text.stop();
    const answer = await raw('billing-plivo', create(ada.phone));
    assertOutcome(answer, { status: 202, outcome: 'deferred', code: 'PST-UPSTREAM-DOWN' });
    const [uuid] = JSON.parse(answer.text).message_uuid;
    assert.equal((await client('billing-plivo').messages.get(uuid)).messageState, 'queued');
    await text.start();
    await postern.setClock(new Date(postern.now.getTime() + 600_000));
    await waitFor('the SMS', () => text.sends(ada.phone).length === 1);
  });
});

describe('Plivo: many blocked', () => {
  it('tells each of them once', async () => {
    await postern.newDay('12:00');
    const people = await Promise.all(Array.from({ length: 41 }, () => postern.subscriber()));
    await Promise.all(people.slice(1).map((one) => postern.optOut(one.phone)));
    const url = `${callbacks.url}/many`;
    const { messageUuid } = await client().messages.create(SRC, to(...people), TEXT, { url });
    assert.equal(new Set(messageUuid).size, 41);
    const posts = await waitFor('forty posts', () => {
      const seen = callbacks.requests.filter((one) => one.path === '/many');
      return seen.length === 40 && seen.map((one) => one.form);
    });
    assert.deepEqual(posts.map((form) => form.get('MessageUUID')).sort(), messageUuid.slice(1).sort());
    assert.ok(posts.every((form) => form.get('Status') === 'failed' && form.get('ErrorCode') === '200'));
    assert.equal(text.sends(people[0].phone)[0].json.dst, number(people[0]));
  });
});

describe('Plivo: idempotency', () => {
  it('the same key, the same answer, one message; another body is refused', async () => {
    await postern.newDay('12:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    await postern.optOut(bob.phone);
    const headers = { 'Idempotency-Key': `k-${process.pid}` };
    const body = create(to(ada, bob));
    const first = await raw('shop-plivo', body, headers);
    assertOutcome(first, { status: 202, outcome: 'partial' });
    const second = await raw('shop-plivo', body, headers);
    assert.equal(header(second, 'Postern-Replayed'), 'true');
    assert.equal(second.text, first.text);
    assert.equal(text.sends(ada.phone).length, 1);
    const other = await raw('shop-plivo', { ...body, text: 'another' }, headers);
    assert.equal(other.status, 400);
    assert.equal(header(other, 'X-Postern-Code'), 'PST-KEY-REUSED');
    assert.ok(JSON.parse(other.text).error.length > 10);
  });
});

describe('Plivo: the sandbox', () => {
  it('answers as Plivo would, one uuid each', async () => {
    const sandbox = await startHouse({
      configure: (settings) => {
        configure(settings);
        settings.providers = settings.providers.filter((one) => one.kind !== 'plivo' && one.kind !== 'twilio');
        settings.routes.sms = 'sandbox';
      },
      env: { POSTERN_TEST_PLIVO_SECRET: text.token },
    });
    try {
      const { account, secret } = KEYS['billing-plivo'];
      const mine = new plivo.Client(account, secret, { url: `${sandbox.postern.url}/v1/Account/${account}` });
      const people = [sandbox.postern.stranger(), sandbox.postern.stranger()];
      await sandbox.postern.optOut(people[0].phone, { scope: 'do_not_contact' });
      const answer = await mine.messages.create(SRC, to(...people), TEXT);
      assert.equal(new Set(answer.messageUuid).size, 2);
      const { messages } = await sandbox.postern.api('GET', '/postern/v1/sandbox/messages');
      assert.deepEqual(messages.map((one) => one.to), [number(people[1])]);
    } finally {
      await sandbox.end();
    }
  });
});
