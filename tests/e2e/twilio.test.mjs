// twilio in front of Postern, in both versions that are in use: each row of the documented answers, as the SDK's
// caller sees it, as the provider received it, and as Postern says that it decided.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import twilio from 'twilio';
import twilio5 from 'twilio5';
import { twilioSays } from '../fakes/twilio.mjs';
import { FORWARDED, OPTED_OUT, assertDecisionObject, assertOutcome, assertOverrideHeaders, assertSentence, assertSoonAfter, header } from './expect.mjs';
import { KEYS, startHouse, waitFor } from './harness.mjs';

const messagesOf = (key) => `/2010-04-01/Accounts/${KEYS[key].account}/Messages.json`;
const KEYS_OF_A_MESSAGE = [
  'account_sid', 'api_version', 'body', 'date_created', 'date_sent', 'date_updated', 'direction', 'error_code', 'error_message', 'from',
  'messaging_service_sid', 'num_media', 'num_segments', 'price', 'price_unit', 'sid', 'status', 'subresource_uris', 'to', 'uri',
];
let house, postern, sms, callbacks;

before(async () => {
  house = await startHouse();
  ({ postern, sms, callbacks } = house);
});
after(() => house.end());

/** A marketing SMS at night is deferred to 08:00: the SDK's message and what is known of it. */
async function deferOne(params = {}, options = {}) {
  await postern.newDay('22:00', 'tue');
  const ada = await postern.subscriber();
  const answer = await postern.sms({ to: ada.phone, ...params }, options);
  const [id] = assertOutcome(answer, { status: 201, outcome: 'deferred', code: 'PST-DEFER-QUIET' });
  return { ada, answer, id, message: answer.message, releaseAt: header(answer, 'X-Postern-Release-At') };
}

for (const [version, lib] of [['6', twilio], ['5', twilio5]])
  describe(`twilio ${version}: forwarded and refused`, () => {
    it("gives the provider's own message", async () => {
      await postern.newDay('12:00');
      const ada = await postern.subscriber();
      const answer = await postern.sms({ to: ada.phone }, { lib });
      const [id] = assertOutcome(answer, { status: 201, ...FORWARDED });
      const [request] = sms.sends(ada.phone);
      const theirs = JSON.parse(request.answer.body);
      assert.equal(answer.message.sid, theirs.sid);
      assert.equal(answer.message.status, 'queued');
      assert.equal(answer.message.accountSid, sms.account);
      assert.ok(answer.message.dateCreated instanceof Date);
      assert.equal(sms.sends(ada.phone).length, 1);
      const decision = await postern.decision(id, { until: 'forwarded' });
      assert.equal(decision.provider_id, theirs.sid);
    });

    it('an opted-out number is the 21610 that applications handle, with the decision in details', async () => {
      const ada = await postern.subscriber();
      await postern.optOut(ada.phone, { scope: 'channel', channel: 'sms' });
      const answer = await postern.sms({ to: ada.phone }, { lib });
      assertOutcome(answer, { status: 400, ...OPTED_OUT });
      const { error } = answer;
      assert.equal(error.status, 400);
      assert.equal(error.code, 21610);
      assert.equal(error.message, 'Attempt to send to unsubscribed recipient');
      assert.equal(error.moreInfo, 'https://www.twilio.com/docs/errors/21610');
      assertDecisionObject(error.details, { code: 'PST-HARD-OPTOUT', level: 'hard', recipient: ada.phone });
      assert.deepEqual(sms.sends(ada.phone), []);
    });

    it('a soft block is 409 with prompt and token, in message and details', async () => {
      await postern.newDay('20:00');
      const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
      const answer = await postern.sms({ to: ada.phone }, { key: 'desk-sms', lib });
      assertOutcome(answer, { status: 409, outcome: 'blocked', level: 'soft', code: 'PST-SOFT-QUIET' });
      const { error } = answer;
      assert.equal(error.code, 7740901);
      assert.equal(error.status, 409);
      assertDecisionObject(error.details, { code: 'PST-SOFT-QUIET', level: 'soft', recipient: ada.phone });
      assertSentence(error.message, { code: 'PST-SOFT-QUIET', token: error.details.override.token });
      assertOverrideHeaders(answer, error.details.override);
      assert.match(error.moreInfo, /7740901/);
      assert.deepEqual(sms.sends(ada.phone), []);
    });

    it('wrong credentials are 20003', async () => {
      const ada = postern.stranger();
      for (const key of [{ account: KEYS['shop-sms'].account, secret: 'f'.repeat(32) }, { account: `AC${'f'.repeat(32)}`, secret: KEYS['shop-sms'].secret }]) {
        const answer = await postern.sms({ to: ada.phone }, { key, lib });
        assert.equal(answer.error.status, 401);
        assert.equal(answer.error.code, 20003);
        assert.equal(answer.error.message, 'Authenticate');
      }
      assert.deepEqual(sms.sends(ada.phone), []);
    });

    it('deferred, fetched, listed and cancelled under the sid that Postern gave', async () => {
      const { ada, message, releaseAt, id } = await deferOne({}, { lib });
      const client = postern.twilio('shop-sms', { lib });
      assert.match(message.sid, /^SM[0-9a-f]{32}$/);
      assert.equal(message.status, 'scheduled');
      assert.equal((await client.messages(message.sid).fetch()).status, 'scheduled');
      const listed = await client.messages.list({ to: ada.phone });
      assert.deepEqual(listed.map((one) => one.sid), [message.sid]);
      const canceled = await client.messages(message.sid).update({ status: 'canceled' });
      assert.equal(canceled.status, 'canceled');
      assert.equal((await client.messages(message.sid).fetch()).status, 'canceled');
      await postern.passRelease(releaseAt);
      await postern.idle();
      assert.deepEqual(sms.sends(ada.phone), []);
      assert.deepEqual(await postern.deferred(ada.id), []);
      await postern.decision(id);
    });
  });

describe('Twilio: forwarded', () => {
  it("gives the provider's bytes, and the provider gets the application's, for its own account", async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    const form = `To=${encodeURIComponent(ada.phone)}&From=%2b12125550199&Body=Gr%C3%BC%c3%9fe+%F0%9F%91%8B&MediaUrl=https%3A%2F%2Fcdn.shop.example%2F1.png&MediaUrl=https%3A%2F%2Fcdn.shop.example%2F2.png&X-Unknown=1`;
    const answer = await postern.raw('POST', messagesOf('billing-sms'), form, { key: 'billing-sms' });
    assertOutcome(answer, { status: 201, ...FORWARDED });
    const [request] = sms.sends(ada.phone);
    assert.equal(request.text, form);
    assert.equal(request.path, `/2010-04-01/Accounts/${sms.account}/Messages.json`);
    assert.equal(request.headers.authorization, `Basic ${Buffer.from(`${sms.account}:${sms.token}`).toString('base64')}`);
    assert.match(request.headers['content-type'], /^application\/x-www-form-urlencoded/);
    assert.doesNotMatch(request.rawHeaders.join(), /x-postern/i);
    assert.equal(answer.text, request.answer.body);
    assert.match(JSON.parse(answer.text).sid, /^MM/);
  });

  it('passes a Messaging Service, ValidityPeriod and a parameter that no schema has', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const service = `MG${'b'.repeat(32)}`;
    const answer = await postern.sms({ to: ada.phone, from: undefined, messagingServiceSid: service, validityPeriod: 600, messageIntent: 'marketing' });
    assertOutcome(answer, { status: 201, ...FORWARDED });
    assert.equal(answer.message.status, 'accepted');
    const { form } = sms.sends(ada.phone)[0];
    assert.equal(form.get('MessagingServiceSid'), service);
    assert.equal(form.get('ValidityPeriod'), '600');
    assert.equal(form.get('MessageIntent'), 'marketing');
  });

  it("leaves StatusCallback as it is when the provider's own sid is the answer", async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const callback = `${callbacks.url}/status/direct`;
    const { message } = await postern.sms({ to: ada.phone, statusCallback: callback });
    assert.equal(sms.sends(ada.phone)[0].form.get('StatusCallback'), callback);
    await sms.progress(message.sid, 'delivered');
    assert.deepEqual(callbacks.about(message.sid).map((one) => one.status), ['delivered']);
  });

  it('an otp passes at night, to someone who opted out of everything', async () => {
    await postern.newDay('03:00');
    const ada = await postern.subscriber();
    await postern.optOut(ada.phone);
    assertOutcome(await postern.sms({ to: ada.phone }, { key: 'code-sms' }), { status: 201, outcome: 'forwarded' });
  });
});

describe('Twilio: blocked', () => {
  it('marketing to someone unknown is 7740301, which no application takes for an opt-out', async () => {
    await postern.newDay('12:00');
    const nobody = postern.stranger();
    const answer = await postern.sms({ to: nobody.phone });
    assertOutcome(answer, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-NOCONSENT' });
    assert.equal(answer.error.code, 7740301);
    assert.equal(answer.error.status, 403);
    assertSentence(answer.error.message, { code: 'PST-HARD-NOCONSENT' });
    assertDecisionObject(answer.error.details, { code: 'PST-HARD-NOCONSENT', level: 'hard', recipient: nobody.phone });
    assert.deepEqual(sms.sends(nobody.phone), []);
  });

  it('a channel that the contact never wants is 7740302', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person({ preferences: { 'channel.never': ['sms'] } });
    const answer = await postern.sms({ to: ada.phone }, { key: 'billing-sms' });
    assertOutcome(answer, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-CHANNEL' });
    assert.equal(answer.error.code, 7740302);
  });

  it('a cap on marketing is 7740303', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    for (let i = 0; i < 3; i++) assert.equal((await postern.sms({ to: ada.phone, body: `offer ${i}` })).status, 201);
    const answer = await postern.sms({ to: ada.phone, body: 'offer 4' });
    assertOutcome(answer, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-FREQUENCY' });
    assert.equal(answer.error.code, 7740303);
    assert.equal(sms.sends(ada.phone).length, 3);
  });

  it("the contact's own cap for an agent is 7740902 with the token in details.override", async () => {
    await postern.newDay('09:00');
    const ada = await postern.person({ preferences: { 'frequency.max_per_day': 1 } });
    assert.equal((await postern.sms({ to: ada.phone }, { key: 'desk-sms' })).status, 201);
    await postern.setClock(postern.at('11:00'));
    const answer = await postern.sms({ to: ada.phone, body: 'again' }, { key: 'desk-sms' });
    assertOutcome(answer, { status: 409, outcome: 'blocked', level: 'soft', code: 'PST-SOFT-FREQUENCY' });
    assert.equal(answer.error.code, 7740902);
    assertSentence(answer.error.message, { code: 'PST-SOFT-FREQUENCY', token: answer.error.details.override.token });
  });

  it("another channel than the preferred one is soft for an agent: 7740903", async () => {
    await postern.newDay('12:00');
    const ada = await postern.person({ preferences: { 'channel.primary': 'email' } });
    const answer = await postern.sms({ to: ada.phone }, { key: 'desk-sms' });
    assertOutcome(answer, { status: 409, outcome: 'blocked', level: 'soft', code: 'PST-SOFT-CHANNEL' });
    assert.equal(answer.error.code, 7740903);
  });

  it("the provider's 21610 passes through and is remembered", async () => {
    await postern.newDay('12:00');
    const ada = await postern.person();
    sms.unsubscribed.add(ada.phone);
    const first = await postern.sms({ to: ada.phone }, { key: 'billing-sms' });
    assert.equal(first.error.code, 21610);
    assert.equal(sms.sends(ada.phone).length, 1);
    const second = await waitFor('the opt-out to be known here', async () => {
      const answer = await postern.sms({ to: ada.phone }, { key: 'billing-sms' });
      return header(answer, 'X-Postern-Outcome') === 'blocked' && answer;
    });
    assert.equal(second.error.code, 21610);
  });
});

describe('Twilio: bad input is refused in its own words, and nothing is sent', () => {
  const to = '%2B12125550188';
  const rows = [
    ['no To', 'From=%2B12125550199&Body=x', 21604],
    ['an empty To', 'To=&From=%2B12125550199&Body=x', 21604],
    ['a To that is no number', 'To=12&From=%2B12125550199&Body=x', 21211],
    ['a To whose plus became a blank', 'To=+12125550188&From=%2B12125550199&Body=x', 21211],
    ['a To in digits that are not ASCII', `To=${encodeURIComponent('+1212555018٨')}&From=%2B12125550199&Body=x`, 21211],
    ['no From and no service', `To=${to}&Body=x`, 21603],
    ['no Body, MediaUrl or ContentSid', `To=${to}&From=%2B12125550199`, 21602],
    ['a Body over 1600', `To=${to}&From=%2B12125550199&Body=${'x'.repeat(1601)}`, 21617],
  ];
  for (const [name, form, code] of rows)
    it(`${name}: ${code}`, async () => {
      const sent = sms.requests.length;
      const answer = await postern.raw('POST', messagesOf('billing-sms'), form, { key: 'billing-sms' });
      assert.equal(answer.status, 400, answer.text);
      const error = JSON.parse(answer.text);
      assert.equal(error.code, code);
      assert.equal(error.status, 400);
      assert.equal(error.more_info, `https://www.twilio.com/docs/errors/${code}`);
      assert.equal(sms.requests.length, sent, 'nothing left');
    });

  for (const [name, form] of [
    ['To twice', `To=${to}&To=%2B12125550187&From=%2B12125550199&Body=x`],
    ['To twice, the name escaped', `To=${to}&%54o=%2B12125550187&From=%2B12125550199&Body=x`],
    ['To twice, the same', `To=${to}&To=${to}&From=%2B12125550199&Body=x`],
    ['Body twice', `To=${to}&From=%2B12125550199&Body=x&Body=y`],
    ['an escape that is none', `To=${to}&From=%2B12125550199&Body=%zz`],
    ['bytes that are no UTF-8', `To=${to}&From=%2B12125550199&Body=%ff`],
    ['a control character in To', `To=${to}%0d%0aX%3A+y&From=%2B12125550199&Body=x`],
  ])
    it(`${name}: 400, in Twilio's shape`, async () => {
      const sent = sms.requests.length;
      const answer = await postern.raw('POST', messagesOf('billing-sms'), form, { key: 'billing-sms' });
      assert.equal(answer.status, 400, answer.text);
      const error = JSON.parse(answer.text);
      assert.ok(Number.isInteger(error.code) && typeof error.message === 'string' && error.status === 400, answer.text);
      assert.ok(!('type' in error && 'title' in error), 'twilio-node takes type and title for another kind of error');
      assert.equal(sms.requests.length, sent, 'nothing left');
    });

  it('an account in the path that is not the one of the credentials', async () => {
    const sent = sms.requests.length;
    const answer = await postern.raw('POST', messagesOf('desk-sms'), `To=${to}&From=%2B12125550199&Body=x`, { key: 'billing-sms' });
    assert.ok([401, 403, 404].includes(answer.status), String(answer.status));
    assert.ok(Number.isInteger(JSON.parse(answer.text).code));
    assert.equal(sms.requests.length, sent);
  });
});

describe("Twilio: the provider's own refusals", () => {
  const rows = { 21212: [400, twilioSays.badFrom()], 20429: [429, twilioSays.tooMany()], 20003: [401, twilioSays.unauthorized()] };
  for (const [code, [status, behaviour]] of Object.entries(rows))
    it(`${code} passes through byte for byte`, async () => {
      await postern.newDay('12:00');
      const ada = await postern.person();
      sms.when(ada.phone, behaviour, 1);
      const answer = await postern.raw('POST', messagesOf('billing-sms'), `To=${encodeURIComponent(ada.phone)}&From=%2B12125550199&Body=x`, { key: 'billing-sms' });
      assertOutcome(answer, { status, outcome: 'refused' });
      const { headers, body } = sms.sends(ada.phone)[0].answer;
      assert.equal(answer.text, body);
      for (const [name, value] of Object.entries(headers)) assert.equal(header(answer, name), value, name);
      assert.equal(JSON.parse(answer.text).code, Number(code));
      await postern.unpaused();
    });
});

describe('Twilio: an API key of the account', () => {
  const { account, login, secret } = KEYS['bot-sms'];

  it('logs in with its own sid and names the account, in both versions of the SDK', async () => {
    await postern.newDay('12:00');
    for (const lib of [twilio, twilio5]) {
      const ada = await postern.person();
      const client = postern.twilio({ account: login, secret }, { lib, accountSid: account });
      const message = await client.messages.create({ to: ada.phone, from: '+12125550199', body: 'Hello from the shop' });
      assert.equal(message.status, 'queued');
      assert.equal(sms.sends(ada.phone).length, 1);
    }
  });

  it("is nobody with another account, another key's secret, or another sid", async () => {
    for (const [user, password, accountSid] of [
      [login, secret, KEYS['shop-sms'].account],
      [login, KEYS['shop-sms'].secret, account],
      [`SK${'6'.padStart(32, '0')}`, secret, account],
    ]) {
      const client = postern.twilio({ account: user, secret: password }, { accountSid });
      await assert.rejects(client.messages.create({ to: '+12125550188', from: '+12125550199', body: 'x' }), { status: 401, code: 20003 });
    }
  });
});

describe('Twilio: categories', () => {
  for (const category of ['no-such', 'invoice'])
    it(`${category} is not one of the key's: 7740001, naming the field`, async () => {
      const form = 'To=%2B12125550188&From=%2B12125550199&Body=x';
      const answer = await postern.raw('POST', messagesOf('shop-sms'), form, { key: 'shop-sms', headers: { 'X-Postern-Category': category } });
      assert.equal(answer.status, 400);
      const error = JSON.parse(answer.text);
      assert.equal(error.code, 7740001);
      assert.equal(error.details.field, 'X-Postern-Category');
      assert.match(error.message, new RegExp(category));
    });
});

describe('Twilio: deferred', () => {
  it('is a whole message with status scheduled, and leaves once at the end of the quiet hours', async () => {
    const { ada, answer, message, releaseAt, id } = await deferOne();
    assertSoonAfter(releaseAt, postern.at('08:00', 1));
    const raw = answer.message.toJSON();
    assert.equal(raw.to, ada.phone);
    assert.equal(raw.body, 'Hello from the shop');
    assert.equal(raw.dateSent, null);
    assert.equal(raw.numSegments, '0');
    assert.deepEqual(sms.sends(ada.phone), []);
    assert.equal((await postern.decision(id, { until: 'deferred' })).outcome, 'defer');
    await postern.setClock(new Date(postern.at('08:00', 1).getTime() - 60_000));
    await postern.idle();
    assert.deepEqual(sms.sends(ada.phone), [], 'not a minute early');
    await postern.passRelease(releaseAt);
    await waitFor('the released SMS', () => sms.sends(ada.phone).length > 0);
    await postern.idle();
    assert.equal(sms.sends(ada.phone).length, 1);
    const client = postern.twilio();
    const fetched = await waitFor('its state to move on', async () => {
      const now = await client.messages(message.sid).fetch();
      return now.status !== 'scheduled' && now;
    });
    assert.equal(fetched.sid, message.sid, 'still under the sid that the application knows');
    assert.ok(['queued', 'accepted', 'sending', 'sent', 'delivered'].includes(fetched.status), fetched.status);
    await assert.rejects(client.messages(message.sid).update({ status: 'canceled' }), (error) => error.status >= 400 && Number.isInteger(error.code));
  });

  it('has every key of the documented object', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    const form = `To=${encodeURIComponent(ada.phone)}&From=%2B12125550199&Body=x&MediaUrl=https%3A%2F%2Fcdn.shop.example%2F1.png`;
    const answer = await postern.raw('POST', messagesOf('shop-sms'), form, { key: 'shop-sms' });
    assert.equal(answer.status, 201);
    const message = JSON.parse(answer.text);
    for (const key of KEYS_OF_A_MESSAGE) assert.ok(key in message, key);
    assert.match(message.sid, /^MM[0-9a-f]{32}$/);
    assert.equal(message.account_sid, KEYS['shop-sms'].account);
    assert.match(message.date_created, /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000$/);
    assert.equal(message.uri, `/2010-04-01/Accounts/${KEYS['shop-sms'].account}/Messages/${message.sid}.json`);
    assert.equal(message.num_media, '1');
    assert.equal(message.error_code, null);
  });

  it("another application's key neither sees nor cancels it", async () => {
    const { message } = await deferOne();
    const other = postern.twilio('billing-sms');
    await assert.rejects(other.messages(message.sid).fetch(), { status: 404 });
    await assert.rejects(other.messages(message.sid).update({ status: 'canceled' }), { status: 404 });
    assert.equal((await postern.twilio().messages(message.sid).fetch()).status, 'scheduled');
    await postern.twilio().messages(message.sid).update({ status: 'canceled' });
  });

  it('tells the StatusCallback, signed with the token that the application knows: cancelled', async () => {
    const callback = `${callbacks.url}/status?order=1`;
    const { message } = await deferOne({ statusCallback: callback });
    await postern.twilio().messages(message.sid).update({ status: 'canceled' });
    await assertCallback(callback, message.sid, ['canceled']);
  });

  it('tells the StatusCallback: sent on, with the sid that the application knows', async () => {
    const callback = `${callbacks.url}/status?order=2`;
    const { ada, message, releaseAt } = await deferOne({ statusCallback: callback });
    await postern.passRelease(releaseAt);
    await waitFor('the released SMS', () => sms.sends(ada.phone).length === 1);
    await assertCallback(callback, message.sid, ['queued', 'accepted', 'sending', 'sent']);
    assert.notEqual(sms.sends(ada.phone)[0].form.get('StatusCallback'), callback, 'the provider would post a sid that nobody knows');
  });

  it("relays Twilio's own posts after the release, with the sid and the account that the application knows", async () => {
    const callback = `${callbacks.url}/status?order=4&x=a%26b`;
    const { ada, message, releaseAt } = await deferOne({ statusCallback: callback });
    await postern.passRelease(releaseAt);
    await waitFor('the released SMS', () => sms.sends(ada.phone).length === 1);
    await assertCallback(callback, message.sid, ['queued']);
    const sent = sms.sends(ada.phone)[0];
    const theirs = JSON.parse(sent.answer.body).sid;
    const given = sent.form.get('StatusCallback');
    assert.ok(given.startsWith(`${postern.url}/postern/v1/callbacks/twilio/${message.sid}?`), given);
    assert.equal(await sms.progress(theirs, 'sent'), 204);
    assert.equal(await sms.progress(theirs, 'delivered'), 204);
    const [post] = await assertCallback(callback, message.sid, ['delivered']);
    assert.doesNotMatch(post.request.text + post.request.target, new RegExp(`${theirs}|${sms.account}`));
    assert.deepEqual(callbacks.about(theirs), []);

    const fetched = await postern.twilio().messages(message.sid).fetch();
    assert.equal(fetched.status, 'delivered', 'the provider knows, and was asked under its own sid');
    assert.equal(fetched.sid, message.sid);
    assert.equal(fetched.to, ada.phone);
    assert.equal(fetched.body, 'Hello from the shop');
    await assert.rejects(postern.twilio().messages(message.sid).media.list(), (error) => error.status === 404 && error.message.includes(message.sid));
    assert.equal(sms.requests.at(-1).path, `/2010-04-01/Accounts/${sms.account}/Messages/${theirs}/Media.json`);
    assert.equal((await postern.twilio().messages(message.sid).update({ body: '' })).body, '');
    assert.equal(sms.requests.findLast((one) => one.method === 'POST').path, `/2010-04-01/Accounts/${sms.account}/Messages/${theirs}.json`);
    assert.equal(await postern.twilio().messages(message.sid).remove(), true);
    await assert.rejects(postern.twilio().messages(theirs).fetch(), { status: 404 });

    const told = callbacks.about(message.sid).length;
    const form = new URLSearchParams({ MessageSid: theirs, MessageStatus: 'failed' });
    for (const [url, signature] of [
      [given, undefined],
      [given, 'AAAAAAAAAAAAAAAAAAAAAAAAAAA='],
      [given.replace('order', 'other'), sent.headers['x-twilio-signature'] ?? 'x'],
      [given.split('?')[0], 'x'],
    ]) {
      const forged = await fetch(url, { method: 'POST', body: form, headers: signature ? { 'X-Twilio-Signature': signature } : {} });
      assert.equal(forged.status, 403, url);
    }
    for (const [method, path, status] of [['GET', `twilio/${message.sid}`, 405], ['POST', 'twilio/', 404], ['POST', 'sendgrid/x', 404], ['POST', 'x', 404]])
      assert.equal((await fetch(`${postern.url}/postern/v1/callbacks/${path}`, { method })).status, status, path);
    await postern.idle(100);
    assert.equal(callbacks.about(message.sid).length, told);
  });

  it('tells the StatusCallback: refused at its release, and why', async () => {
    const callback = `${callbacks.url}/status?order=5`;
    const { ada, message, releaseAt } = await deferOne({ statusCallback: callback });
    await postern.setClock(new Date(new Date(releaseAt).getTime() - 60_000));
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, {
      addresses: { email: [ada.email], sms: [ada.phone] }, zone: 'America/New_York', preferences: { 'channel.never': ['sms'] },
    });
    await postern.passRelease(releaseAt);
    const [post] = await assertCallback(callback, message.sid, ['failed']);
    assert.equal(post.form.ErrorCode, '7740302');
    const fetched = await postern.twilio().messages(message.sid).fetch();
    assert.equal(fetched.status, 'failed');
    assert.equal(fetched.errorCode, 7740302);
    assert.equal(fetched.to, ada.phone);
    assert.deepEqual(sms.sends(ada.phone), []);
  });

  it("tells the StatusCallback: refused by Twilio at its release, an opt-out that only Twilio knew and another refusal", async () => {
    for (const [refuse, code] of [[(phone) => sms.unsubscribed.add(phone), 21610], [(phone) => sms.when(phone, twilioSays.badFrom(), 1), 30008]]) {
      const callback = `${callbacks.url}/status?order=${code}`;
      const { ada, message, releaseAt } = await deferOne({ statusCallback: callback });
      refuse(ada.phone);
      await postern.passRelease(releaseAt);
      const [post] = await assertCallback(callback, message.sid, ['failed']);
      assert.equal(post.form.ErrorCode, String(code));
      const fetched = await postern.twilio().messages(message.sid).fetch();
      assert.equal(fetched.status, 'failed');
      assert.equal(fetched.errorCode, code);
    }
  });

  it('tells the StatusCallback: a newer message took its place', async () => {
    const callback = `${callbacks.url}/status?order=6`;
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    const form = `To=${encodeURIComponent(ada.phone)}&From=%2B12125550199&StatusCallback=${encodeURIComponent(callback)}&Body=`;
    const sids = [];
    for (const body of ['one', 'two']) {
      const answer = await postern.raw('POST', messagesOf('shop-sms'), `${form}${body}`, { key: 'shop-sms', headers: { 'X-Postern-Collapse-Key': 'offer' } });
      assertOutcome(answer, { status: 201, outcome: 'deferred' });
      sids.push(JSON.parse(answer.text).sid);
    }
    const posts = await waitFor('the post about the first', () => callbacks.about(sids[0]).length > 0 && callbacks.about(sids[0]));
    assert.equal(posts[0].status, 'failed');
    assert.equal(posts[0].form.ErrorCode, '7740300');
    assert.equal((await postern.twilio().messages(sids[0]).fetch()).status, 'failed');
    assert.equal((await postern.twilio().messages(sids[1]).update({ status: 'canceled' })).status, 'canceled');
  });

  it('deletes: what waits never goes, what is not ours is the provider\'s to answer', async () => {
    const { ada, message, releaseAt } = await deferOne();
    const client = postern.twilio();
    assert.equal(await client.messages(message.sid).remove(), true);
    assert.equal((await client.messages(message.sid).fetch()).status, 'canceled');
    await postern.passRelease(releaseAt);
    await assert.rejects(client.messages(`SM${'e'.repeat(32)}`).remove(), { status: 404, code: 20404 });
    await postern.newDay('12:00');
    const direct = await postern.sms({ to: ada.phone });
    assert.equal(await client.messages(direct.message.sid).remove(), true);
    assert.ok(sms.requests.some((one) => one.method === 'DELETE' && one.path.includes(direct.message.sid)));
    assert.equal(sms.sends(ada.phone).length, 1);
  });

  it('tells the StatusCallback: given up because of an opt-out meanwhile', async () => {
    const callback = `${callbacks.url}/status?order=3`;
    const { ada, message } = await deferOne({ statusCallback: callback });
    await postern.optOut(ada.phone);
    const [post] = await assertCallback(callback, message.sid, ['failed']);
    assert.equal(post.form.ErrorCode, '21610');
    const fetched = await postern.twilio().messages(message.sid).fetch();
    assert.equal(fetched.status, 'failed');
    assert.equal(fetched.errorCode, 21610);
    assert.equal(fetched.to, ada.phone);
    assert.equal(fetched.from, '+12125550199');
  });

  it("obeys the application's own schedule, and its ValidityPeriod", async () => {
    await postern.newDay('09:00', 'tue');
    const ada = await postern.subscriber();
    const sendAt = postern.at('14:00');
    const scheduled = await postern.sms({ to: ada.phone, from: undefined, messagingServiceSid: `MG${'c'.repeat(32)}`, scheduleType: 'fixed', sendAt });
    assert.equal(scheduled.status, 201);
    assert.equal(scheduled.message.status, 'scheduled');
    assert.deepEqual(sms.sends(ada.phone), []);
    await postern.passRelease(sendAt);
    await waitFor('the scheduled SMS', () => sms.sends(ada.phone).length === 1);
    assert.equal(sms.sends(ada.phone)[0].form.get('SendAt'), null);

    await postern.newDay('22:00', 'tue');
    const bob = await postern.subscriber();
    const short = await postern.sms({ to: bob.phone, validityPeriod: 3600 });
    assert.equal(short.status, 403, 'it would expire in an hour; the window opens in ten');
    assert.match(header(short, 'X-Postern-Code'), /EXPIRY/);
    assert.deepEqual(await postern.deferred(bob.id), []);
  });
});

/** The application was told one of these states, believably, and nothing under a sid that it does not know. */
async function assertCallback(url, sid, states) {
  const posts = await waitFor(`a StatusCallback about ${sid}: ${states}`, () => {
    const told = callbacks.about(sid).filter((one) => states.includes(one.status));
    return told.length > 0 && told;
  });
  for (const { request, form } of posts) {
    assert.equal(form.AccountSid, KEYS['shop-sms'].account);
    assert.equal(form.SmsSid, sid);
    assert.equal(form.SmsStatus, form.MessageStatus);
    assert.equal(request.target, new URL(url).pathname + new URL(url).search);
    assert.ok(twilio.validateRequest(KEYS['shop-sms'].secret, request.headers['x-twilio-signature'], url, form), 'signature');
  }
  return posts;
}
