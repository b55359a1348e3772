// What is done to a Postern under torture, a flow a row.  prepare: before any call fails; act: while one does, it may
// hear anything; afterwards: with all well again; judge: what must hold of this flow beyond what holds of all
// (torment.mjs).  house: how its Postern is set up; ends: the process is to end by it; own: what it reads is the
// operator's, whose sizes no peer chooses; tool: it is posternctl that is tortured; kinds: only these calls fail.
import assert from 'node:assert/strict';
import { readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { decisionIds } from '../e2e/expect.mjs';
import { RedisServer } from '../e2e/redis.mjs';
import { KEYS, waitFor } from '../e2e/harness.mjs';
import { certificate } from '../e2e/smtp_client.mjs';
import { FakeMailgun } from '../fakes/mailgun.mjs';
import { FakePlivo } from '../fakes/plivo.mjs';
import { FakeRelay } from '../fakes/relay.mjs';
import { behave } from '../fakes/server.mjs';
import { yaml } from '../e2e/config.mjs';
import { accepted, assertDeliberate, lost } from './torment.mjs';

const HOUR_S = 3600;
const SETTLE_MS = 400; // a look at the queue each 200 ms

const person = async (t) => ({ person: await t.postern.person() });
const gone = async (t) => {
  const person = await t.postern.person();
  await t.postern.optOut(person.email);
  return { person };
};
/** A mail answered by SMTP: well, or not now. */
const soundMail = (answer, ...codes) => assert.ok([lost, 250, 421, 451, 452, ...codes].includes(answer.status), `answered ${answer.status}: ${answer.text}`);
/** A page in base64 behind a text, as mail programs send them: what is decided about is decoded. */
const page = ['MIME-Version: 1.0', 'Content-Type: multipart/alternative; boundary=b'];
const pageBody = (mark) => `--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n${mark} Gr\u00fc\u00dfe\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from(`<p>${'Your order has left our warehouse today. '.repeat(40)} 4111 1111 1111 1111</p>`)
  .toString('base64')
  .replace(/.{76}/g, '$&\r\n')}\r\n--b--`;
const large = (mark) => `${mark} Hello from the shop\r\n`.repeat(10_000);

/** A house with one more provider, and a key of it that may send invoices and promotions. */
async function withProvider(fake, name, settingsOf) {
  await fake.start();
  return {
    providers: [fake],
    env: { POSTERN_TEST_OTHER_SECRET: fake.key ?? fake.token },
    configure: (settings) => {
      settings.providers.push({ name: 'other', kind: name, url: fake.url, secret: 'env:POSTERN_TEST_OTHER_SECRET', total_ms: 1500, ...settingsOf });
      settings.keys.push({ name: `torture-${name}`, ...KEYS[`torture-${name}`], roles: ['sender'], default_category: 'invoice', categories: ['invoice', 'promo-out'] });
    },
    end: () => fake.stop(),
  };
}
KEYS['torture-mailgun'] = { secret: '1123456789abcdef0123456789abcde-0123abcd-74567890' };
KEYS['torture-plivo'] = { account: 'MA000000000000000001', secret: '1123456789abcdef0123456789abcdef' };

const later = (t) => ({ send_at: Math.floor(t.postern.now.getTime() / 1000) + HOUR_S });

/** An answer that is an error is one; a 2xx says what it says without the fault. */
const sound = (answer, ...statuses) => assert.ok([lost, 500, 503, ...statuses].includes(answer.status), `answered ${answer.status}: ${answer.text}`);

/** The row of the queue that an answer speaks of. */
const rowOf = async (t, answer) => (await t.postern.deferred()).find((row) => answer.ids.includes(row.decision_id));

/** Start; it may end instead, or be up and not ready: what follows looks at both. */
async function launch(t) {
  try {
    await t.postern.launch();
  } catch (error) {
    assert.match(error.message, /ended before it was ready|fetch failed|waited .* ready/);
  }
}

export const FLOWS = [
  {
    name: 'sendgrid',
    prepare: person,
    act: async (t, s) => sound((s.answer = await t.mail(s.person)), 202),
  },
  {
    name: 'twilio',
    prepare: person,
    act: async (t, s) => sound((s.answer = await t.sms(s.person)), 201),
  },
  {
    name: 'deferral',
    prepare: person,
    act: async (t, s) => sound((s.answer = await t.mail(s.person, { more: later(t) })), 202),
    judge: async (t, s) => {
      if (s.answer.status !== 202) return;
      assert.equal((await rowOf(t, s.answer))?.state, 'waiting', 'what was kept waits');
    },
  },
  ...[
    ['release', {}],
    ['release of a large mail', { more: { attachments: [{ content: 'QUJD'.repeat(100_000), filename: 'a.txt' }] }, kinds: ['large'] }],
  ].map(([name, { more, kinds }]) => ({
    name,
    kinds,
    idleMs: SETTLE_MS,
    prepare: async (t) => {
      const s = await person(t);
      s.answer = await t.mail(s.person, { more: { ...later(t), ...more } });
      s.row = await rowOf(t, s.answer);
      return s;
    },
    act: async (t, s) => sound((s.released = await t.call('POST', `/postern/v1/deferred/${s.row.id}/release`)), 200),
    judge: async (t, s, { intact }) => {
      const { children } = await t.postern.decision(s.answer.ids[0]);
      const results = [];
      for (const id of children) results.push(await t.result(id));
      const seen = t.house.mail.seen(s.answer.mark).length;
      const what = `seen ${seen} times, released as ${results}`;
      assert.equal(seen, results.includes('forwarded') || (seen === 1 && results.includes('unknown')) ? 1 : 0, what);
      // its result is on record before its row is back
      if (seen === 0 && !results.includes('unknown')) await waitFor(`it still waits, or left: ${what}`, () => rowOf(t, s.answer));
      if (intact) assert.equal(seen, 1, what);
    },
    released: true,
  })),
  {
    name: 'large mail',
    prepare: person,
    act: async (t, s) => {
      const attachments = [{ content: 'QUJD'.repeat(100_000), filename: 'a.txt' }];
      s.answer = await t.mail(s.person, { more: { attachments } });
      const mark = t.newMark();
      s.packed = await t.mail(s.person, { mark, more: { attachments }, packed: true });
      s.kept = await t.mail(s.person, { more: { ...later(t), attachments } });
      for (const one of [s.answer, s.packed, s.kept]) sound(one, 202);
    },
  },
  {
    name: 'content',
    prepare: async (t) => ({ person: await t.postern.person({ preferences: { language: 'de', format: 'concise' } }) }),
    act: async (t, s) => {
      const send = (mark, ...before) => {
        const value = `<p>${mark} ${'Your order has left our warehouse today.\n'.repeat(40)} 4111 1111 1111 1111</p>`;
        return t.mail(s.person, { mark, more: { content: [...before, { type: 'text/html', value }] } });
      };
      sound((s.both = await send(t.newMark(), { type: 'text/plain', value: 'Hello\n' })), 202);
      sound((s.page = await send(t.newMark())), 202);
    },
  },
  {
    name: 'block',
    prepare: gone,
    act: async (t, s) => sound((s.answer = await t.mail(s.person, { key: 'promo' })), 403),
    judge: (t, s) => assert.equal(t.house.mail.seen(s.answer.mark).length, 0),
  },
  {
    name: 'partial',
    prepare: async (t) => ({ people: [await t.postern.person(), (await gone(t)).person, await t.postern.person()] }),
    act: async (t, s) => sound((s.answer = await t.mail(s.people, { key: 'promo' })), 202),
    judge: (t, s) => {
      for (const request of t.house.mail.seen(s.answer.mark)) assert.ok(!request.text.includes(s.people[1].email), 'who opted out gets nothing');
    },
  },
  {
    name: 'SMTP to the sandbox',
    house: () => ({ relay: new FakeRelay(), configure: (settings) => (settings.routes.smtp = 'sandbox') }),
    prepare: person,
    act: async (t, s) => {
      soundMail((s.answer = await t.smtp(s.person, { fields: page, body: pageBody })));
      soundMail((s.kept = await t.smtp(s.person, { fields: [`X-SMTPAPI: {"send_at": ${later(t).send_at}}`] })));
    },
    judge: (t, s, { intact }) => {
      if (!intact) return;
      assert.deepEqual([s.answer.status, s.kept.status], [250, 250], `${s.answer.text} ${s.kept.text}`);
      assert.match(s.kept.text, /deferred until/);
    },
  },
  ...[
    ['SMTP into a relay', () => ({ relay: new FakeRelay() }), undefined],
    [
      'SMTP into a relay by TLS',
      async () => {
        const cert = await certificate();
        const relay = new FakeRelay({ tls: cert, auth: { user: 'relay-user', secret: 'relay-secret-0123456789' } });
        const configure = (settings) => (settings.providers.find((one) => one.kind === 'smtp').starttls = true);
        return { relay: Object.assign(relay, { caFile: cert.certFile }), configure, end: () => cert.remove() };
      },
      ['alloc', 'read', 'connect'], // the rest is as without TLS
    ],
  ].map(([name, house, kinds]) => ({
    name,
    house,
    kinds,
    prepare: async (t) => {
      t.house.relay.closeAfterMessage = true; // each mail has a connection of its own
      return { person: await t.postern.person(), people: [await t.postern.person(), (await gone(t)).person, await t.postern.person()] };
    },
    act: async (t, s) => {
      soundMail((s.answer = await t.smtp(s.person, { body: large })));
      soundMail((s.partial = await t.smtp(s.people, { key: 'shop', fields: ['X-Postern-Category: promo-out'] })));
    },
    judge: (t, s, { intact }) => {
      assert.ok(!t.house.relay.transactions.some((mail) => mail.to.includes(s.people[1].email)), 'who opted out gets nothing');
      assert.deepEqual(t.house.relay.violations, []);
      if (intact) assert.match(`${s.answer.text}\n${s.partial.text}`, /^250 2\.0\.0 Ok: queued as R\d+\n250 2\.0\.0 Ok: queued as R\d+ \(partial: 2 forwarded, 1 blocked; /);
    },
  })),
  {
    name: 'refused at RCPT',
    house: () => ({ relay: new FakeRelay() }),
    prepare: async (t) => ({ people: [await t.postern.person(), (await gone(t)).person] }),
    act: async (t, s) => {
      soundMail((s.answer = await t.smtp(s.people, { key: 'promo' })), 503, 554);
      for (const code of s.answer.rcpts) assert.ok([lost, 250, 421, 451, 452, 550].includes(code), `${s.answer.rcpts}`);
    },
    judge: (t, s, { intact }) => {
      assert.ok(!t.house.relay.transactions.some((mail) => mail.to.includes(s.people[1].email)), 'who opted out gets nothing');
      assert.notEqual(s.answer.rcpts[0], 550, 'who may get it is not refused for good');
      if (intact) assert.deepEqual([s.answer.rcpts, s.answer.status], [[250, 550], 250], s.answer.text);
    },
  },
  {
    name: 'mailgun',
    house: () => withProvider(new FakeMailgun(), 'mailgun'),
    prepare: async (t) => ({ people: [await t.postern.person(), (await gone(t)).person] }),
    act: async (t, s) => {
      s.answers = [];
      for (const large of [false, true]) {
        const mark = t.newMark();
        const form = new FormData();
        const text = { from: 'news@mg.shop.example', to: s.people.map((one) => one.email).join(', '), subject: 'Spring', text: mark, 'o:tag': 'x' };
        for (const [name, value] of Object.entries({ ...text, 'h:X-Postern-Category': 'promo-out' })) form.append(name, value);
        if (large) form.append('attachment', new Blob(['ABC'.repeat(100_000)]), 'a.txt');
        const request = new Request('http://p', { method: 'POST', body: form });
        const headers = { 'Content-Type': request.headers.get('content-type'), 'X-Postern-Category': 'promo-out', Authorization: `Basic ${Buffer.from(`api:${KEYS['torture-mailgun'].secret}`).toString('base64')}` };
        const answer = await t.call('POST', '/v3/mg.shop.example/messages', Buffer.from(await request.arrayBuffer()), 'torture-mailgun', headers);
        s.answers.push(t.say(mark, 'mailgun', answer));
      }
      for (const one of s.answers) sound(one, 200);
    },
    judge: (t, s, { intact }) => {
      assert.equal(t.providers[2].sends(s.people[1].email).length, 0, 'who opted out gets nothing');
      if (intact) assert.deepEqual(s.answers.map((one) => one.status), [200, 200], s.answers[0].text);
    },
  },
  {
    name: 'plivo',
    house: () => {
      const fake = new FakePlivo();
      return withProvider(fake, 'plivo', { account: fake.account });
    },
    prepare: async (t) => {
      const people = [await t.postern.person(), await t.postern.person()];
      await t.postern.optOut(people[1].phone);
      return { people };
    },
    act: async (t, s) => {
      const mark = t.newMark();
      const dst = s.people.map((one) => one.phone.slice(1)).join('<');
      const headers = { 'Content-Type': 'application/json', 'X-Postern-Category': 'promo-out' };
      const body = { src: '12125550199', dst, text: mark, url: `${t.house.callbacks.url}/status` };
      s.answer = t.say(mark, 'plivo', await t.call('POST', `/v1/Account/${KEYS['torture-plivo'].account}/Message/`, body, 'torture-plivo', headers));
      sound(s.answer, 202);
    },
    judge: (t, s, { intact }) => {
      assert.equal(t.providers[2].sends(s.people[1].phone).length, 0, 'who opted out gets nothing');
      if (intact) assert.equal(s.answer.status, 202, s.answer.text);
    },
  },
  {
    name: 'callbacks',
    prepare: async (t) => {
      const s = await person(t);
      s.answer = await t.sms(s.person, { callback: `${t.house.callbacks.url}/status` });
      s.given = t.house.sms.seen(s.answer.mark)[0];
      s.sid = JSON.parse(s.given.answer.body).sid;
      return s;
    },
    act: async (t, s) => {
      s.kept = await t.sms(s.person, { callback: `${t.house.callbacks.url}/status` });
      await t.house.sms.progress(s.sid, 'delivered').catch(() => {});
    },
  },
  {
    name: 'people',
    prepare: (t) => ({ person: t.postern.stranger() }),
    act: async (t, s) => {
      s.put = await t.call('PUT', `/postern/v1/contacts/${s.person.id}`, { addresses: { email: [s.person.email], sms: [s.person.phone] }, zone: 'America/New_York', preferences: { language: 'fr' } });
      s.consent = await t.call('POST', `/postern/v1/contacts/${s.person.id}/consents`, {
        state: 'granted', basis: 'web form', evidence: 'box ticked', source: 'customer', channel: 'email', category: 'newsletter',
      });
      s.got = await t.call('GET', `/postern/v1/contacts/${s.person.id}`);
      sound(await t.call('POST', '/postern/v1/opt-outs', { address: t.postern.stranger().email, reason: 'x'.repeat(200_000) }), 400);
      sound(s.put, 200, 201);
      sound(s.consent, 200, 201, 404);
      sound(s.got, 200, 404);
    },
    judge: async (t, s) => {
      if (!accepted(s.put)) return;
      const contact = await t.postern.api('GET', `/postern/v1/contacts/${s.person.id}`);
      assert.equal(contact.preferences.language.value, 'fr', 'what was taken is there');
    },
  },
  {
    name: 'opt-out',
    prepare: async (t) => {
      const s = await person(t);
      s.waiting = await t.mail(s.person, { key: 'promo', more: later(t) });
      assert.equal(s.waiting.outcome, 'deferred');
      return s;
    },
    act: async (t, s) => sound((s.answer = await t.optOut(s.person)), 200, 201),
    judge: async (t, s) => {
      if (!accepted(s.answer)) return;
      assert.notEqual((await rowOf(t, s.waiting))?.state, 'waiting', 'what it binds waits no longer');
    },
    mayBe: ['opted_out_meanwhile', 'cancelled'],
  },
  {
    name: 'dry run',
    prepare: person,
    act: async (t, s) => {
      s.answer = await t.call('POST', '/postern/v1/decisions', { to: s.person.email, channel: 'email', category: 'invoice', priority: 'P2' });
      sound(s.answer, 200);
      if (s.answer.status === 200) assert.equal(JSON.parse(s.answer.text).outcome, 'forward');
    },
  },
  {
    name: 'idempotent replay',
    prepare: person,
    act: async (t, s) => {
      const mark = t.newMark();
      const send = () => t.mail(s.person, { mark, headers: { 'Idempotency-Key': mark } });
      s.mark = mark;
      s.first = await send();
      s.second = await send();
      for (const one of [s.first, s.second]) sound(one, 202, 409);
    },
    judge: async (t, s) => {
      const again = await t.mail(s.person, { mark: s.mark, headers: { 'Idempotency-Key': s.mark } });
      assert.ok([202, 409].includes(again.status), `${again.status} ${again.text}`);
      if (s.first.status === 202 && again.status === 202) assert.deepEqual(again.ids, s.first.ids);
    },
  },
  {
    name: 'dead provider',
    prepare: async (t) => {
      await t.house.mail.stop();
      return person(t);
    },
    act: async (t, s) => sound((s.answer = await t.mail(s.person)), 202),
    afterwards: (t) => t.house.mail.start(),
  },
  {
    name: 'cap in Redis',
    house: async () => {
      const redis = await RedisServer.start();
      return {
        configure: (settings) => {
          settings.counters = redis.url;
          settings.policy.caps = [{ name: 'one', classes: ['marketing'], rolling: '24h', limit: 1 }];
        },
        end: () => redis.stop(),
      };
    },
    prepare: async (t) => {
      await waitFor('the counters', async () => (await t.postern.metric('postern_counters_up')) === 1);
      return person(t);
    },
    act: async (t, s) => {
      s.answers = [await t.mail(s.person, { key: 'promo' }), await t.mail(s.person, { key: 'promo' })];
      for (const one of s.answers) sound(one, 202, 403, 429);
    },
    judge: (t, s) => assert.ok(s.answers.flatMap((one) => t.house.mail.seen(one.mark)).length <= 1, 'the cap holds'),
  },
  {
    name: 'reload',
    own: true,
    idleMs: 30,
    prepare: async (t) => {
      await writeFile(t.postern.file, `${yaml({ ...t.postern.settings, log_level: 'info' }).trimStart()}\n`);
      return {};
    },
    act: async (t) => {
      const from = t.postern.log.length;
      const ended = t.postern.ended.then(() => true);
      const over = () => /event=(applied|refused)/.test(t.postern.log.slice(from)) || Promise.race([ended, false]);
      t.postern.signal('SIGHUP');
      await waitFor('the end of the reload', over, { every: 5, deadline: 1500 }).catch(() => {}); // its line may be lost
    },
    judge: async (t, s, { intact }) => {
      if (intact) assert.ok((await t.postern.metric('postern_reload_total', { result: 'applied' })) > 0);
    },
  },
  {
    name: 'metrics and health',
    prepare: () => ({}),
    act: async (t, s) => {
      s.answers = [];
      for (const target of ['/metrics', '/healthz', '/readyz']) s.answers.push(await t.call('GET', target));
      for (const one of s.answers) sound(one, 200);
      if (s.answers[0].status === 200) assert.match(s.answers[0].text, /postern_up|postern_build|# EOF|postern_/);
    },
  },
  {
    name: 'pages',
    house: () => ({ configure: (settings) => (settings.routes.sms = 'sandbox') }),
    prepare: async (t) => ({ answer: await t.postern.sms({ to: (await t.postern.person()).phone }, { key: 'billing-sms' }) }),
    act: async (t, s) => {
      s.answers = [];
      for (const target of ['/', '/postern.css', `/o/${decisionIds(s.answer)[0]}`, '/nowhere']) s.answers.push(await t.call('GET', target));
      for (const one of s.answers) sound(one, 200, 302, 303, 404);
    },
  },
  {
    name: 'passed on',
    prepare: (t) => {
      t.house.mail.forget();
      t.house.mail.when('/v3/templates', behave.answer(200, { 'Content-Type': 'application/json' }, `["${'x'.repeat(300_000)}"]`));
      return {};
    },
    act: async (t, s) => {
      sound((s.small = await t.call('GET', '/v3/asm/groups', undefined, 'shop')), 200, 502, 504);
      sound((s.large = await t.call('GET', '/v3/templates', undefined, 'shop')), 200, 502, 504);
      if (s.large.status === 200) assert.equal(s.large.text.length, 300_004, 'an answer is whole or none');
    },
  },
  {
    name: 'first start',
    prepare: async (t) => {
      assert.deepEqual(await t.postern.terminate(), { code: 0, signal: null });
      const files = (await readdir(t.postern.dir)).filter((name) => name.startsWith('postern.db'));
      for (const name of files) await rm(path.join(t.postern.dir, name));
      t.forget();
      return {};
    },
    own: true,
    act: launch,
  },
  {
    name: 'start-up',
    prepare: async (t) => assert.deepEqual(await t.postern.terminate(), { code: 0, signal: null }) ?? {},
    own: true,
    act: launch,
  },
  {
    name: 'shutdown',
    ends: true,
    prepare: (t) => t.mail(t.postern.stranger()),
    act: async (t) => {
      t.postern.signal('SIGTERM');
      await Promise.race([t.postern.ended, t.postern.idle(10_000)]);
    },
  },
  ...[
    ['audit verify', ['audit', 'verify']],
    ['packs', ['packs']],
    ['replay', ['replay', '--policy', 'postern.yaml', '--since', '2030-01-01T00:00:00Z', '--json']],
    ['explain', ['explain', '--to', 'person.0@mail.example', '--category', 'invoice']],
    ['deferred list', ['deferred', 'list']],
  ].map(([name, args]) => ({
    name: `posternctl ${name}`,
    tool: true,
    idleMs: 0,
    prepare: () => ({}),
    act: async (t, s) => (s.how = await t.ctl(args)),
    judge: async (t, s, { intact }) => {
      if (s.how.code === 0) assert.ok(s.how.stdout.length > 0, 'it says something');
      else assertDeliberate(s.how, s.how.stderr + (intact ? '' : s.how.stdout));
      if (intact) assert.equal(s.how.code, 0, s.how.stderr);
    },
  })),
];
