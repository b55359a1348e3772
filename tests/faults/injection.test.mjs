// A line break, in any spelling, in any string that a client may send: no provider sees a header or a request that
// Postern did not mean, no relay a command or a header line, and no client sees one in its answer.  Every field of each
// dialect, the headers, the target and the names of fields, each with 40 payloads.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { KEYS, startHouse } from '../e2e/harness.mjs';
import { NOTHING_ILLEGAL, content, loggedIn } from '../e2e/smtp.mjs';
import { FakeMailgun } from '../fakes/mailgun.mjs';
import { FakePlivo } from '../fakes/plivo.mjs';
import { FakeRelay } from '../fakes/relay.mjs';
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

const MAILGUN_FIELDS = ['from', 'to', 'cc', 'bcc', 'subject', 'text', 'html', 'amp-html', 'template', 't:version', 't:text', 't:variables', 'attachment', 'inline', 'recipient-variables',
  'o:tag', 'o:dkim', 'o:secondary-dkim', 'o:deliverytime', 'o:deliver-within', 'o:deliverytime-optimize-period', 'o:time-zone-localize', 'o:testmode', 'o:tracking', 'o:tracking-clicks', 'o:require-tls', 'o:sending-ip', 'h:Reply-To', 'h:X-Own', 'h:X-Mailgun-Tag', 'v:own'];
const PLIVO_FIELDS = ['src', 'dst', 'text', 'type', 'url', 'method', 'log', 'trackable', 'powerpack_uuid', 'message_expiry', 'media_urls.0', 'media_ids.0', 'template.name', 'template.components.0.text', 'interactive.body.text', 'location.name',
  'dlt_entity_id', 'dlt_template_id', 'dlt_template_category'];
const SMTP_HEADERS = ['From', 'To', 'Cc', 'Bcc', 'Sender', 'Reply-To', 'Subject', 'Message-ID', 'Date', 'List-Id', 'MIME-Version', 'Content-Type', 'Content-Transfer-Encoding', 'Idempotency-Key', 'X-Other', 'X-SMTPAPI',
  'X-Mailgun-Tag', 'X-Mailgun-Variables', 'X-Mailgun-Deliver-By', 'X-Mailgun-Drop-Message', 'X-Mailgun-Recipient-Variables', 'X-Mailgun-Deliver-Within', 'X-Mailgun-Time-Zone-Localize',
  'X-Postern-Category', 'X-Postern-Topic', 'X-Postern-Collapse-Key', 'X-Postern-Override', 'X-Postern-Priority', 'X-Postern-Expires-At', 'X-Postern-Language'];
const SMTPAPI_FIELDS = ['to.1', 'category', 'category.0', 'sub.-x-.0', 'section.-x-', 'unique_args.x', 'filters.footer.settings.text/plain', 'send_at', 'send_each_at.0', 'asm_group_id', 'ip_pool', 'batch_id'];
KEYS['injection-mailgun'] = { secret: '1123456789abcdef0123456789abcde-0123abcd-74567890' };
KEYS['injection-plivo'] = { account: 'MA000000000000000001', secret: '1123456789abcdef0123456789abcdef' };

let house, postern, n = 0;
const mailgun = new FakeMailgun();
const plivo = new FakePlivo();
before(async () => {
  await mailgun.start();
  await plivo.start();
  house = await startHouse({
    relay: new FakeRelay(),
    env: { POSTERN_TEST_MAILGUN_SECRET: mailgun.key, POSTERN_TEST_PLIVO_SECRET: plivo.token },
    configure: (settings) => {
      settings.providers.push({ name: 'main-mailgun', kind: 'mailgun', url: mailgun.url, secret: 'env:POSTERN_TEST_MAILGUN_SECRET' });
      settings.providers.push({ name: 'main-plivo', kind: 'plivo', url: plivo.url, account: plivo.account, secret: 'env:POSTERN_TEST_PLIVO_SECRET' });
      for (const name of ['injection-mailgun', 'injection-plivo']) settings.keys.push({ name, ...KEYS[name], roles: ['sender'], default_category: 'invoice', categories: ['invoice'] });
    },
  });
  ({ postern } = house);
  mailgun.answer = () => ({ status: 200, headers: { 'Content-Type': 'application/json' }, body: '{"id":"<m@mg.shop.example>","message":"Queued. Thank you."}' });
  plivo.answer = () => ({ status: 202, headers: { 'Content-Type': 'application/json' }, body: '{"api_id":"a","message":"message(s) queued","message_uuid":["00000000-0000-4000-8000-000000000000"]}' });
  house.mail.answer = () => ({ status: 202, headers: { 'X-Message-Id': 'm' }, body: '' });
  house.sms.answer = () => ({ status: 201, headers: { 'Content-Type': 'application/json' }, body: '{"sid":"SM00000000000000000000000000000000"}' });
});
after(async () => {
  await house.end();
  await mailgun.stop();
  await plivo.stop();
});

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
  const providers = [house.mail, house.sms, mailgun, plivo];
  for (const fake of providers) fake.requests.length = 0;
  const answers = await exchange(postern.port, requests);
  const forwarded = answers.filter((one) => [200, 201, 202].includes(one.status)).length;
  const seen = providers.flatMap((fake) => fake.requests);
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

  it('every parameter of a Mailgun call, value and name, as a form and as multipart', async (t) => {
    const call = (type, body) =>
      request('injection-mailgun', body, {
        target: '/v3/mg.shop.example/messages',
        headers: { 'Content-Type': type, Authorization: `Basic ${Buffer.from(`api:${KEYS['injection-mailgun'].secret}`).toString('base64')}` },
      });
    const fields = () => ({ from: 'a@mg.shop.example', to: `p${n++}@mail.example`, subject: 's', text: 'v' });
    const asForm = (all) => call('application/x-www-form-urlencoded', form(all));
    const part = (disposition, value) => `--b\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${value}\r\n`;
    const asParts = (all, more = '') => call('multipart/form-data; boundary=b', `${Object.entries(all).map(([name, value]) => part(`name="${name}"`, value)).join('')}${more}--b--\r\n`);
    const requests = PAYLOADS.flatMap((text) => [
      ...MAILGUN_FIELDS.flatMap((field) => [asForm({ ...fields(), [field]: text }), asParts({ ...fields(), [field]: text })]),
      ...['', 'o:', 'h:', 'v:', 't:'].map((kind) => asForm({ ...fields(), [kind + text]: 'v' })),
      asParts({ ...fields(), [text]: 'v' }),
      asParts(fields(), part(`name="attachment"; filename="${text}"`, 'v')),
      asParts(fields(), part(`name="attachment"; filename="a"\r\nContent-Type: ${text}`, 'v')),
      call(`multipart/form-data; boundary="${text.replace(/[\r\n]+/g, ' ')}"`, 'v'),
    ]);
    assert.ok((await assertContained(t, requests)) > 400);
  });

  it('every field of a Plivo message, value and name', async (t) => {
    const call = (message) => request('injection-plivo', JSON.stringify(message), { target: `/v1/Account/${KEYS['injection-plivo'].account}/Message/`, headers: { 'Content-Type': 'application/json' } });
    const message = () => ({ src: '12125550199', dst: `1212555${String(n++ % 10_000).padStart(4, '0')}`, text: 'b' });
    const values = PLIVO_FIELDS.flatMap((field) => PAYLOADS.map((text) => call(put(message(), field, text))));
    const names = PAYLOADS.map((text) => call({ ...message(), [text]: 'v' }));
    assert.ok((await assertContained(t, [...values, ...names])) > 100);
  });

  it('addresses, parameters and header fields of a mail by SMTP', async (t) => {
    const oneLine = (text) => text.replace(/\r+\n/g, '\n'); // with CR LF it is another command of the client's own
    const folded = (text) => text.replace(/\r\n(?=[^\t ]|$)/g, '\r\n ');
    const to = () => `p${n++}@mail.example`;
    const plain = { from: 'FROM:<a@shop.example>', rcpt: 'TO:<%>' };
    const envelope = [
      ['from', 'FROM:<@>'], ['from', 'FROM:<@@shop.example>'], ['from', 'FROM:<"@"@shop.example>'], ['rcpt', 'TO:<@>'], ['rcpt', 'TO:<@@mail.example>'], ['rcpt', 'TO:<"@"@mail.example>'],
      ...['SIZE', 'BODY', 'RET', 'ENVID', 'AUTH', '@'].map((name) => ['from', `FROM:<a@shop.example> ${name}=@`]), ...['NOTIFY', 'ORCPT', 'ORCPT=rfc822;', '@'].map((name) => ['rcpt', `TO:<%> ${name}=@`]),
    ];
    const mails = PAYLOADS.flatMap((text) => [
      ...envelope.map(([which, shape]) => ({ ...plain, [which]: shape.replace(/@(?=[>@"=]|$)/, () => oneLine(text)), fields: [] })),
      ...SMTP_HEADERS.map((name) => ({ ...plain, fields: [`${name}: ${folded(text)}`] })),
      ...SMTPAPI_FIELDS.map((field) => ({ ...plain, fields: [`X-SMTPAPI: ${JSON.stringify(put({ to: [to()] }, field, text))}`] })),
      { ...plain, fields: [`a${folded(text)}: v`] },
    ]);
    let accepted = 0, next = 0;
    const lane = async () => {
      for (let client; next < mails.length; ) {
        const { from, rcpt, fields } = mails[next++];
        client = client && !client.closed ? client : await loggedIn({ postern });
        const replies = [];
        const say = async (line) => replies.push(await client.command(line)) && replies.at(-1)?.code;
        if ((await say(`MAIL ${from}`)) === 250 && (await say(`RCPT ${rcpt.replace('%', to)}`)) === 250 && (await say('DATA')) === 354) {
          await client.push(Buffer.concat([content({ fields }), Buffer.from('.\r\n')]));
          replies.push(await client.reply());
          accepted += replies.at(-1)?.code === 250 ? 1 : 0;
        } else if (!client.closed) await say('RSET');
        for (const reply of replies) for (const line of reply?.lines ?? []) assert.doesNotMatch(line, /^X-Injected|[^\x20-\x7e]/i);
        if (next >= mails.length) client.end();
      }
    };
    await Promise.all(Array.from({ length: 4 }, lane));
    const { relay } = house;
    assert.deepEqual([relay.illegal, relay.violations], [NOTHING_ILLEGAL, []]);
    for (const { commands } of relay.sessions) for (const command of commands) assert.match(command, /^(EHLO \S+|MAIL FROM:<[^<>]*>( [A-Z0-9]+(=[\x21-\x7e]+)?)*|RCPT TO:<[^<>]+>( [A-Z]+=[\x21-\x7e]+)*|DATA|RSET|NOOP|QUIT)$/u);
    for (const { text } of relay.transactions) assert.doesNotMatch(text, /[\r\n]X-Injected/i);
    t.diagnostic(`${mails.length} mails, ${accepted} accepted`);
    assert.ok(accepted > 400 && relay.transactions.length >= accepted * 0.9);
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
