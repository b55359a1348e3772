// Every bound of what a client may send by HTTP: at the bound it is taken, one beyond it is refused with its own words
// and within 50 ms, and Postern is as well as before.  By SMTP: e2e/mail_limits.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { KEYS, startHouse } from '../e2e/harness.mjs';
import { FakeMailgun } from '../fakes/mailgun.mjs';
import { FakePlivo } from '../fakes/plivo.mjs';
import { exchange, request } from './wire.mjs';

const REFUSED_MS = 50;
const MIB = 1 << 20;
const BODY_BYTES = 30 * MIB;
const AUTHORIZATION = `Authorization: Bearer ${KEYS.billing.secret}\r\n`;

Object.assign(KEYS, {
  mailgun: { secret: '3123456789abcdef0123456789abcde-0123abcd-34567890' },
  plivo: { account: `MA${'3'.padStart(18, '0')}`, secret: '3123456789abcdef0123456789abcdef' },
});
const [mg, text] = [new FakeMailgun(), new FakePlivo()];
let house, postern, n = 0;
before(async () => {
  for (const fake of [mg, text]) await fake.start();
  house = await startHouse({
    configure: (settings) => {
      settings.providers.push({ name: 'main-mailgun', kind: 'mailgun', url: mg.url, secret: 'env:BOUNDS_MAILGUN_SECRET' });
      settings.providers.push({ name: 'main-plivo', kind: 'plivo', url: text.url, account: text.account, secret: 'env:BOUNDS_PLIVO_SECRET' });
      for (const name of ['mailgun', 'plivo']) settings.keys.push({ name, ...KEYS[name], roles: ['sender'], default_category: 'invoice', categories: ['invoice'] });
    },
    env: { BOUNDS_MAILGUN_SECRET: mg.key, BOUNDS_PLIVO_SECRET: text.token },
  });
  ({ postern } = house);
  house.mail.answer = () => ({ status: 202, headers: { 'X-Message-Id': 'm' }, body: '' });
});
after(async () => {
  await house.end();
  for (const fake of [mg, text]) await fake.stop();
});

const one = async (bytes) => (await exchange(postern.port, [bytes], { lanes: 1 }))[0];
/** Milliseconds of the fastest of three, or of up to thirty while none was fast enough: the machine is shared. */
async function fastest(bytes, ask) {
  let [answer, took] = [undefined, Infinity];
  for (let i = 0; i < 3 || (took >= REFUSED_MS && i < 30); i++) {
    const [said, ms] = await ask(bytes);
    answer = said;
    took = Math.min(took, ms);
  }
  return { answer, took };
}
/** The answer, and the milliseconds that all took. */
async function timed(bytes) {
  const began = performance.now();
  const answer = await one(bytes);
  return [answer, performance.now() - began];
}
/** The same, for what is large: the milliseconds from its last byte, when all before it has been read. */
async function timedFromLastByte(bytes) {
  const held = await postern.metric('postern_http_inflight_bytes');
  const socket = net.connect(postern.port, '127.0.0.1').setNoDelay();
  await new Promise((resolve) => socket.write(bytes.subarray(0, -1), resolve));
  await postern.idle(100);
  assert.ok((await postern.metric('postern_http_inflight_bytes')) > held, 'it is held');
  const began = performance.now();
  socket.write(bytes.subarray(-1));
  const [answer] = await once(socket, 'data');
  const ms = performance.now() - began;
  socket.destroy();
  const [head, body] = answer.toString().split('\r\n\r\n');
  return [{ status: Number(head.split(' ')[1]), body }, ms];
}

const mail = (more = {}) => ({ personalizations: [{ to: [{ email: `p${n++}@mail.example` }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }], ...more });
const mailOf = (more) => request('billing', JSON.stringify(mail(more)));
const people = (count, at = 0) => Array.from({ length: count }, (_, i) => ({ email: `p${n++}.${at + i}@mail.example` }));
/** A mail whose JSON is so many objects deep. */
const deep = (depth) => request('billing', JSON.stringify(mail()).replace('"subject"', `"custom_args":${'{"a":'.repeat(depth - 1)}1${'}'.repeat(depth - 1)},"subject"`));
const form = (fields) => request('billing-sms', fields);
const SMS = 'To=%2B12125550123&From=%2B12125550199';
/** A mail as long as this. */
function long(bytes) {
  const body = JSON.stringify(mail({ content: [{ type: 'text/plain', value: '' }] }));
  return request('billing', body.replace('"value":""', `"value":"${'x'.repeat(bytes - body.length)}"`));
}
const head = (lines) => Buffer.from(`GET /healthz HTTP/1.1\r\nHost: p\r\n${lines}\r\n`, 'latin1');
const body = Buffer.from(JSON.stringify(mail()));
const trailers = (bytes) => Buffer.concat([Buffer.from(`POST /v3/mail/send HTTP/1.1\r\nHost: p\r\n${AUTHORIZATION}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`), body, Buffer.from(`\r\n0\r\nT: ${'x'.repeat(bytes - 3)}\r\n\r\n`)]);

// Mailgun's
const FROM = 'news@mg.shop.example';
const addresses = (count) => Array.from({ length: count }, () => `p${n++}@mail.example`);
const byMailgun = (body, type, target = '/v3/mg.shop.example/messages') =>
  request('mailgun', body, { target, headers: { Authorization: `Basic ${Buffer.from(`api:${KEYS.mailgun.secret}`).toString('base64')}`, 'Content-Type': type } });
const fields = (more) => [['from', FROM], ...(more.some(([name]) => name === 'to') ? [] : [['to', addresses(1)[0]]]), ['text', 'v'], ...more];
const mailgunForm = (...more) => byMailgun(new URLSearchParams(fields(more)).toString(), 'application/x-www-form-urlencoded');
/** Parts as they are, head and all. */
const mailgunParts = (parts, { boundary = 'b', ...more } = {}) =>
  byMailgun(`${parts.map((part) => `--${boundary}\r\n${part}\r\n`).join('')}--${boundary}--\r\n`, `multipart/form-data; boundary=${boundary}`, more.target);
const part = ([name, value], head = '') => `Content-Disposition: form-data; name="${name}"\r\n${head}\r\n${value}`;
const mailgunMultipart = (...more) => mailgunParts(fields(more).map((field) => part(field)));
const unknown = (count) => Array.from({ length: count }, (_, i) => [`f${i}`, 'v']);
const variables = (count) => {
  const [first, ...others] = addresses(count);
  return mailgunForm(['to', first], ['recipient-variables', JSON.stringify(Object.fromEntries([first, ...others].map((who) => [who, {}])))]);
};
const partOfHead = (bytes) => mailgunParts([...fields([]).map((field) => part(field)), `${'Content-Disposition: form-data; name="f"\r\nX-Pad: '.padEnd(bytes - 4, 'x')}\r\n\r\nv`]);
const partOfFields = (count) => mailgunParts(fields([['f', 'v']]).map((field) => part(field, field[0] === 'f' ? Array.from({ length: count - 1 }, (_, i) => `X-${i}: v\r\n`).join('') : '')));
const mime = (message) => mailgunParts([part(['to', addresses(1)[0]]), `Content-Disposition: form-data; name="message"; filename="m"\r\n\r\n${message}`], { target: '/v3/mg.shop.example/messages.mime' });
const mimeOfHead = (bytes) => mime(`From: ${FROM}\r\n${`X: ${'x'.repeat(58)}\r\n`.repeat(4000)}X: ${'x'.repeat(bytes - 4000 * 63 - FROM.length - 13)}\r\n\r\nv`);

// Plivo's
const plivoOf = (more, padding = 0) =>
  request('plivo', JSON.stringify({ src: '12125550199', dst: '12125550188', text: 'v', ...more }) + ' '.repeat(padding), { target: `/v1/Account/${KEYS.plivo.account}/Message/`, headers: { 'Content-Type': 'application/json' } });
const numbers = (count, among = count) => ({ dst: Array.from({ length: count }, (_, i) => 12125550000 + (i % among)).join('<') });
const plivoLong = (bytes) => plivoOf({}, bytes - '{"src":"12125550199","dst":"12125550188","text":"v"}'.length);
const plivoDeep = (depth) => plivoOf({ location: JSON.parse(`${'{"a":'.repeat(depth - 1)}1${'}'.repeat(depth - 1)}`) });
const whatsapp = (count) => plivoOf({ type: 'whatsapp', text: 'x'.repeat(count) });

const GOOD = (answer) => assert.ok([200, 201, 202].includes(answer.status), `${answer.status} ${answer.body}`);
const says = (status, pattern) => (answer) => {
  assert.equal(answer.status, status, answer.body);
  assert.match(answer.body, pattern);
};

/** name, what is at the bound, what is one beyond, and how that is refused. */
const rows = [
  ['64 levels of JSON', () => deep(64), () => deep(65), says(400, /deep|nest/i)],
  ['1,000 recipients of a mail', () => mailOf({ personalizations: [{ to: people(500), cc: people(300), bcc: people(200) }] }), () => mailOf({ personalizations: [{ to: people(500), cc: people(300), bcc: people(201) }] }), says(400, /1000|1,000/)],
  ['1,000 personalizations', () => mailOf({ personalizations: people(1000).map((to) => ({ to: [to] })) }), () => mailOf({ personalizations: people(1001).map((to) => ({ to: [to] })) }), says(400, /limited to 1000/)],
  ['30 MiB of a body', () => long(BODY_BYTES), () => long(BODY_BYTES + 1).subarray(0, 400), says(413, /errors/)],
  ['1,200 fields of a form', () => form(`${SMS}&Body=b${Array.from({ length: 1197 }, (_, i) => `&f${i}=v`).join('')}`), () => form(`${SMS}&Body=b${Array.from({ length: 1198 }, (_, i) => `&f${i}=v`).join('')}`), says(413, /at most 1200/)],
  ['1,600 characters of an SMS', () => form(`${SMS}&Body=${'x'.repeat(1600)}`), () => form(`${SMS}&Body=${'x'.repeat(1601)}`), says(400, /21617/)],
  ['100 header fields', () => head(Array.from({ length: 99 }, (_, i) => `X-H${i}: v\r\n`).join('')), () => head(Array.from({ length: 100 }, (_, i) => `X-H${i}: v\r\n`).join('')), says(431, /header/i)],
  ['8 KiB of a request line', () => Buffer.from(`GET /healthz?${'x'.repeat(8192 - 'GET /healthz? HTTP/1.1'.length)} HTTP/1.1\r\nHost: p\r\n\r\n`), () => Buffer.from(`GET /healthz?${'x'.repeat(8193 - 'GET /healthz? HTTP/1.1'.length)} HTTP/1.1\r\nHost: p\r\n\r\n`), says(414, /line|long/i)],
  ['64 KiB of a head', () => head(fill(65_536)), () => head(fill(65_537)), says(431, /head/i)],
  ['8 KiB of trailers', () => trailers(8192), () => trailers(8193), says(431, /trailer|head/i)],
  ['255 bytes of an idempotency key', () => request('billing', body, { headers: { 'Idempotency-Key': 'k'.repeat(255) } }), () => request('billing', body, { headers: { 'Idempotency-Key': 'k'.repeat(256) } }), says(400, /255/)],
  ['Mailgun: 1,000 recipients', () => mailgunForm(...addresses(1000).map((who) => ['to', who])), () => mailgunForm(...addresses(1001).map((who) => ['to', who])), says(400, /"message":"Too many recipients, max is 1000"/)],
  ['Mailgun: 1,000 recipients in one list', () => mailgunForm(['to', addresses(1000).join(', ')]), () => mailgunForm(['to', addresses(1001).join(', ')]), says(400, /"message":"Too many recipients, max is 1000"/)],
  ['Mailgun: 1,000 recipients of recipient-variables', () => variables(1000), () => variables(1001), says(400, /"message":"'recipient-variables' has 1001 recipients, max is 1000"/)],
  ['Mailgun: 1,200 fields of a form', () => mailgunForm(...unknown(1197)), () => mailgunForm(...unknown(1198)), says(413, /"message":.*at most 1200/)],
  ['Mailgun: 1,200 parts of a multipart', () => mailgunMultipart(...unknown(1197)), () => mailgunMultipart(...unknown(1198)), says(413, /"message":.*1200 parts/)],
  ["Mailgun: 8 KiB of a part's head", () => partOfHead(8192), () => partOfHead(8193), says(413, /"message":.*8192 bytes/)],
  ["Mailgun: 16 fields of a part's head", () => partOfFields(16), () => partOfFields(17), says(400, /"message":.*at most 16 headers/)],
  ['Mailgun: 70 characters of a boundary', () => mailgunParts(fields([]).map((field) => part(field)), { boundary: 'b'.repeat(70) }), () => mailgunParts(fields([]).map((field) => part(field)), { boundary: 'b'.repeat(71) }), says(400, /"message":.*70/)],
  ['Mailgun: 16 KiB of options', () => mailgunForm(['v:a', 'x'.repeat(16_000)], ['h:X-A', 'x'.repeat(384)]), () => mailgunForm(['v:a', 'x'.repeat(16_000)], ['h:X-A', 'x'.repeat(385)]), says(400, /"message":"Send options .* limited to 16KB total"/)],
  ['Mailgun: 10 tags', () => mailgunForm(...Array.from({ length: 10 }, (_, i) => ['o:tag', `t${i}`])), () => mailgunForm(...Array.from({ length: 11 }, (_, i) => ['o:tag', `t${i}`])), says(400, /"message":"A message can have no more than 10 tags"/)],
  ['Mailgun: 256 KiB of header of a MIME text', () => mimeOfHead(262_144), () => mimeOfHead(262_145), says(413, /"message":.*262144/)],
  ['Mailgun: 25 MiB of content', () => mailgunMultipart(['html', 'x'.repeat(25 * MIB - 1)]), () => mailgunMultipart(['html', 'x'.repeat(25 * MIB)]), says(413, /"message":"The message has more than 25 MB"/), timedFromLastByte],
  ['Mailgun: 30 MiB of a body', () => byMailgun(`to=${addresses(1)[0]}&from=${FROM}&text=v&f=`.padEnd(BODY_BYTES, 'x'), 'application/x-www-form-urlencoded'), () => byMailgun('x'.repeat(BODY_BYTES + 1), 'application/x-www-form-urlencoded').subarray(0, 400), says(413, /"message":/)],
  ['Plivo: 1,000 numbers', () => plivoOf(numbers(1000)), () => plivoOf(numbers(1001)), says(400, /"error":"dst has more than 1000 numbers/)],
  ['Plivo: 10,000 numbers, those given twice included', () => plivoOf(numbers(10_000, 1000)), () => plivoOf(numbers(10_001, 1000)), says(400, /"error":"dst lists more than 10000 numbers/)],
  ['Plivo: 1,600 characters of GSM 03.38', () => plivoOf({ text: 'é'.repeat(1600) }), () => plivoOf({ text: 'é'.repeat(1601) }), says(400, /"error":"text has 1601 characters of GSM 03.38/)],
  ['Plivo: 737 characters of UCS-2', () => plivoOf({ text: 'ж'.repeat(737) }), () => plivoOf({ text: 'ж'.repeat(738) }), says(400, /"error":"text has 738 characters of UCS-2/)],
  ['Plivo: 4,096 characters by WhatsApp', () => whatsapp(4096), () => whatsapp(4097), says(400, /"error":"text has 4097 characters; WhatsApp takes 4096/)],
  ['Plivo: 64 levels of JSON', () => plivoDeep(64), () => plivoDeep(65), says(400, /"error":.*(deep|nest)/)],
  ['Plivo: 30 MiB of a body', () => plivoLong(BODY_BYTES), () => plivoLong(BODY_BYTES + 1).subarray(0, 400), says(413, /"error":/)],
  ['1 MiB of a call of the native API', () => native(MIB), () => native(MIB + 1), says(413, /large|bytes/i)],
];

/** Header lines so that the head has so many bytes before the empty line that ends it. */
function fill(total) {
  const rest = total + '\r\n\r\n'.length - head('').length;
  const each = Math.floor(rest / 9);
  return Array.from({ length: 9 }, (_, i) => `X-${i}: ${'v'.repeat((i < 8 ? each : rest - 8 * each) - 'X-0: \r\n'.length)}\r\n`).join('');
}
function native(bytes) {
  const call = JSON.stringify({ address: 'ann@mail.example', scope: 'global', source: 'customer', reason: '' });
  return request('billing', call.replace('"reason":""', `"reason":"asked"${' '.repeat(bytes - call.length - 5)}`), { target: '/postern/v1/opt-outs', headers: { Authorization: `Bearer ${KEYS.admin.secret}` } });
}

describe('bounds', { timeout: 60_000 }, () => {
  for (const [name, at, beyond, refused, ask = timed] of rows)
    it(`${name}, and one more`, async (t) => {
      GOOD(await one(at()));
      const { answer, took } = await fastest(beyond(), ask);
      refused(answer);
      t.diagnostic(`${answer.status} in ${took.toFixed(1)} ms: ${answer.body.slice(0, 160)}`);
      assert.ok(took < REFUSED_MS, `${took} ms`);
      GOOD(await one(mailOf({})));
    });

  it('are counted, and the loop did not stand', async (t) => {
    const faults = (await postern.metrics()).filter((sample) => /_faults_total$/.test(sample.name) && sample.value > 0);
    assert.ok(faults.length >= 6, JSON.stringify(faults));
    const stall = await postern.metric('postern_loop_stall_seconds_max');
    t.diagnostic(`longest turn of the loop ${stall * 1000} ms; ${faults.map((one) => `${one.labels.reason ?? one.labels.kind} ${one.value}`).join(', ')}`);
  });
});
