// The fakes prove themselves: the providers' own SDKs, straight at them, see what they would see at the provider.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import sgMail from '@sendgrid/mail';
import FormData from 'form-data';
import Mailgun from 'mailgun.js';
import Mailgun12 from 'mailgun12';
import plivo from 'plivo';
import plivo40 from 'plivo40';
import twilio from 'twilio';
import twilio5 from 'twilio5';
import { FakeCallback } from '../../fakes/callback.mjs';
import { FakeSendGrid, sendgridSays } from '../../fakes/sendgrid.mjs';
import { FakeMailgun, mailgunSays, parameters } from '../../fakes/mailgun.mjs';
import { FakePlivo, plivoSays, signV3 } from '../../fakes/plivo.mjs';
import { behave } from '../../fakes/server.mjs';
import { FakeTwilio, signature, twilioSays } from '../../fakes/twilio.mjs';
import { yaml } from '../config.mjs';
import { waitFor } from '../harness.mjs';

const MAIL = { from: 'a@shop.example', to: 'b@mail.example', subject: 'Hi', text: 'Hello' };
const SMS = { to: '+12125550100', from: '+12125550199', body: 'Hello' };

describe('the fake SendGrid', () => {
  const fake = new FakeSendGrid();
  const service = new sgMail.MailService();
  before(async () => {
    await fake.start();
    service.setApiKey(fake.apiKey);
    service.client.setDefaultRequest('baseUrl', fake.url);
  });
  after(() => fake.stop());

  it('accepts with 202, an id and no body, and keeps the bytes', async () => {
    const [response] = await service.send(MAIL);
    assert.equal(response.statusCode, 202);
    assert.equal(response.body, '');
    assert.match(response.headers['x-message-id'], /^[A-Za-z0-9_-]{22}$/);
    const [request] = fake.sends('b@mail.example');
    assert.deepEqual(request.json.personalizations, [{ to: [{ email: 'b@mail.example' }] }]);
    assert.equal(request.fate, 'answer');
  });

  it('answers 200 in sandbox mode', async () => {
    const [response] = await service.send({ ...MAIL, mailSettings: { sandboxMode: { enable: true } } });
    assert.equal(response.statusCode, 200);
    assert.equal(response.headers['x-message-id'], undefined);
  });

  it('refuses another key as SendGrid does', async () => {
    const other = new sgMail.MailService();
    other.setApiKey('SG.other.key');
    other.client.setDefaultRequest('baseUrl', fake.url);
    await assert.rejects(other.send(MAIL), (error) => {
      assert.equal(error.code, 401);
      assert.equal(error.response.body.errors[0].message, 'The provided authorization grant is invalid, expired, or revoked');
      return true;
    });
  });

  it('complains of a missing subject, of no personalizations, of an address given twice', async () => {
    const bodies = [
      [{ personalizations: [{ to: [{ email: 'b@mail.example' }] }], from: { email: 'a@shop.example' }, content: [{ type: 'text/plain', value: 'x' }] }, 'subject'],
      [{ from: { email: 'a@shop.example' } }, 'personalizations'],
      [{ personalizations: [{ to: [{ email: 'b@m.example' }], cc: [{ email: 'B@m.example' }] }], from: { email: 'a@shop.example' }, subject: 'x' }, 'personalizations.0'],
    ];
    for (const [body, field] of bodies) {
      const answer = await post(`${fake.url}/v3/mail/send`, JSON.stringify(body), { Authorization: `Bearer ${fake.apiKey}` });
      assert.equal(answer.status, 400);
      assert.equal((await answer.json()).errors[0].field, field);
    }
  });

  it('keeps batches and scheduled sends', async () => {
    const [, { batch_id: id }] = await service.client.request({ method: 'POST', url: '/v3/mail/batch' });
    const [created] = await service.client.request({ method: 'POST', url: '/v3/user/scheduled_sends', body: { batch_id: id, status: 'cancel' } });
    assert.equal(created.statusCode, 201);
    const [, one] = await service.client.request({ method: 'GET', url: `/v3/user/scheduled_sends/${id}` });
    assert.deepEqual(one, [{ batch_id: id, status: 'cancel' }]);
    const [gone] = await service.client.request({ method: 'DELETE', url: `/v3/user/scheduled_sends/${id}` });
    assert.equal(gone.statusCode, 204);
  });

  it('says 429 with its headers when told to, as often as told', async () => {
    fake.when('/v3/mail/send', sendgridSays.tooMany(3), 1);
    await assert.rejects(service.send(MAIL), (error) => {
      assert.equal(error.code, 429);
      assert.equal(error.response.headers['retry-after'], '3');
      assert.equal(error.response.headers['x-ratelimit-remaining'], '0');
      return true;
    });
    assert.equal((await service.send(MAIL))[0].statusCode, 202);
  });

  for (const [name, behaviour] of Object.entries({ reset: behave.reset(), close: behave.close(), half: behave.half() }))
    it(`gives no whole answer on ${name}, having seen the request`, async () => {
      fake.when('/v3/mail/send', behaviour, 1);
      const before = fake.requests.length;
      await assert.rejects(service.send(MAIL), (error) => error.response === undefined);
      assert.equal(fake.requests.length, before + 1);
      assert.equal(fake.requests.at(-1).fate, name);
    });

  it('never answers on stall, and answers late on late', async () => {
    fake.when('/v3/mail/send', behave.stall(), 1);
    const stalled = fetch(`${fake.url}/v3/mail/send`, { method: 'POST', body: '{}', signal: AbortSignal.timeout(150) });
    await assert.rejects(stalled, { name: 'TimeoutError' });
    fake.when('/v3/mail/send', behave.late(60), 1);
    const began = performance.now();
    assert.equal((await service.send(MAIL))[0].statusCode, 202);
    assert.ok(performance.now() - began >= 55);
  });

  it('closes a reused connection without an answer when told to', async () => {
    fake.forget();
    fake.closeReused = true;
    const request = `GET /v3/templates HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${fake.apiKey}\r\n\r\n`;
    const socket = net.connect(Number(new URL(fake.url).port), '127.0.0.1');
    let received = '';
    socket.setEncoding('utf8').on('data', (text) => (received += text)).on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(request);
    await waitFor('the first answer', () => received.includes('"welcome"'));
    assert.match(received, /^HTTP\/1.1 200 /);
    const first = received;
    socket.write(request);
    await closed;
    assert.equal(received, first, 'no second answer');
    const [one, two] = fake.requests.slice(-2);
    assert.equal(one.connection, two.connection);
    assert.deepEqual([one.onConnection, two.onConnection, two.fate], [1, 2, 'close']);
    fake.forget();
  });

  it('goes down and comes back on the same port', async () => {
    const { url } = fake;
    await fake.stop();
    const refused = new Promise((resolve) => net.connect(Number(new URL(url).port), '127.0.0.1').once('error', resolve));
    assert.equal((await refused).code, 'ECONNREFUSED');
    await fake.start();
    assert.equal(fake.url, url);
    const back = await waitFor('an answer again', () => service.send(MAIL).catch(() => undefined));
    assert.equal(back[0].statusCode, 202);
  });
});

for (const [version, lib] of [['6', twilio], ['5', twilio5]])
  describe(`the fake Twilio, seen by twilio ${version}`, () => {
    const fake = new FakeTwilio();
    const app = new FakeCallback();
    let client;
    before(async () => {
      await fake.start();
      await app.start();
      client = lib(fake.account, fake.token);
      client.api.baseUrl = fake.url;
    });
    after(() => Promise.all([fake.stop(), app.stop()]));

    it('creates, lists, fetches and removes a message', async () => {
      const message = await client.messages.create(SMS);
      assert.match(message.sid, /^SM[0-9a-f]{32}$/);
      assert.equal(message.status, 'queued');
      assert.ok(message.dateCreated instanceof Date && !Number.isNaN(message.dateCreated.getTime()));
      assert.deepEqual((await client.messages.list({ to: SMS.to })).map((one) => one.sid), [message.sid]);
      assert.equal((await client.messages(message.sid).fetch()).body, 'Hello');
      assert.equal(await client.messages(message.sid).remove(), true);
      await assert.rejects(client.messages(message.sid).fetch(), { status: 404, code: 20404 });
    });

    it('schedules with a service, and cancels', async () => {
      const message = await client.messages.create({
        to: SMS.to, body: 'x', messagingServiceSid: `MG${'a'.repeat(32)}`, scheduleType: 'fixed', sendAt: new Date(Date.now() + 3_600_000),
      });
      assert.equal(message.status, 'scheduled');
      assert.equal((await client.messages(message.sid).update({ status: 'canceled' })).status, 'canceled');
    });

    it('refuses as Twilio refuses', async () => {
      await assert.rejects(client.messages.create({ ...SMS, to: '12' }), { status: 400, code: 21211 });
      await assert.rejects(client.messages.create({ to: SMS.to, from: SMS.from }), { status: 400, code: 21602 });
      await assert.rejects(client.messages.create({ to: SMS.to, body: 'x' }), { status: 400, code: 21603 });
      fake.unsubscribed.add('+12125550111');
      await assert.rejects(client.messages.create({ ...SMS, to: '+12125550111' }), { status: 400, code: 21610 });
      fake.when('Messages.json', twilioSays.tooMany(), 1);
      await assert.rejects(client.messages.create(SMS), { status: 429, code: 20429 });
      const stranger = lib(fake.account, 'wrong');
      stranger.api.baseUrl = fake.url;
      await assert.rejects(stranger.messages.create(SMS), { status: 401, code: 20003 });
    });

    it('serves its own account and no other', async () => {
      assert.equal((await client.api.v2010.accounts(fake.account).fetch()).friendlyName, 'Provider account');
      await assert.rejects(client.api.v2010.accounts(`AC${'1'.repeat(32)}`).fetch(), { status: 404 });
    });

    it('tells the StatusCallback, signed so that the SDK believes it', async () => {
      const callback = `${app.url}/sms/status?order=7`;
      const message = await client.messages.create({ ...SMS, statusCallback: callback });
      assert.equal(await fake.progress(message.sid, 'delivered'), 200);
      const [post] = app.about(message.sid);
      assert.equal(post.status, 'delivered');
      assert.ok(lib.validateRequest(fake.token, post.request.headers['x-twilio-signature'], callback, post.form));
    });
  });

for (const [version, lib] of [['14', Mailgun], ['12', Mailgun12]])
  describe(`the fake Mailgun, seen by mailgun.js ${version}`, () => {
    const fake = new FakeMailgun();
    const mail = { from: 'Shop <shop@x.test>', subject: 'Hi', text: 'Hello' };
    let client;
    const create = (more) => client.messages.create(fake.domain, { ...mail, ...more });
    before(async () => {
      await fake.start();
      client = new lib(FormData).client({ username: 'api', key: fake.key, url: fake.url });
    });
    after(() => fake.stop());

    it('accepts a message, knows whom it goes to, stores it', async () => {
      const bytes = Buffer.from([0, 13, 10, 45, 45, 255]);
      const { status, id, message } = await create({ to: ['"Doe, J" <j@x.test>', 'a@x.test'], cc: 'b@x.test, J@x.test', attachment: { filename: 'a.bin', data: bytes } });
      assert.deepEqual([status, message], [200, 'Queued. Thank you.']);
      assert.match(id, /^<\d{14}\.[0-9a-f]{16}@mg\.shop\.example>$/);
      const [request] = fake.sends('b@x.test');
      assert.deepEqual(parameters(request).all('attachment'), [bytes]);
      assert.equal(fake.sends('j@x.test').length, 1);
      assert.equal((await client.domains.list())[0].name, fake.domain);
      assert.equal(fake.keys.length, 1);
    });

    it('refuses with the texts that the SDK keeps', async () => {
      const rows = [
        [{ to: 'nobody' }, 400, 'to parameter is not a valid address. please check documentation'],
        [{ to: 'a@x.test', from: '' }, 400, 'from parameter is missing'],
        [{ to: 'a@x.test', 'recipient-variables': '{' }, 400, "'recipient-variables' parameter is not a valid JSON"],
        [{ to: 'a@x.test', 'v:a': 'x'.repeat(17_000) }, 400, 'Send options (parameters starting with o:, h:, v:, or t:) are limited to 16KB total'],
      ];
      for (const [more, status, details] of rows) await assert.rejects(create(more), { status, details });
      await assert.rejects(client.messages.create('other.example', { ...mail, to: 'a@x.test' }), { status: 404, details: 'Domain not found: other.example' });
      const other = new lib(FormData).client({ username: 'api', key: 'another', url: fake.url });
      await assert.rejects(other.messages.create(fake.domain, { ...mail, to: 'a@x.test' }), { status: 401, details: 'Forbidden' });
      fake.when('c@x.test', mailgunSays.tooManyFor(fake.domain, 3), 1);
      await assert.rejects(create({ to: 'c@x.test' }), { status: 429, details: /try again after 3 seconds$/ });
    });
  });

for (const [version, lib] of [['4.79', plivo], ['4.40', plivo40]])
  describe(`the fake Plivo, seen by plivo ${version}`, () => {
    const fake = new FakePlivo();
    let client;
    before(async () => {
      await fake.start();
      client = new lib.Client(fake.account, fake.token, { url: `${fake.url}/v1/Account/${fake.account}` });
    });
    after(() => fake.stop());

    it('accepts each valid number once, and lists and shows its record', async () => {
      const answer = await client.messages.create('12125550199', '12125550100<+1 (212) 555-0100<12125550101<77', 'Hello');
      assert.equal(answer.messageUuid.length, 2);
      assert.deepEqual(answer.invalid_number ?? answer.invalidNumber, ['77']);
      const [uuid] = answer.messageUuid;
      assert.equal((await client.messages.get(uuid)).toNumber, '12125550100');
      assert.deepEqual((await client.messages.list()).map((one) => one.messageUuid).sort(), [...answer.messageUuid].sort());
      assert.equal(fake.sends('+12125550101').length, 1);
    });

    it('refuses with the texts that the SDK keeps', async () => {
      await assert.rejects(client.messages.create('12125550199', '77', 'Hello'), { status: 400, message: 'dst is invalid' });
      const other = new lib.Client(fake.account, 'another', { url: `${fake.url}/v1/Account/${fake.account}` });
      await assert.rejects(other.messages.create('12125550199', '12125550100', 'Hello'), { status: 401 });
      fake.when('12125550102', plivoSays.tooMany(), 1);
      await assert.rejects(client.messages.create('12125550199', '12125550102', 'Hello'), (error) => error.status === undefined && /429/.test(error.message));
    });

    it('tells the status callback, signed so that the SDK believes it', async () => {
      const callbacks = await new FakeCallback().start();
      const url = `${callbacks.url}/status?b=2&a=1`;
      const { messageUuid: [uuid] } = await client.messages.create('12125550199', '12125550100', 'Hello', { url });
      assert.equal(await fake.progress(uuid, 'delivered', { v3: true }), 200);
      const [{ headers, form }] = callbacks.requests;
      assert.equal(form.get('Status'), 'delivered');
      assert.ok(lib.validateSignature(url, headers['x-plivo-signature-v2-nonce'], headers['x-plivo-signature-v2'], fake.token));
      const fields = Object.fromEntries(form);
      assert.equal(headers['x-plivo-signature-v3'], signV3(fake.token, url, headers['x-plivo-signature-v3-nonce'], fields));
      assert.ok(lib.validateV3Signature('POST', url, headers['x-plivo-signature-v3-nonce'], fake.token, headers['x-plivo-signature-v3'], fields));
      await callbacks.stop();
    });
  });

describe('the helpers', () => {
  it('signs as in the documented vector', () => {
    const fields = { CallSid: 'CA1234567890ABCDE', Caller: '+12349013030', Digits: '1234', From: '+12349013030', To: '+18005551212' };
    assert.equal(signature('12345', 'https://mycompany.com/myapp.php?foo=1&bar=2', fields), '0/KCTR6DLpKmkAf8muzZqo1nDgQ=');
  });

  it('writes YAML in block form', () => {
    const text = yaml({ a: { b: 'x: y', n: 3 }, list: [{ name: 'one', of: ['p', 'q'] }, { name: 'two' }] }).trimStart();
    assert.equal(text, 'a: \n  b: "x: y"\n  n: 3\nlist: \n  - name: "one"\n    of: ["p", "q"]\n  - name: "two"');
  });
});

function post(url, body, headers) {
  return fetch(url, { method: 'POST', body, headers: { 'Content-Type': 'application/json', ...headers } });
}
