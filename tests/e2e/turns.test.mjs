// What the longest mails cost the loop: made to be slow to read, to cut or to write, none takes it more than 20 ms of
// processor time at a stretch, so that everybody else is served in between.  By the daemon's own figure, in processor
// time: the machine may be busy with other things.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FakeMailgun } from '../fakes/mailgun.mjs';
import { KEYS, waitFor } from './harness.mjs';
import { FROM, loggedIn, startMailHouse } from './smtp.mjs';
import { stuffed } from './smtp_client.mjs';

/** Sanitizers and counters in every branch are slow. */
const TURN_MS = /asan|coverage/.test(process.env.POSTERN ?? '') || process.env.ASAN_OPTIONS ? 200 : 20;
const SIZE = 30 * 2 ** 20 - 8000, MAILGUN_SIZE = 24_000_000;
KEYS['billing-mailgun'] = { secret: '3123456789abcdef0123456789abcde-0123abcd-34567890' };
const mg = new FakeMailgun();
let house, postern, ada, bob;

const fill = (unit, bytes = SIZE) => unit.repeat(Math.floor(bytes / unit.length));
const BASE64 = fill('QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg\r\n');
const NEARLY_CARDS = fill('4111 1111 1111 1112 5500 0000 0000 0005 3400 000000 00008 \r\n');

before(async () => {
  await mg.start();
  house = await startMailHouse({
    env: { POSTERN_TEST_MAILGUN_SECRET: mg.key },
    configure: (settings) => {
      settings.policy.caps = [];
      settings.policy.card_numbers = 'block';
      settings.providers.forEach((one) => Object.assign(one, one.total_ms && { total_ms: 10_000 }));
      settings.providers.push({ name: 'main-mailgun', kind: 'mailgun', url: mg.url, secret: 'env:POSTERN_TEST_MAILGUN_SECRET', total_ms: 10_000 });
      settings.keys.push({ name: 'billing-mailgun', ...KEYS['billing-mailgun'], roles: ['sender'], default_category: 'invoice', categories: ['invoice'] });
    },
  });
  ({ postern } = house);
  [ada, bob] = [await postern.person(), await postern.person()];
  await postern.optOut(bob.email, { scope: 'channel', channel: 'email' });
});
after(async () => {
  await house.end();
  await mg.stop();
});

async function assertShortTurns() {
  const ms = (await postern.metric('postern_loop_turn_cpu_seconds_max')) * 1000;
  assert.ok(ms > 0 && ms < TURN_MS, `a turn took ${ms.toFixed(1)} ms of processor time`);
}

describe('mails of 30 MB by SMTP', () => {
  const head = (type, ...fields) => ['From: a@shop.example', 'Subject: s', `Content-Type: ${type}`, ...fields, '', ''].join('\r\n');
  const nested = (depth) => Array.from({ length: depth }, (_, i) => `Content-Type: multipart/mixed; boundary=bb${i}\r\n\r\n--bb${i}\r\n`).join('');
  const attached = `--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/pdf\r\n\r\n${BASE64}\r\n--b--\r\n`;
  const rows = [
    ['of lines like delimiters, 49 levels deep', `Subject: s\r\n${nested(49)}\r\n${fill('--bb--\r\n', SIZE / 2)}`],
    ["of what is nearly cards' numbers", head('text/plain') + NEARLY_CARDS],
    ['of text in base64', head('text/plain', 'Content-Transfer-Encoding: base64') + BASE64],
    ['of base64, from which a field is cut', head('multipart/mixed; boundary=b', 'X-Postern-Category: invoice') + attached],
  ];
  for (const [what, text] of rows)
    it(what, async () => {
      const client = await loggedIn(house);
      await client.expect(250, `MAIL FROM:<${FROM}>`);
      await client.expect(250, `RCPT TO:<${ada.email}>`);
      await client.expect(354, 'DATA');
      await client.push(stuffed(Buffer.from(text, 'latin1')));
      client.write('.\r\n');
      await waitFor('the answer', () => client.text.includes('250 2.0.0 Ok: queued'), { deadline: 30_000 });
      client.end();
      await assertShortTurns();
    });
});

describe('requests of 30 MB', () => {
  const mail = (value, more = '', to = [ada]) =>
    `{"personalizations":[${to.map(({ email }) => `{"to":[{"email":"${email}"}]}`)}],"from":{"email":"a@shop.example"},"subject":"s","content":[{"type":"text/html","value":"${value}"}]${more}}`;
  const rows = [
    ['of escapes', () => mail(fill('\\n\\u0031')), 202],
    ['of text with an escape', () => mail(fill('nothing but text ', SIZE - 100) + '\\n'), 202],
    ['of escapes, and a field to be cut: more than one may have', () => mail(fill('\\n\\u0031 abc ', 20_000_000), ',"headers":{"X-Postern-Category":"invoice"}'), 413],
    ['of keys', () => mail('v', `,"sections":{${Array.from({ length: 2_000_000 }, (_, i) => `"a${i}":0`)}}`), 413],
    ['from which a recipient and a field are cut', () => mail('v', `,"headers":{"X-Postern-Category":"invoice"},"attachments":[{"filename":"a","content":"${fill('QUJD')}"}]`, [ada, bob]), 202],
  ];
  for (const [what, body, status] of rows)
    it(`${what}, by SendGrid`, async () => {
      assert.equal((await postern.raw('POST', '/v3/mail/send', body(), { key: 'billing' })).status, status);
      await assertShortTurns();
    });

  async function post(call, body) {
    const Authorization = `Basic ${Buffer.from(`api:${KEYS['billing-mailgun'].secret}`).toString('base64')}`;
    const answer = await fetch(`${postern.url}/v3/mg.shop.example/${call}`, { method: 'POST', headers: { Authorization }, body });
    assert.equal(answer.status, 200, await answer.text());
    await assertShortTurns();
  }
  const form = (fields) => {
    const made = new FormData();
    for (const [name, value] of Object.entries({ from: 'a@mg.shop.example', to: `${ada.email}, ${bob.email}`, subject: 's', ...fields })) made.append(name, value);
    return made;
  };
  it('of escapes, by Mailgun', () =>
    post('messages', new Blob([`from=a@mg.shop.example&to=${ada.email}&subject=s&text=${fill('%41%31%20', MAILGUN_SIZE)}`], { type: 'application/x-www-form-urlencoded' })));
  it('from which a recipient is cut, by Mailgun', () => post('messages', form({ text: 'v', attachment: new Blob([Buffer.alloc(MAILGUN_SIZE, 65)]) })));
  it('of lines without CR in a mail, by Mailgun', () => post('messages.mime', form({ message: new Blob([`Subject: s\n\n${fill('--b\n', MAILGUN_SIZE)}`]) })));
});
