// Every bound of what a client may send: at the bound it is taken, one beyond it is refused with its own words and
// within 50 ms, and Postern is as well as before.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { KEYS, startHouse } from '../e2e/harness.mjs';
import { exchange, request } from './wire.mjs';

const REFUSED_MS = 50;
const MIB = 1 << 20;
const BODY_BYTES = 30 * MIB;
const AUTHORIZATION = `Authorization: Bearer ${KEYS.billing.secret}\r\n`;

let house, postern, n = 0;
before(async () => {
  house = await startHouse();
  ({ postern } = house);
  house.mail.answer = () => ({ status: 202, headers: { 'X-Message-Id': 'm' }, body: '' });
});
after(() => house.end());

const one = async (bytes) => (await exchange(postern.port, [bytes], { lanes: 1 }))[0];
/** Milliseconds of the fastest of three, or of up to thirty while none was fast enough: the machine is shared. */
async function fastest(bytes) {
  let [answer, took] = [undefined, Infinity];
  for (let i = 0; i < 3 || (took >= REFUSED_MS && i < 30); i++) {
    const began = performance.now();
    answer = await one(bytes);
    took = Math.min(took, performance.now() - began);
  }
  return { answer, took };
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
  for (const [name, at, beyond, refused] of rows)
    it(`${name}, and one more`, async (t) => {
      GOOD(await one(at()));
      const { answer, took } = await fastest(beyond());
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
