// A line break, in any spelling, in any string that a client may send: no provider sees a header or a request that
// Postern did not mean, and no client sees one in its answer.  Every field of both dialects, the headers, the target
// and the names of fields, each with 40 payloads.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { KEYS, startHouse } from '../e2e/harness.mjs';
import { exchange, request } from './wire.mjs';

const HEADER = 'X-Injected: 1';
const SECOND = 'POST /v3/mail/send HTTP/1.1\r\nHost: p\r\nX-Injected: 1\r\nContent-Length: 0\r\n\r\n';
const BREAKS = ['\r\n', '\n', '\r', '\r\n\t', '\n ', '\r\r\n', '\n\r', '\0\r\n', '\x0b', '\x0c', '\x1c', '\x85', '\u2028', '\u2029', '\u560d\u560a', '\u010d\u010a', '%0d%0a', '%0D%0A', '%0a', '%0d', '%250d%250a', '%00%0a', '%e5%98%8d%e5%98%8a', '%u000d%u000a', '\\r\\n', '\\n', '\\u000d\\u000a', '&#13;&#10;', '=0D=0A', '=?utf-8?q?=0d=0a?='];
const PAYLOADS = [
  ...BREAKS.map((one) => `a${one}${HEADER}`),
  `\r\n${HEADER}`, `a\r\n\r\n${SECOND}`, `a\n\n${SECOND}`, `a\r\nContent-Length: 0\r\n\r\n${SECOND}`, `a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SECOND}`,
  `a@b.example\r\nBcc: evil@b.example\r\n${HEADER}`, `a"\r\n${HEADER}`, `a<x>\r\n${HEADER}`, `${'x'.repeat(998)}\r\n${HEADER}`, `${HEADER}\r\n`,
];
assert.equal(PAYLOADS.length, 40);

/** What Postern may send to a provider, and to a client. */
const TO_PROVIDER = new Set(['host', 'authorization', 'content-type', 'content-length', 'accept', 'user-agent', 'on-behalf-of', 'connection', 'accept-encoding', 'idempotency-key']);
const TO_CLIENT = /^(x-postern-[a-z-]+|x-message-id|content-type|content-length|connection|date|server|retry-after|x-ratelimit-(limit|remaining|reset)|access-control-[a-z-]+|x-no-cors-reason|cache-control|www-authenticate|allow|vary|location)$/;

/** Every text of a mail, as a path to it. */
const MAIL_FIELDS = [
  ...['to', 'cc', 'bcc'].flatMap((kind) => ['email', 'name'].map((key) => `personalizations.0.${kind}.1.${key}`)),
  ...['subject', 'headers.X-Own', 'substitutions.%x%', 'custom_args.x', 'dynamic_template_data.x', 'from.email', 'from.name'].map((key) => `personalizations.0.${key}`),
  'from.email', 'from.name', 'reply_to.email', 'reply_to.name', 'reply_to_list.0.email', 'reply_to_list.0.name', 'subject', 'content.0.type', 'content.0.value',
  'attachments.0.content', 'attachments.0.type', 'attachments.0.filename', 'attachments.0.disposition', 'attachments.0.content_id', 'template_id', 'sections.x', 'headers.X-Own',
  'headers.X-Postern-Category', 'categories.0', 'custom_args.x', 'custom_args.postern_topic', 'batch_id', 'ip_pool_name', 'mail_settings.footer.text', 'mail_settings.footer.html', 'mail_settings.bcc.email', 'tracking_settings.subscription_tracking.substitution_tag',
  'tracking_settings.ganalytics.utm_source', 'tracking_settings.open_tracking.substitution_tag',
];
const SMS_FIELDS = ['To', 'From', 'Body', 'MessagingServiceSid', 'StatusCallback', 'ApplicationSid', 'MaxPrice', 'ProvideFeedback', 'Attempt', 'ValidityPeriod', 'ForceDelivery', 'ContentRetention', 'AddressRetention', 'SmartEncoded', 'PersistentAction', 'TrafficType',
  'ShortenUrls', 'ScheduleType', 'SendAt', 'SendAsMms', 'ContentVariables', 'RiskCheck', 'MediaUrl', 'ContentSid', 'Tags'];
const HEADERS = ['Content-Type', 'Accept', 'User-Agent', 'On-Behalf-Of', 'Idempotency-Key', 'X-Postern-Category', 'X-Postern-Topic', 'X-Postern-Collapse-Key', 'X-Postern-Override', 'X-Postern-Priority', 'X-Postern-Expires-At', 'X-Postern-Language', 'X-Other'];

let house, postern, n = 0;
before(async () => {
  house = await startHouse();
  ({ postern } = house);
  house.mail.answer = () => ({ status: 202, headers: { 'X-Message-Id': 'm' }, body: '' });
  house.sms.answer = () => ({ status: 201, headers: { 'Content-Type': 'application/json' }, body: '{"sid":"SM00000000000000000000000000000000"}' });
});
after(() => house.end());

function put(root, path, value) {
  const keys = path.split('.');
  const last = keys.pop();
  let at = root;
  for (const [i, key] of keys.entries()) at = at[key] ??= /^\d+$/.test(keys[i + 1] ?? last) ? [] : {};
  for (let i = 0; Array.isArray(at) && i < Number(last); i++) at[i] ??= {};
  at[last] = value;
  return root;
}

const mail = () => ({ personalizations: [{ to: [{ email: `p${n++}@mail.example` }, { email: `q${n}@mail.example` }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] });
const sms = () => ({ To: `+1212555${String(n++ % 10_000).padStart(4, '0')}`, From: '+12125550199', Body: 'b' });
const form = (fields) => new URLSearchParams(fields).toString();

/** Send them all; the providers saw one request for each that was forwarded, and nobody a header of no meaning. */
async function assertContained(t, requests) {
  for (const fake of [house.mail, house.sms]) fake.requests.length = 0;
  const answers = await exchange(postern.port, requests);
  const forwarded = answers.filter((one) => [200, 201, 202].includes(one.status)).length;
  const seen = [...house.mail.requests, ...house.sms.requests];
  assert.equal(seen.length, forwarded, 'one request at a provider for each that was accepted');
  for (const one of seen) {
    for (let i = 0; i < one.rawHeaders.length; i += 2) assert.ok(TO_PROVIDER.has(one.rawHeaders[i].toLowerCase()), `a provider saw the header ${one.rawHeaders[i]}: ${one.rawHeaders[i + 1]}`);
    assert.ok(!/[\r\n]/.test(one.target) && ['POST', 'GET'].includes(one.method), one.target);
  }
  for (const [i, { status, lines }] of answers.entries()) {
    assert.ok(status >= 200 && status < 500, `${status} for ${requests[i].toString('latin1')}`);
    for (const line of lines) assert.match(line.slice(0, line.indexOf(':')).toLowerCase(), TO_CLIENT);
  }
  t.diagnostic(`${requests.length} requests, ${forwarded} accepted`);
  return forwarded;
}

describe('line breaks where text is expected', { timeout: 120_000 }, () => {
  it('every text of a mail', async (t) => {
    const requests = MAIL_FIELDS.flatMap((field) => PAYLOADS.map((text) => request('billing', JSON.stringify(put(mail(), field, text)))));
    assert.ok((await assertContained(t, requests)) > 400);
  });

  it('every name in a mail', async (t) => {
    const places = ['', 'personalizations.0.', 'personalizations.0.headers.', 'headers.', 'custom_args.', 'from.'];
    const requests = places.flatMap((place) => PAYLOADS.map((text) => request('billing', JSON.stringify(put(mail(), `${place}${text.replaceAll('.', ' ')}`, 'v')))));
    await assertContained(t, requests);
  });

  it('every field of an SMS, value and name', async (t) => {
    const values = SMS_FIELDS.flatMap((field) => PAYLOADS.map((text) => request('billing-sms', form({ ...sms(), [field]: text }))));
    const names = PAYLOADS.map((text) => request('billing-sms', form({ ...sms(), [text]: 'v' })));
    assert.ok((await assertContained(t, [...values, ...names])) > 200);
  });

  it('every header', async (t) => {
    const requests = HEADERS.flatMap((name) => PAYLOADS.map((text) => request('billing', JSON.stringify(mail()), { headers: { [name]: text.replaceAll('\r\n\r\n', '\r\n').replace(/\r\n(?=[^\t ])/g, '\n') } })));
    await assertContained(t, requests);
  });

  it('paths, queries and accounts', async (t) => {
    const { account } = KEYS['billing-sms'];
    const texts = PAYLOADS.flatMap((text) => [text.replace(/[\r\n\0 ]/g, (c) => encodeURIComponent(c)), encodeURIComponent(text)]);
    const requests = texts.flatMap((text) => [
      request('billing', '{}', { target: `/v3/templates/${text}` }),
      request('billing', '{}', { target: `/v3/templates?a=${text}` }),
      request('billing-sms', form(sms()), { target: `/2010-04-01/Accounts/${account}/Messages/${text}.json` }),
      request('billing-sms', form(sms()), { target: `/2010-04-01/Accounts/${account}${text}/Messages.json` }),
    ]);
    await assertContained(t, requests);
  });

  it('nothing of it is in the log', () => {
    assert.doesNotMatch(postern.log, /^X-Injected/m);
    postern.assertCleanLog();
  });
});
