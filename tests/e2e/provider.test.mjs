// Providers in trouble: down, slow, silent, cut off, closing reused connections.  What was written for an SMS is never
// written again; what surely was not sent is kept and sent once; what is not known is called unknown.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import twilio5 from 'twilio5';
import { behave } from '../fakes/server.mjs';
import { sendgridSays } from '../fakes/sendgrid.mjs';
import { twilioSays } from '../fakes/twilio.mjs';
import { FORWARDED, assertOutcome, assertSoonAfter, decisionIds, header } from './expect.mjs';
import { KEYS, startHouse, waitFor } from './harness.mjs';

const BREAKER = { deadline: 40_000 };
let house, postern, mail, sms;

before(async () => {
  house = await startHouse();
  ({ postern, mail, sms } = house);
});
after(() => house.end());
afterEach(() => {
  mail.forget();
  sms.forget();
});

/** Send to strangers until one is forwarded again: the breaker has closed. */
async function recovered(send) {
  await waitFor('the breaker to close', async () => {
    const answer = await send(await postern.person());
    return header(answer, 'X-Postern-Outcome') === 'forwarded';
  }, { ...BREAKER, every: 250 });
}
const mailBilling = (person, more = {}) => postern.mail({ to: person.email, ...more }, { key: 'billing' });
const smsBilling = (person, options = {}) => postern.sms({ to: person.phone }, { key: 'billing-sms', ...options });

describe('a provider that is down', () => {
  it('SendGrid: the mail is kept, answered as deferred, and sent exactly once when it is back', async () => {
    await postern.newDay('10:00');
    const people = await Promise.all(Array.from({ length: 5 }, () => postern.person()));
    await mail.stop();
    const answers = [];
    for (const one of people) answers.push(await mailBilling(one));
    for (const answer of answers) {
      assertOutcome(answer, { status: 202, outcome: 'deferred', code: 'PST-UPSTREAM-DOWN' });
      assert.equal(answer.body, '');
      assert.match(header(answer, 'X-Message-Id'), /^[A-Za-z0-9_-]{22}$/);
      assertSoonAfter(header(answer, 'X-Postern-Release-At'), postern.now);
    }
    assert.equal((await postern.deferred(people[0].id)).length, 1);
    assert.equal((await postern.decision(decisionIds(answers[0])[0])).result, 'deferred');
    await mail.start();
    await postern.setClock(postern.at('10:30'));
    for (const one of people) await waitFor('the kept mail', () => mail.sends(one.email).length > 0, BREAKER);
    await recovered(mailBilling);
    for (const one of people) assert.equal(mail.sends(one.email).length, 1);
    assert.deepEqual(await postern.deferred(people[0].id), []);
  });

  it('Twilio: kept, status queued, sent once, in both versions of the SDK', async () => {
    await postern.newDay('10:00');
    const [ada, bob] = [await postern.person(), await postern.person()];
    await sms.stop();
    for (const [person, lib] of [[ada, undefined], [bob, twilio5]]) {
      const answer = await smsBilling(person, { lib });
      assertOutcome(answer, { status: 201, outcome: 'deferred', code: 'PST-UPSTREAM-DOWN' });
      assert.match(answer.message.sid, /^SM[0-9a-f]{32}$/);
      assert.equal(answer.message.status, 'queued');
    }
    await sms.start();
    await postern.setClock(postern.at('10:30'));
    for (const one of [ada, bob]) await waitFor('the kept SMS', () => sms.sends(one.phone).length > 0, BREAKER);
    await recovered(smsBilling);
    for (const one of [ada, bob]) assert.equal(sms.sends(one.phone).length, 1);
  });

  it('an otp does not wait: 503, and nothing is kept', async () => {
    await postern.newDay('10:00');
    const ada = await postern.person();
    await sms.stop();
    const answer = await postern.sms({ to: ada.phone }, { key: 'code-sms' });
    assert.equal(answer.status, 503);
    assert.equal(answer.error.code, 7750301);
    assert.equal(header(answer, 'X-Postern-Code'), 'PST-UPSTREAM-DOWN');
    assert.equal(header(answer, 'Retry-After'), '30');
    assert.deepEqual(await postern.deferred(ada.id), []);
    await sms.start();
    await recovered(smsBilling);
    assert.deepEqual(sms.sends(ada.phone), []);
  });

  it('an opt-out while it is kept wins', async () => {
    await postern.newDay('10:00');
    const ada = await postern.person();
    await sms.stop();
    assert.equal(header(await smsBilling(ada), 'X-Postern-Outcome'), 'deferred');
    await postern.optOut(ada.phone);
    await sms.start();
    await postern.setClock(postern.at('10:30'));
    await recovered(smsBilling);
    assert.deepEqual(sms.sends(ada.phone), []);
  });

  it('one provider in trouble does not hold up another', async () => {
    await postern.newDay('10:00');
    sms.when('Messages.json', behave.stall());
    const stuck = Array.from({ length: 8 }, async () => smsBilling(await postern.person()));
    const took = [];
    for (let i = 0; i < 10; i++) {
      const began = performance.now();
      assertOutcome(await mailBilling(await postern.person()), { status: 202, ...FORWARDED });
      took.push(performance.now() - began);
    }
    took.sort((a, b) => a - b);
    assert.ok(took[5] < 500, `median of mails while the other provider hangs: ${took[5].toFixed(0)} ms`);
    await Promise.all(stuck);
    sms.forget();
    await recovered(smsBilling);
  });
});

describe('SMS at most once: bytes were written, no whole answer came', () => {
  const rows = { stall: behave.stall(), reset: behave.reset(), close: behave.close(), half: behave.half() };
  for (const [name, behaviour] of Object.entries(rows))
    it(`${name}: unknown, and the provider saw it once`, async () => {
      await postern.newDay('10:00');
      const ada = await postern.person();
      sms.when(ada.phone, behaviour);
      const began = performance.now();
      const answer = await smsBilling(ada);
      assert.ok(performance.now() - began < 5000, 'answered within five seconds');
      assert.equal(header(answer, 'X-Postern-Outcome'), 'unknown');
      const decision = await postern.decision(decisionIds(answer)[0], { until: 'unknown' });
      assert.equal(decision.outcome, 'forward');
      await postern.setClock(postern.at('14:00'));
      await postern.idle();
      assert.equal(sms.sends(ada.phone).length, 1, 'seen once');
      assert.deepEqual(await postern.deferred(ada.id), []);
      sms.forget();
      await recovered(smsBilling);
      assert.equal(sms.sends(ada.phone).length, 1, 'and never again');
    });

  it("the provider's 500 may have been sent: unknown, once", async () => {
    await postern.newDay('10:00');
    const ada = await postern.person();
    sms.when(ada.phone, twilioSays.broken(500));
    const answer = await smsBilling(ada);
    await postern.decision(decisionIds(answer)[0], { until: 'unknown' });
    await postern.setClock(postern.at('14:00'));
    await postern.idle();
    assert.equal(sms.sends(ada.phone).length, 1);
    sms.forget();
    await recovered(smsBilling);
  });

  it('counts what is unknown: it may have arrived', async () => {
    await postern.newDay('10:00');
    const ada = await postern.subscriber();
    sms.when(ada.phone, behave.close());
    for (let i = 0; i < 3; i++) {
      await postern.sms({ to: ada.phone, body: `offer ${i}` });
      await recovered(smsBilling);
    }
    sms.forget();
    assert.equal((await postern.sms({ to: ada.phone, body: 'offer 4' })).error.code, 7740303);
    assert.equal(sms.sends(ada.phone).length, 3);
  });
});

describe('a provider that closes reused connections without an answer', () => {
  it('sees each SMS exactly once, over more than one connection', async () => {
    await postern.newDay('10:00');
    sms.closeReused = true;
    const people = [];
    for (let i = 0; i < 12; i++) people.push(await postern.person());
    const before = sms.connections;
    const answers = [];
    for (const one of people) answers.push(await smsBilling(one));
    await postern.idle();
    for (const [i, one] of people.entries()) {
      assert.ok(sms.sends(one.phone).length <= 1, `message ${i} was written ${sms.sends(one.phone).length} times`);
      const outcome = header(answers[i], 'X-Postern-Outcome');
      const seen = sms.sends(one.phone)[0];
      if (outcome === 'forwarded') assert.equal(seen.fate, 'answer');
      if (seen?.fate === 'close') assert.equal((await postern.decision(decisionIds(answers[i])[0])).result, 'unknown');
      if (outcome === 'deferred') assert.equal(seen, undefined, 'only what was never written is kept');
    }
    assert.ok(sms.requests.some((r) => r.fate === 'close'), 'connections were reused, or this proves nothing');
    assert.ok(sms.connections > before);
    sms.closeReused = false;
    await postern.setClock(postern.at('14:00'));
    await recovered(smsBilling);
    for (const one of people) assert.equal(sms.sends(one.phone).length, 1, 'each message once in the end');
  });

  it('sees each mail at least once and no more than its decisions say', async () => {
    await postern.newDay('10:00');
    mail.closeReused = true;
    const people = [];
    for (let i = 0; i < 8; i++) people.push(await postern.person());
    const answers = [];
    for (const one of people) answers.push(await mailBilling(one));
    for (const [i, one] of people.entries()) {
      const { result } = await postern.decision(decisionIds(answers[i])[0]);
      assert.ok(['forwarded', 'unknown', 'deferred'].includes(result), result);
      if (result !== 'deferred') assert.equal(mail.sends(one.email).length, 1);
    }
    mail.closeReused = false;
    await postern.setClock(postern.at('14:00'));
    await recovered(mailBilling);
  });

  it('reuses connections when they hold', async () => {
    await postern.newDay('10:00');
    await recovered(smsBilling);
    const before = sms.connections;
    for (let i = 0; i < 10; i++) assertOutcome(await smsBilling(await postern.person()), { status: 201, ...FORWARDED });
    assert.ok(sms.connections - before <= 2, `${sms.connections - before} new connections for 10 messages in a row`);
  });
});

describe('a slow provider and one that asks to slow down', () => {
  it('waits for a late answer within the limit', async () => {
    await postern.newDay('10:00');
    const ada = await postern.person();
    mail.when(ada.email, behave.late(600), 1);
    assertOutcome(await mailBilling(ada), { status: 202, ...FORWARDED });
  });

  it("SendGrid's 500 for a mail: kept, or told; never sent twice without a record", async () => {
    await postern.newDay('10:00');
    const ada = await postern.person();
    mail.when(ada.email, sendgridSays.broken(500), 1);
    const answer = await mailBilling(ada);
    const [id] = decisionIds(answer);
    const decision = await postern.decision(id);
    assert.ok(['deferred', 'unknown'].includes(decision.result), decision.result);
    await postern.setClock(postern.at('10:30'));
    if (decision.result === 'deferred') {
      await waitFor('the mail, sent again', () => mail.sends(ada.email).length === 2, BREAKER);
      const [child] = (await postern.decision(id)).children;
      await postern.decision(child, { until: 'forwarded' });
    }
    await recovered(mailBilling);
    assert.ok(mail.sends(ada.email).length <= 2);
  });

  it('a released SMS that meets 429 waits as told and goes once', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    const answer = await postern.sms({ to: ada.phone });
    assert.equal(header(answer, 'X-Postern-Outcome'), 'deferred');
    sms.when(ada.phone, twilioSays.tooMany(1), 1);
    await postern.passRelease(header(answer, 'X-Postern-Release-At'));
    await waitFor('the first try', () => sms.sends(ada.phone).length === 1);
    await waitFor('it to wait again', async () => (await postern.deferred(ada.id)).length === 1);
    await postern.setClock(new Date(postern.now.getTime() + 600_000));
    await waitFor('the second try', () => sms.sends(ada.phone).length === 2, BREAKER);
    await postern.idle();
    assert.deepEqual(sms.sends(ada.phone).map((one) => one.answer.status), [429, 201]);
  });
});

describe('calls that are not messages', () => {
  it("SendGrid's templates and groups pass through with the provider's key, unchanged", async () => {
    const { client } = postern.sendgrid();
    const [response, body] = await client.request({ method: 'GET', url: '/v3/templates', qs: { generations: 'dynamic', page_size: 10 } });
    assert.equal(response.statusCode, 200);
    assert.equal(body.result[0].name, 'welcome');
    const request = mail.requests.findLast((one) => one.path === '/v3/templates');
    assert.equal(request.target, '/v3/templates?generations=dynamic&page_size=10');
    assert.equal(request.headers.authorization, `Bearer ${mail.apiKey}`);
    const [groups] = await client.request({ method: 'GET', url: '/v3/asm/groups' });
    assert.equal(groups.statusCode, 200);
    await assert.rejects(client.request({ method: 'GET', url: '/v3/no/such/thing' }), (error) => error.code === 404);
  });

  it("Twilio's account and messages pass through to the provider's account", async () => {
    const client = postern.twilio('billing-sms');
    const account = await client.api.v2010.accounts(KEYS['billing-sms'].account).fetch();
    assert.equal(account.friendlyName, 'Provider account');
    assert.equal(account.authToken, '*'.repeat(sms.token.length), "Postern's own token stays with Postern");
    const ada = await postern.person();
    const { message } = await smsBilling(ada);
    assert.equal((await client.messages(message.sid).fetch()).sid, message.sid);
    assert.deepEqual((await client.messages.list({ to: ada.phone })).map((one) => one.sid), [message.sid]);
    const request = sms.requests.findLast((one) => one.method === 'GET');
    assert.equal(request.headers.authorization, `Basic ${Buffer.from(`${sms.account}:${sms.token}`).toString('base64')}`);
    assert.ok(!sms.requests.some((one) => one.target.includes(KEYS['billing-sms'].account)));
  });

  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
    it(`${method}: target, media type and bytes go as they came, and come back as they are`, async () => {
      const target = `/v3/templates/d-1/versions%20x?b=2&a=%C3%BC&a=+1&${method}`;
      const sent = method === 'GET' ? undefined : Buffer.from(`{ "odd" :\t"\\u00fc" , "n":1e2 }\r\n${method}`);
      const given = `{"big":"${'x'.repeat(3 << 20)}"}`;
      mail.when(`&${method}`, behave.answer(method === 'DELETE' ? 418 : 200, { 'Content-Type': 'application/vnd.x+json', 'X-RateLimit-Remaining': '499', 'X-Postern-Forged': '1' }, given), 1);
      const answer = await postern.raw(method, target, sent, { headers: { 'Content-Type': 'application/merge-patch+json; v=1', 'X-Postern-Override': 'ovr_1234567890abcdef1234' } });
      assert.equal(answer.status, method === 'DELETE' ? 418 : 200);
      assert.equal(answer.text.length, given.length);
      assert.ok(answer.text === given);
      assert.equal(header(answer, 'Content-Type'), 'application/vnd.x+json');
      assert.equal(header(answer, 'X-RateLimit-Remaining'), '499');
      assert.equal(header(answer, 'X-Postern-Forged'), undefined);
      const request = mail.requests.at(-1);
      assert.equal(request.method, method);
      assert.equal(request.target, target);
      assert.equal(request.headers['content-type'], 'application/merge-patch+json; v=1');
      assert.doesNotMatch(request.rawHeaders.join(), /postern/i);
      assert.ok(request.body.equals(sent ?? Buffer.alloc(0)));
    });

  it('need a valid key too', async () => {
    const sent = mail.requests.length;
    const answer = await fetch(`${postern.url}/v3/templates`, { headers: { Authorization: 'Bearer SG.wrong.key' } });
    assert.equal(answer.status, 401);
    assert.equal(mail.requests.length, sent);
  });
});
