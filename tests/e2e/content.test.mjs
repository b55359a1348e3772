// What is seen of a content, through the providers' own clients: the language and the length that a recipient wishes
// for, and payment cards' numbers, which are masked for people or refused.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { FORWARDED, assertOutcome, decisionIds } from './expect.mjs';
import { POSTERND, Postern } from './harness.mjs';
import { QUEUED, decisionIn, startMailHouse, submit } from './smtp.mjs';

const NOTED = (family) => ({ outcome: 'forwarded', level: 'info', code: `PST-INFO-${family}` });
const GERMAN = 'Sehr geehrte Kundin, Ihre Bestellung wurde heute versandt und wird in den nächsten drei Tagen bei Ihnen eintreffen.';
const ENGLISH = 'Your order has left our warehouse today, and we expect that it will reach you within the next three days.';
const CARD = '4111 1111 1111 1111';
const MASKED = '**** **** **** 1111';
const words = (n) => Array.from({ length: n }, (_, i) => `word${'abcdefgh'[i % 8]}`).join(' ');
let postern;

before(async () => {
  postern = await Postern.start({
    configure: (settings) => {
      settings.policy.levels = [{ rule: 'language', level: 'hard', outcome: 'hold' }];
    },
  });
});
after(() => postern.stop());

let mails = 0; // no two are the same content
const bill = (who, more) => postern.mail({ to: who.email, subject: `Mail ${mails++}`, ...more }, { key: 'billing' });
const text = (who, body) => postern.sms({ to: who.phone, body }, { key: 'billing-sms' });
const violations = async (answer) => (await postern.decision(decisionIds(answer)[0])).violations;
const kept = async (who) => (await postern.api('GET', '/postern/v1/sandbox/messages')).messages.find((m) => [who.email, who.phone].includes(m.to));

describe('the language of a content', () => {
  let ada;
  before(async () => {
    ada = await postern.person({ preferences: { language: 'de-AT' } });
  });

  it('is noted when the recipient wishes for another, and no more than noted', async () => {
    const answer = await bill(ada, { text: ENGLISH });
    assertOutcome(answer, { status: 202, ...NOTED('LANGUAGE') });
    assert.equal((await violations(answer))[0].detail, 'is en, wanted de-AT');
  });

  it('fits', async () => {
    assertOutcome(await bill(ada, { text: GERMAN }), { status: 202, ...FORWARDED });
    assertOutcome(await bill(ada, { text: undefined, html: `<html><body><h1>${GERMAN}</h1></body></html>` }), { status: 202, ...FORWARDED });
  });

  it('is read in HTML and in an SMS', async () => {
    assertOutcome(await bill(ada, { text: undefined, html: `<html><head><style>p { color: red }</style></head><body><p>${ENGLISH}</p></body></html>` }), {
      status: 202, ...NOTED('LANGUAGE'),
    });
    assertOutcome(await text(ada, ENGLISH), { status: 201, ...NOTED('LANGUAGE') });
  });

  it('that the message declares is what counts, and its level', async () => {
    assertOutcome(await bill(ada, { text: ENGLISH, headers: { 'X-Postern-Language': 'de' } }), { status: 202, ...FORWARDED });
    const held = await bill(ada, { text: GERMAN, headers: { 'X-Postern-Language': 'en' } });
    assertOutcome(held, { status: 202, outcome: 'held', level: 'hard', code: 'PST-HOLD-LANGUAGE' });
  });

  it('is not guessed from few words, nor for those who wish for none', async () => {
    assertOutcome(await bill(ada, { text: 'Your code is 4711.' }), { status: 202, ...FORWARDED });
    assertOutcome(await bill(await postern.person(), { text: ENGLISH }), { status: 202, ...FORWARDED });
  });
});

describe('the length of a mail', () => {
  it('is noted when it is not the format that the recipient wishes for', async () => {
    const ada = await postern.person({ preferences: { format: 'concise' } });
    assertOutcome(await bill(ada, { text: words(150) }), { status: 202, ...FORWARDED });
    const long = await bill(ada, { text: words(151) });
    assertOutcome(long, { status: 202, ...NOTED('FORMAT') });
    assert.equal((await violations(long))[0].detail, 'has 151 words, wanted concise');
    assertOutcome(await bill(ada, { text: words(151), headers: { 'X-Postern-Format': 'concise' } }), { status: 202, ...FORWARDED });
    assertOutcome(await bill(ada, { text: undefined, html: `<p>${words(75)}</p><!-- ${words(99)} --><p>${words(76)}</p>` }), { status: 202, ...NOTED('FORMAT') });
    const bea = await postern.person({ preferences: { format: 'detailed' } });
    assertOutcome(await bill(bea, { text: words(49) }), { status: 202, ...NOTED('FORMAT') });
    assertOutcome(await bill(bea, { text: words(50) }), { status: 202, ...FORWARDED });
    assertOutcome(await text(bea, 'Short.'), { status: 201, ...FORWARDED });
  });
});

describe("a payment card's number", () => {
  const body = `Your card ${CARD} was charged.`;

  it('is noted, and masked wherever people see the text', async () => {
    const ada = await postern.person();
    const mail = await bill(ada, { subject: `Card ${CARD}`, text: body, html: `<p>Your card <b>${CARD}</b></p>` });
    assertOutcome(mail, { status: 202, ...NOTED('CONTENT') });
    const seen = await kept(ada);
    assert.equal(seen.subject, `Card ${MASKED}`);
    assert.equal(seen.text, `Your card ${MASKED} was charged.`);
    assert.match(seen.body, /not kept: it holds the number of a payment card/);
    const page = await (await fetch(`${postern.url}/sandbox/${decisionIds(mail)[0]}`)).text();
    assert.ok(page.includes(MASKED) && !page.includes(CARD), 'the page');
    const bea = await postern.person();
    assertOutcome(await text(bea, body), { status: 201, ...NOTED('CONTENT') });
    assert.equal((await kept(bea)).text, `Your card ${MASKED} was charged.`);
  });

  it('is seen behind the escapes of JSON, in HTML beside a text', async () => {
    const ada = await postern.person();
    assertOutcome(await bill(ada, { text: 'Hello', html: `<table>\n<tr>\n<td>\n${CARD}</td>` }), { status: 202, ...NOTED('CONTENT') });
    assertOutcome(await bill(ada, { text: `Card:\n${CARD}` }), { status: 202, ...NOTED('CONTENT') });
  });

  it('in a subject alone is masked too', async () => {
    const ada = await postern.person();
    await bill(ada, { subject: `Card ${CARD}` });
    const seen = await kept(ada);
    assert.equal(seen.subject, `Card ${MASKED}`);
    assert.ok(!seen.body.includes(CARD));
  });

  it('is no order number, and no id in a link', async () => {
    const ada = await postern.person();
    const text_ = 'Order 4111111111111112, see https://shop.example/o/4111111111111111.';
    assertOutcome(await bill(ada, { text: text_ }), { status: 202, ...FORWARDED });
    assert.equal((await kept(ada)).text, text_);
  });

  it('is nowhere in the log and the store', async () => {
    assert.ok(!postern.log.includes(CARD));
    for (const name of (await readdir(postern.dir)).filter((file) => file.startsWith('postern.db'))) {
      const bytes = await readFile(path.join(postern.dir, name), 'latin1');
      assert.ok(!bytes.includes(CARD) && !bytes.includes(CARD.replaceAll(' ', '+')), name);
    }
  });

  it('in a dry run, is seen as in a send', async () => {
    const ada = await postern.person({ preferences: { language: 'de', format: 'concise' } });
    const ask = (content, more) => postern.api('POST', '/postern/v1/decisions', { to: ada.email, category: 'invoice', content, ...more });
    const found = ({ violations: list }) => list.map((one) => [one.rule, one.detail]);
    const none = await ask(undefined);
    assert.deepEqual([found(none), none.facts.content], [[], undefined]);
    const seen = await ask({ subject: 'Bill', text: `${ENGLISH} ${words(140)} ${CARD}`, html: `<p>${GERMAN}</p>` });
    assert.deepEqual(found(seen).sort(), [['card_number', "digits that are a payment card's number"], ['format', 'has 164 words, wanted concise'], ['language', 'is en, wanted de']]);
    const bytes = ENGLISH.length + words(140).length + CARD.length + 2 + Buffer.byteLength(`<p>${GERMAN}</p>`);
    assert.deepEqual(seen.facts.content, { bytes, words: 164, text: true, html: true, language: 'en', card_number: true, cut: false });
    assert.ok(!JSON.stringify(seen).includes(CARD));
    assert.deepEqual(found(await ask({ html: `<p>${ENGLISH}</p>` })), [['language', 'is en, wanted de']]);
    assert.deepEqual(found(await ask({ html: `<p>${ENGLISH}</p>` }, { language: 'de' })), [], 'declared');
    assert.deepEqual(found(await ask({ subject: `Card ${CARD}` })).map(([rule]) => rule), ['card_number'], 'the subject');
    assert.equal((await ask({ text: 'x'.repeat(70_000) })).facts.content.cut, true);
    assertOutcome(await bill(ada, { text: ENGLISH }), { status: 202, ...NOTED('LANGUAGE') });
  });

  it('in a dry run, is asked for strictly', async () => {
    const refused = async (content, pattern) => {
      const answer = await postern.call('POST', '/postern/v1/decisions', { to: 'a@mail.example', content });
      assert.equal(answer.status, 400);
      assert.match(answer.body.detail, pattern);
    };
    await refused('text', /^content: must be an object/);
    await refused({ body: 'x' }, /^content\.body: is not known here; known: subject, text, html/);
    await refused({ text: '' }, /^content\.text: is empty/);
    await refused({ subject: 'a\nb' }, /^content\.subject: holds control characters/);
    await refused({ subject: 'x'.repeat(999) }, /^content\.subject: is 999 bytes long; at most 998/);
    await refused({ html: 'x'.repeat(262_145) }, /^content\.html: is 262145 bytes long; at most 262144/);
  });

  it('is seen by posternctl explain, in files and on the standard input', async () => {
    const ada = await postern.person({ preferences: { language: 'de' } });
    const text_ = path.join(postern.dir, 'text.txt'), html = path.join(postern.dir, 'page.html');
    const explain = (...args) => postern.ctl('explain', '--to', ada.email, '--category', 'invoice', ...args);
    await writeFile(text_, `${ENGLISH} ${CARD}\n`);
    await writeFile(html, `<p>${ENGLISH}</p>`);
    const seen = await explain('--text', text_, '--html', html, '--subject', 'Bill');
    assert.equal(seen.code, 0, seen.stderr);
    assert.match(seen.stdout, /card_number +notice/);
    assert.match(seen.stdout, /is en, wanted de/);
    assert.match(seen.stdout, /content\n( {2}.*\n)* {2}language +en\n/);
    assert.doesNotMatch(seen.stdout, new RegExp(CARD));
    assert.match((await explain()).stdout, /card_number +pass/);
    assert.match((await explain('--subject', CARD)).stdout, /card_number +notice/);
    const piped = ['-c', 'exec "$@" <"$0"', text_, path.join(path.dirname(POSTERND), 'posternctl'), 'explain', '--to', ada.email, '--text', '-'];
    const { stdout } = await promisify(execFile)('sh', piped, { cwd: postern.dir, env: { ...process.env, ...postern.env } });
    assert.match(stdout, /card_number +notice/);
    const complains = async (args, pattern) => {
      const answer = await explain(...args);
      assert.equal(answer.code, 2);
      assert.match(answer.stderr, pattern);
    };
    await complains(['--text', path.join(postern.dir, 'none')], /explain: \S+none: No such file/);
    await complains(['--text', postern.dir], /explain: \S+ cannot be read: Is a directory/);
    await complains(['--text', '-', '--html', '-'], /cannot both be the standard input/);
    await writeFile(text_, Buffer.from([0xe9, 0x74]));
    await complains(['--text', text_], /is not UTF-8/);
    await writeFile(text_, 'x'.repeat(2 ** 20 + 1));
    await complains(['--text', text_], /is longer than 1048576 bytes/);
    await writeFile(text_, 'x'.repeat(262_145));
    await complains(['--text', text_], /content\.text: is 262145 bytes long/);
  });

  it('is refused where the policy says so, by class where it says that', async () => {
    postern.settings.policy.card_numbers = 'block';
    postern.settings.policy.levels.push({ rule: 'card_number', class: 'marketing', shadow: true });
    await postern.writeConfiguration();
    await postern.restart();
    const ada = await postern.subscriber();
    const mail = await bill(ada, { text: body });
    assertOutcome(mail, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-CONTENT' });
    assert.match(mail.error.response.body.errors[0].message, /holds the number of a payment card/);
    assert.ok(!JSON.stringify(mail.error.response.body).includes(CARD));
    const refused = { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-CONTENT' };
    assertOutcome(await bill(ada, { subject: `Card ${CARD}` }), refused);
    assertOutcome(await bill(ada, { to: undefined, text: 'Hello', personalizations: [{ to: [{ email: ada.email }], subject: `Card ${CARD}` }] }), refused);
    const long = 'Nothing to see here.\n'.repeat(100_000);
    assertOutcome(await bill(ada, { text: `${long}${CARD}` }), refused);
    assertOutcome(await bill(ada, { text: 'Hello', html: `<p>${long}</p><p>${CARD}</p>` }), refused);
    assertOutcome(await bill(ada, { text: long }), { status: 202, ...FORWARDED });
    const sms = await text(ada, body);
    assertOutcome(sms, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-CONTENT' });
    assertOutcome(await bill(ada, { text: 'Your card ending in 1111 was charged.' }), { status: 202, ...FORWARDED });
    const news = await postern.mail({ to: ada.email, text: body });
    assertOutcome(news, { status: 202, outcome: 'forwarded', code: 'PST-NONE' });
    assert.equal((await postern.decision(decisionIds(news)[0])).would_have, 'block');
  });
});

describe('a replay', () => {
  it('reads the content again from the record, and finds no difference', async () => {
    const { code, stdout, stderr } = await postern.ctl('replay', '--policy', 'postern.yaml', '--since', '2d', '--json');
    assert.equal(code, 0, stderr);
    const result = JSON.parse(stdout);
    const changed = result.outcomes.filter((row) => row.recorded !== row.replayed);
    /* What came before the file said block is what would be blocked now. */
    assert.deepEqual(changed.map((row) => `${row.recorded}>${row.replayed}`), ['forward>block'], JSON.stringify(result));
    assert.deepEqual(result.rules.filter(({ rule }) => ['language', 'format', 'card_number'].includes(rule)), [], 'what fired fires again');
  });
});

describe('of a mail by SMTP', () => {
  let house;
  before(async () => {
    house = await startMailHouse({ configure: (settings) => (settings.policy.card_numbers = 'block') });
  });
  after(() => house.end());

  it('the texts are read behind their encodings', async () => {
    const ada = await house.postern.person({ preferences: { language: 'de' } });
    for (const encoding of ['quoted-printable', 'base64']) {
      const info = await submit(house, { to: ada.email, text: `Card number:\n${CARD}`, html: '<p>none</p>', encoding });
      assert.equal(info.error.responseCode, 550);
      assert.match(info.error.response, /\(PST-HARD-CONTENT dec_/);
      assert.equal((await house.postern.decision(decisionIn(info.error.response), { until: 'blocked' })).reason, 'card_number');
    }
    const html = await submit(house, { to: ada.email, text: 'none', html: `<table><tr><td>${CARD}</td></tr></table>`, encoding: 'base64' });
    assert.match(html.error.response, /PST-HARD-CONTENT/);
    const long = `${'Nothing to see here.\r\n'.repeat(100_000)}${CARD}`;
    for (const mail of [{ text: long }, { text: long, encoding: 'base64' }, { text: 'none', subject: `Grüße ${CARD}` }])
      assert.match((await submit(house, { to: ada.email, ...mail })).error?.response ?? 'passed', /PST-HARD-CONTENT/);
    const attached = await submit(house, { to: ada.email, text: GERMAN, attachments: [{ filename: 'a.txt', content: CARD }] });
    assert.match(attached.response, QUEUED);
  });

  describe('each limit', () => {
    const multipart = (n) => `Content-Type: multipart/mixed; boundary=b${n}`;
    const deep = (n) => Array.from({ length: n }, (_, i) => `${i > 0 ? `--b${i - 1}\r\n` : ''}${multipart(i)}\r\n\r\n`).join('') + `--b${n - 1}\r\n\r\nHello\r\n`;
    const wide = (n) => `${multipart(0)}\r\n\r\n${'--b0\r\n\r\nHello\r\n'.repeat(n)}--b0--\r\n`;
    const long = (n) => `\r\n${'x'.repeat(n)}\r\n`;
    const rows = [['depth', deep, 50, /more than 50 deep/], ['parts', wide, 1000, /more than 1000 parts/], ['line', long, 65536, /longer than 65536 bytes/]];
    for (const [name, mail, limit, words] of rows)
      it(`of ${name} passes, and one more is refused with its own words`, async () => {
        const ada = await house.postern.person();
        const send = (n) => submit(house, { envelope: { from: 'news@shop.example', to: ada.email }, raw: `From: news@shop.example\r\nTo: ${ada.email}\r\nSubject: s\r\n${mail(n)}` });
        assert.match((await send(limit)).response ?? 'refused', QUEUED);
        const { error } = await send(limit + 1);
        assert.match(error.response, /^5\d\d 5\./);
        assert.match(error.response, words);
      });
  });
});
