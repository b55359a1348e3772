// Idempotency keys: the second request under a key hears what the first one heard, byte for byte, and nothing is sent
// again; over slow providers, refusals, faults, crashes and 72 hours.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, describe, it } from 'node:test';
import { behave } from '../fakes/server.mjs';
import { sendgridSays } from '../fakes/sendgrid.mjs';
import { decisionIds } from './expect.mjs';
import { KEYS, Postern, startHouse, waitFor } from './harness.mjs';
import { RedisServer } from './redis.mjs';

const HOUR_MS = 3_600_000;
const OWN = new Set(['date', 'postern-replayed', 'connection', 'keep-alive']);
let house, postern, mail, sms;
let keys = 0;

before(async () => {
  house = await startHouse();
  ({ postern, mail, sms } = house);
});
after(() => house.end());
afterEach(() => {
  mail.forget();
  sms.forget();
});

const newKey = () => `order-${process.pid}-${keys++}`;

/** What the wire said: status, every field but those of the connection, the bytes of the body. */
async function exchange(url, init) {
  const answer = await fetch(url, { method: 'POST', ...init });
  const body = Buffer.from(await answer.arrayBuffer());
  const fields = Object.fromEntries([...answer.headers].filter(([name]) => !OWN.has(name)));
  return { status: answer.status, fields, body: body.toString('latin1'), headers: answer.headers, replayed: answer.headers.get('postern-replayed') };
}

function sendMail(to, idempotencyKey, { text = 'hello', key = 'billing', headers = {}, more = {}, on = postern } = {}) {
  const mailBody = { personalizations: [{ to: [{ email: to.email }] }], from: { email: 'bills@shop.example' }, subject: 'Your invoice', content: [{ type: 'text/plain', value: text }], ...more };
  return exchange(`${on.url}/v3/mail/send`, {
    headers: { Authorization: `Bearer ${KEYS[key].secret}`, 'Content-Type': 'application/json', ...(idempotencyKey ? { 'Idempotency-Key': idempotencyKey } : {}), ...headers },
    body: JSON.stringify(mailBody),
  });
}

function sendSms(to, idempotencyKey, { body = 'hello', key = 'billing-sms', on = postern } = {}) {
  const { account, secret } = KEYS[key];
  return exchange(`${on.url}/2010-04-01/Accounts/${account}/Messages.json`, {
    headers: { Authorization: `Basic ${Buffer.from(`${account}:${secret}`).toString('base64')}`, 'Idempotency-Key': idempotencyKey },
    body: new URLSearchParams({ To: to.phone, From: '+12125550199', Body: body }),
  });
}

const DIALECTS = {
  sendgrid: { send: sendMail, seen: (to) => mail.sends(to.email).length, fake: () => mail },
  twilio: { send: sendSms, seen: (to) => sms.seen(to.phone).length, fake: () => sms },
};

function assertReplay(first, second) {
  assert.equal(first.replayed, null);
  assert.equal(second.replayed, 'true');
  assert.deepEqual({ status: second.status, fields: second.fields, body: second.body }, { status: first.status, fields: first.fields, body: first.body });
}

for (const [name, { send, seen, fake }] of Object.entries(DIALECTS)) {
  describe(`${name}: a key`, () => {
    it('what was forwarded is answered again, byte for byte, and sent once', async () => {
      const person = await postern.person();
      const key = newKey();
      const first = await send(person, key);
      assert.ok(first.status < 300, JSON.stringify(first));
      assert.equal(first.fields['x-postern-outcome'], 'forwarded');
      assertReplay(first, await send(person, key));
      assertReplay(first, await send(person, key));
      assert.equal(seen(person), 1);
      assert.equal((await postern.decision(decisionIds(first)[0])).result, 'forwarded');
    });

    it('what was refused is refused again', async () => {
      const person = await postern.person();
      await postern.optOut(name === 'twilio' ? person.phone : person.email, { scope: 'do_not_contact' });
      const key = newKey();
      const first = await send(person, key);
      assert.ok([400, 403].includes(first.status), JSON.stringify(first));
      assertReplay(first, await send(person, key));
      assert.equal(seen(person), 0);
    });

    it('while the first is under way the answer is 409 with Retry-After; afterwards it is the first one\'s', async () => {
      const person = await postern.person();
      const key = newKey();
      fake().when(() => true, behave.late(400), 1);
      const under = send(person, key);
      await waitFor('the call to the provider', () => seen(person) === 1, { every: 2 });
      const busy = await send(person, key);
      assert.equal(busy.status, 409);
      assert.match(busy.headers.get('retry-after'), /^[1-9]\d*$/);
      assert.equal(busy.headers.get('x-postern-code'), 'PST-IN-PROGRESS');
      assert.equal(busy.replayed, null);
      const body = JSON.parse(busy.body);
      if (name === 'twilio') assert.deepEqual([body.status, body.code], [409, 7740911]);
      else assert.equal(body.errors[0].field, 'Idempotency-Key');
      assertReplay(await under, await send(person, key));
      assert.equal(seen(person), 1);
    });

    it('another body under the key is 422 and not sent', async () => {
      const person = await postern.person();
      const key = newKey();
      const first = await send(person, key);
      const other = await send(person, key, name === 'twilio' ? { body: 'another' } : { text: 'another' });
      assert.equal(other.status, 422);
      assert.equal(other.headers.get('x-postern-code'), 'PST-KEY-REUSED');
      const body = JSON.parse(other.body);
      if (name === 'twilio') assert.deepEqual([body.status, body.code], [422, 7742200]);
      else assert.match(body.errors[0].message, /used for another request/);
      assert.equal(seen(person), 1);
      assertReplay(first, await send(person, key));
    });

    it('fifty at once send one message', async () => {
      const person = await postern.person();
      const key = newKey();
      fake().when(() => true, behave.late(50), 1);
      const answers = await Promise.all(Array.from({ length: 50 }, () => send(person, key)));
      assert.equal(seen(person), 1);
      const first = answers.filter((one) => one.status < 300 && one.replayed === null);
      assert.equal(first.length, 1);
      for (const one of answers) assert.ok(one === first[0] || one.status === 409 || one.replayed === 'true', JSON.stringify(one));
      for (const one of answers.filter((each) => each.replayed)) assertReplay(first[0], one);
      assertReplay(first[0], await send(person, key));
    });

    it('kill -9 during the call: the message is unknown, the replay says so and sends nothing', async () => {
      const person = await postern.person();
      const key = newKey();
      fake().when(() => true, behave.stall(), 1);
      const under = send(person, key).catch(() => 'cut off');
      await waitFor('the call to the provider', () => seen(person) === 1, { every: 2 });
      await postern.kill();
      assert.equal(await under, 'cut off');
      await postern.launch();
      const replay = await send(person, key);
      assert.equal(replay.replayed, 'true');
      assert.ok(replay.status < 300, JSON.stringify(replay));
      assert.equal(replay.fields['x-postern-outcome'], 'unknown');
      assert.equal((await postern.decision(decisionIds(replay)[0])).result, 'unknown');
      assertReplay({ ...replay, replayed: null }, await send(person, key));
      assert.equal(seen(person), 1);
    });

    it('72 hours later the key is new', async () => {
      const person = await postern.person();
      const key = newKey();
      const first = await send(person, key);
      await postern.setClock(postern.now.getTime() + 71 * HOUR_MS);
      assertReplay(first, await send(person, key));
      await postern.setClock(postern.now.getTime() + HOUR_MS + 60_000);
      const again = await send(person, key);
      assert.equal(again.replayed, null);
      assert.notDeepEqual(decisionIds(again), decisionIds(first));
      assert.equal(seen(person), 2);
    });
  });
}

describe('only what is final is kept', () => {
  it('a provider that is down and a message that cannot wait: 503, and the retry is sent', async () => {
    const person = await postern.person();
    const key = newKey();
    await mail.stop();
    const refused = await sendMail(person, key, { headers: { 'X-Postern-Category': 'code' } });
    assert.equal(refused.status, 503, JSON.stringify(refused));
    await mail.start();
    const sent = await waitFor('the breaker to close', async () => {
      const answer = await sendMail(person, key, { headers: { 'X-Postern-Category': 'code' } });
      return answer.status === 202 && answer;
    }, { deadline: 40_000, every: 100 });
    assert.equal(sent.replayed, null);
    assert.equal(mail.sends(person.email).length, 1);
    assertReplay(sent, await sendMail(person, key, { headers: { 'X-Postern-Category': 'code' } }));
  });

  it("the provider's own 429 frees the key", async () => {
    const person = await postern.person();
    const key = newKey();
    mail.when(() => true, sendgridSays.tooMany(1), 1);
    assert.equal((await sendMail(person, key)).status, 429);
    await postern.unpaused();
    const sent = await sendMail(person, key);
    assert.equal(sent.status, 202);
    assert.equal(sent.replayed, null);
    assert.equal(sent.fields['x-postern-outcome'], 'forwarded');
  });

  it("the provider's own refusal is kept", async () => {
    const person = await postern.person();
    const key = newKey();
    mail.when(() => true, sendgridSays.badRequest(), 1);
    const first = await sendMail(person, key);
    assert.equal(first.status, 400);
    assertReplay(first, await sendMail(person, key));
    assert.equal(mail.sends(person.email).length, 1);
  });

  it('a message that is kept because the provider is down is kept once', async () => {
    const person = await postern.person();
    const key = newKey();
    mail.when(() => true, sendgridSays.broken(503), 1);
    const first = await sendMail(person, key);
    assert.equal(first.status, 202);
    assert.equal(first.fields['x-postern-outcome'], 'deferred');
    assertReplay(first, await sendMail(person, key));
    assert.equal((await postern.deferred(person.id)).length, 1);
  });

  it('a refused request claims nothing', async () => {
    const person = await postern.person();
    const key = newKey();
    assert.equal((await sendMail(person, key, { more: { from: undefined } })).status, 400);
    assert.equal((await sendMail(person, key)).status, 202);
  });
});

describe('whose key it is', () => {
  it('two API keys do not meet', async () => {
    const person = await postern.person();
    const key = newKey();
    const one = await sendMail(person, key);
    const two = await sendMail(person, key, { key: 'bot' });
    assert.equal(two.replayed, null);
    assert.notDeepEqual(decisionIds(one), decisionIds(two));
    assert.equal(mail.sends(person.email).length, 2);
  });

  it("SendGrid's custom argument is the same key as the header, and another X-Postern field is another request", async () => {
    const person = await postern.person();
    const key = newKey();
    const more = { custom_args: { postern_idempotency_key: key } };
    const first = await sendMail(person, undefined, { more });
    assert.equal(first.status, 202);
    assertReplay(first, await sendMail(person, undefined, { more }));
    assertReplay(first, await sendMail(person, key, { more }));
    assert.equal((await sendMail(person, key)).status, 422);
    assert.equal((await sendMail(person, key, { more, headers: { 'X-Postern-Priority': 'P1' } })).status, 422);
    assert.equal(mail.sends(person.email).length, 1);
  });

  it("the providers' own clients: a header of @sendgrid/mail, which no recipient gets to see", async () => {
    const person = await postern.person();
    const send = () => postern.sendgrid('billing').send({ to: person.email, from: 'bills@shop.example', subject: 'x', text: 'x', headers: { 'Idempotency-Key': 'sdk-1', 'X-Campaign': '7' } });
    const [[first], [second]] = [await send(), await send()];
    assert.deepEqual([first.statusCode, second.statusCode], [202, 202]);
    assert.equal(second.headers['postern-replayed'], 'true');
    assert.equal(second.headers['x-message-id'], first.headers['x-message-id']);
    const [sent, ...more] = mail.sends(person.email);
    assert.deepEqual(more, []);
    assert.deepEqual(sent.json.headers, { 'X-Campaign': '7' });
  });

  it('a key is 1 to 255 visible ASCII characters', async () => {
    const person = await postern.person();
    for (const bad of ['k'.repeat(256), 'two words', 'caf\u00e9']) {
      const answer = await sendMail(person, undefined, { more: { custom_args: { postern_idempotency_key: bad } } });
      assert.equal(answer.status, 400, bad);
      assert.match(JSON.parse(answer.body).errors[0].message, /visible ASCII; give 1 to 255/);
    }
    assert.equal((await sendMail(person, 'k'.repeat(255))).status, 202);
  });

  it('a replay takes no slot, and is counted', async () => {
    const before = await postern.metric('postern_idempotency_total', { met: 'replayed' });
    const person = await postern.subscriber();
    const key = newKey();
    for (let i = 0; i < 5; i++) assert.equal((await sendMail(person, key, { key: 'shop' })).status, 202);
    for (let i = 0; i < 2; i++) assert.equal((await sendMail(person, newKey(), { key: 'shop' })).status, 202);
    assert.equal((await sendMail(person, newKey(), { key: 'shop' })).fields['x-postern-outcome'], 'blocked');
    assert.equal((await postern.metric('postern_idempotency_total', { met: 'replayed' })) - before, 4);
  });
});

describe('kill -9 at any moment', { timeout: 60_000 }, () => {
  it('a client that repeats itself until it is answered has sent one message', async () => {
    const running = { on: true };
    const told = [];
    sms.when(() => true, behave.late(() => Math.random() * 15));
    const sender = async (n) => {
      for (let i = 0; running.on; i++) {
        const person = await postern.person().catch(() => undefined);
        if (!person) continue;
        const [key, body] = [newKey(), `mark-${n}-${i}.`];
        let answer;
        while (!answer || answer.status === 409 || answer.status === 503)
          answer = await sendSms(person, key, { body }).catch(() => postern.idle(5));
        told.push({ body, answer });
      }
    };
    const senders = [0, 1, 2, 3].map(sender);
    for (let i = 0; i < 8; i++) {
      await postern.idle(60 + Math.random() * 100);
      await postern.kill();
      await postern.launch();
    }
    running.on = false;
    await Promise.all(senders);
    const replayed = told.filter(({ answer }) => answer.replayed);
    console.log(`# ${told.length} answered, ${replayed.length} of them by a replay`);
    for (const { body, answer } of told) {
      assert.equal(answer.status, 201, JSON.stringify(answer));
      const seen = sms.seen(body).length;
      assert.ok(seen <= 1, `${body} was seen ${seen} times`);
      if (answer.fields['x-postern-outcome'] === 'forwarded') assert.equal(seen, 1, body);
      else assert.equal(answer.fields['x-postern-outcome'], 'unknown');
    }
    assert.ok(told.length > 20, 'the load was real');
    await postern.assertAuditHolds();
  });
});

describe('workers that share a store', { timeout: 60_000 }, () => {
  let redis, farm;
  const workers = async () => (await readFile(`/proc/${farm.postern.pid}/task/${farm.postern.pid}/children`, 'utf8')).trim().split(' ').map(Number);
  const fresh = { headers: { Connection: 'close' } }; // a connection of its own: any worker may take it
  const send = (person, key) => sendMail(person, key, { on: farm.postern, ...fresh });
  const seen = (person) => farm.mail.sends(person.email).length;

  before(async () => {
    redis = await RedisServer.start();
    farm = await startHouse({
      clock: false,
      configure: (settings) => {
        settings.counters = redis.url;
        settings.redis = { deadline_ms: 1000 };
        settings.workers = 3;
      },
    });
    await waitFor('the counters', async () => (await farm.postern.metric('postern_counters_up')) === 1);
  });
  after(async () => {
    await farm.end();
    await redis.stop();
  });

  it('fifty at once, whichever takes them, send one message', async () => {
    const person = await farm.postern.person();
    const key = newKey();
    farm.mail.when(person.email, behave.late(100), 1);
    const answers = await Promise.all(Array.from({ length: 50 }, () => send(person, key)));
    assert.equal(seen(person), 1);
    const first = answers.filter((one) => one.status < 300 && one.replayed === null);
    assert.equal(first.length, 1);
    for (const one of answers) assert.ok(one === first[0] || one.status === 409 || one.replayed === 'true', JSON.stringify(one));
    for (let i = 0; i < 6; i++) assertReplay(first[0], await send(person, key));
  });

  it('a worker that is killed: 409 while it is down, then what is on record, and nothing is sent again', async () => {
    const person = await farm.postern.person();
    const key = newKey();
    farm.mail.when(person.email, behave.stall(), 1);
    const under = send(person, key).catch(() => 'cut off');
    await waitFor('the call to the provider', () => seen(person) === 1, { every: 2 });
    for (let i = 0; i < 6; i++) assert.equal((await send(person, key)).status, 409);
    for (const pid of await workers()) process.kill(pid, 'SIGKILL');
    assert.equal(await under, 'cut off');
    const replay = await waitFor('an answer', async () => {
      const answer = await send(person, key).catch(() => undefined);
      return answer && answer.status !== 409 && answer.status !== 503 && answer;
    });
    assert.equal(replay.replayed, 'true');
    assert.equal(replay.fields['x-postern-outcome'], 'unknown');
    assert.equal(seen(person), 1);
  });
});

describe('the sandbox', () => {
  it('keeps keys like a provider', async () => {
    const alone = await Postern.start({});
    try {
      const person = await alone.person();
      const key = newKey();
      const first = await sendMail(person, key, { on: alone });
      assert.equal(first.status, 202);
      assertReplay(first, await sendMail(person, key, { on: alone }));
      await alone.kill();
      await alone.launch();
      assertReplay(first, await sendMail(person, key, { on: alone }));
      const text = await sendSms(person, key, { on: alone });
      assert.equal(text.status, 201);
      assertReplay(text, await sendSms(person, key, { on: alone }));
      assert.equal((await alone.api('GET', '/postern/v1/sandbox/messages')).messages.length, 2);
    } finally {
      await alone.stop();
    }
  });
});
