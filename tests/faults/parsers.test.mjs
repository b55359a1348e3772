// What Postern decided about is what the provider reads.  Requests are mutated (names twice, in other cases and
// escapes, structure where text should be, bytes flipped) and sent through; of each that is forwarded the recipients,
// as JSON.parse, URLSearchParams and Python's json and urllib read them, must be those in the audit.
// MUTATIONS=10000000 for a long run (CI: 20,000); MUTATION_SEED repeats one.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { domainToASCII, fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startHouse } from '../e2e/harness.mjs';
import { exchange, request } from './wire.mjs';

const MUTATIONS = Number(process.env.MUTATIONS ?? 20_000);
const SEED = Number(process.env.MUTATION_SEED ?? Date.now() % 2 ** 31);
const ROUND = 20_000; // that many are held in memory and compared at a time
const LANES = 8;

let seed = SEED >>> 0;
const below = (n) => Math.floor(((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);
const pick = (list) => list[below(list.length)];

// --- mutations --------------------------------------------------------------------------------------------------------

let n = 0;
/** How seldom something odd happens in the present request: most have one oddity or two, so that they are still taken. */
let calm = 1;
const odd = (oneIn) => below(oneIn * calm) === 0;
const LOCAL = ['ann', 'Bob', 'o.neil', 'x+tag', "d'arc", '"a b"', 'ü', 'a\\u0062c', 'tab\\tbed', 'ann%40evil.example', 'a\u200bb'];
const DOMAIN = ['mail.example', 'Mail.EXAMPLE', 'sub.shop.example', 'mail.example.', 'bücher.example', '[127.0.0.1]', 'mail.example\\u002ecom', 'mail.example,evil@shop.example', 'mail.example;c=d'];
const address = () => (!odd(4) ? `p${n}.${below(300)}@mail.example` : `${pick(LOCAL)}${n}@${pick(DOMAIN)}`);
const escaped = (text) => [...text].map((c) => (below(3) ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)).join('');
const name = (text) => `"${below(30) ? text : pick([escaped(text), text.toUpperCase(), `${text} `, `\\u0000${text}`, `${text}\\u0000`, text.replace('o', 'ο')])}"`;
const member = (key, value) => `${name(key)}:${value}`;
const object = (members) => `{${(!odd(12) ? members : [...members, pick(members)]).join(pick([',', ',', ' , ', ',\n']))}}`;
const list = (items) => `[${items.join(',')}]`;
const person = () => object([member('email', `"${address()}"`), ...(below(2) ? [member('name', '"N"')] : [])]);
const people = () => (!odd(25) ? list(Array.from({ length: 1 + below(3) }, person)) : pick(['null', '{}', '"a@b.example"', '[[]]', person(), '[null]', '[{}]', '[{"email":["a@b.example"]}]', '[{"email":{"email":"a@b.example"}}]']));
const personalization = () => object([member('to', people()), ...(below(3) ? [] : [member('cc', people())]), ...(below(3) ? [] : [member('bcc', people())]), ...(!odd(9) ? [] : [member('to', people())]), ...(below(9) ? [] : [member('subject', '"S"')])]);

function mail() {
  const members = [
    member('personalizations', below(30) ? list(Array.from({ length: 1 + below(2) }, personalization)) : pick([personalization(), 'null', '"x"', '[[]]'])),
    member('from', object([member('email', '"a@shop.example"')])),
    member('subject', `"s${n}"`),
    member('content', '[{"type":"text/plain","value":"v \\u0022to\\u0022: [{}] "}]'),
    ...(!odd(12) ? [] : [member('personalizations', list([personalization()]))]),
    ...(!odd(12) ? [] : [member('to', people())]),
    ...(!odd(12) ? [] : [member('custom_args', `{"personalizations":"x","to":"y@z.example"}`)]),
  ];
  return (odd(5) ? pick([' ', '\n', '\ufeff', '/*x*/']) : '') + object(members) + (odd(5) ? pick([' ', '\n', '\0', '{}', ',', '//x']) : '');
}

const number = () => `+1212555${String(n % 10_000).padStart(4, '0')}`;
const encoded = (text) => [...Buffer.from(text)].map((b) => (below(6) && b !== 0x2b ? String.fromCharCode(b) : `%${below(2) ? b.toString(16).padStart(2, '0') : b.toString(16).padStart(2, '0').toUpperCase()}`)).join('');
const field = (key, value) => `${!odd(25) ? key : pick([encoded(key), key.toLowerCase(), `${key}[]`, ` ${key}`, `${key}%00`, `%ef%bb%bf${key}`, `${key}+`])}${!odd(40) ? '=' : pick(['', '==', '%3d', ':'])}${value}`;
const to = () => (!odd(20) ? encoded(number()) : pick([number(), ` ${encoded(number())}`, `${encoded(number())},${encoded(number())}`, `${encoded(number())};To=${encoded(number())}`, `${encoded(number())}%26To=%2B12125550000`, '', `${encoded(number())}%00`, `${encoded(number())}%0a`, '%ff%fe', '%u002b12125550000']));

function sms() {
  const fields = [field('To', to()), field('From', encoded('+12125550199')), field('Body', encoded(`text ${n} & To=+12125550000`).replaceAll('&', '%26'))];
  if (odd(9)) fields.splice(below(4), 0, field('To', to()));
  if (odd(15)) fields.push(pick(['', '&', '=', 'x', 'To', 'a=b;To=%2B12125550000']));
  return fields.join(odd(6) ? pick(['&&', ';']) : '&');
}

/** A byte flipped, left out, put in, or a piece doubled, now and then. */
function spoil(bytes) {
  const at = below(bytes.length);
  const other = below(bytes.length);
  switch (below(12 * calm)) {
    case 0:
      bytes[at] ^= 1 << below(8);
      return bytes;
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), Buffer.from([pick([0, 9, 10, 13, 34, 44, 58, 91, 92, 123, 125, 0xc0, 0xed, 0xff])]), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(at, other), Math.min(at, other) + below(40)), bytes.subarray(at)]);
    default:
      return bytes;
  }
}

// --- the run ----------------------------------------------------------------------------------------------------------

let house, postern;
before(async () => {
  console.log(`# MUTATION_SEED=${SEED}`);
  house = await startHouse();
  ({ postern } = house);
  // They accept whatever comes, each under an id of its own.
  house.mail.answer = () => ({ status: 202, headers: { 'X-Message-Id': `m-${house.mail.requests.length}` }, body: '' });
  house.sms.answer = () => ({ status: 201, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ sid: `SM${String(house.sms.requests.length).padStart(32, '0')}` }) });
});
after(() => house.end());

/** decision id -> recipient, of what was decided since. */
async function evaluated(since) {
  const sql = `SELECT json_extract(body, '$.id'), json_extract(personal, '$.recipient'), seq FROM audit WHERE kind = 'decision' AND seq > ${since}`;
  const { stdout } = await promisify(execFile)('sqlite3', ['-json', '-readonly', path.join(postern.dir, 'postern.db'), sql], { maxBuffer: 1 << 30 });
  const rows = stdout ? JSON.parse(stdout).map(Object.values) : [];
  return { last: rows.at(-1)?.[2] ?? since, recipients: new Map(rows.map(([id, recipient]) => [id, recipient])) };
}

/** An address in the audit has its domain as IDNA's A-labels in lower case. */
const canonical = (email) => String(email).replace(/@([^@]*)$/, (_, domain) => `@${/^[[]/.test(domain) ? domain : domainToASCII(domain)}`);
const readMail = (text) => JSON.parse(text).personalizations.flatMap((p) => ['to', 'cc', 'bcc'].flatMap((kind) => (p[kind] ?? []).map((one) => canonical(one.email))));
const readSms = (text) => new URLSearchParams(text).getAll('To');
const sorted = (texts) => JSON.stringify([...texts].map(String).sort());

async function byPython(rows) {
  const child = spawn('python3', [fileURLToPath(new URL('recipients.py', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.stdin.end(rows.map((row) => JSON.stringify(row)).join('\n'));
  assert.equal(await ended, 0);
  return out.trimEnd().split('\n');
}

it(`${MUTATIONS} mutated requests: every parser reads the recipients that were decided about`, { timeout: MUTATIONS * 60 + 60_000 }, async (t) => {
  const statuses = {};
  let [since, forwarded] = [0, 0];
  for (let done = 0; done < MUTATIONS; done += ROUND) {
    const isMail = [];
    const requests = Array.from({ length: Math.min(ROUND, MUTATIONS - done) }, (_, i) => {
      n += 1;
      isMail[i] = below(4) > 0;
      calm = pick([1, 4, 16, 16]);
      return request(isMail[i] ? 'billing' : 'billing-sms', spoil(Buffer.from(isMail[i] ? mail() : sms())));
    });
    const answers = await exchange(postern.port, requests, { lanes: LANES });
    const { last, recipients } = await evaluated(since);
    since = last;
    const seen = new Map([...house.mail.requests, ...house.sms.requests].map((one) => [one.answer.headers['X-Message-Id'] ?? JSON.parse(one.answer.body).sid, one]));
    const rows = [];
    for (const [i, answer] of answers.entries()) {
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      assert.ok([202, 201, 400, 403, 413].includes(answer.status), `${answer.status} ${answer.body}\n${requests[i]}`);
      if (answer.headers['x-postern-outcome'] !== 'forwarded') continue;
      const id = isMail[i] ? answer.headers['x-message-id'] : JSON.parse(answer.body).sid;
      const { body } = seen.get(id) ?? assert.fail(`no request at the provider has the id ${id}`);
      seen.delete(id);
      const decided = answer.headers['x-postern-decision-id'].split(/, ?/).map((one) => recipients.get(one));
      assert.equal(sorted((isMail[i] ? readMail : readSms)(body.toString())), sorted(decided), body.toString());
      rows.push({ dialect: isMail[i] ? 'sendgrid' : 'twilio', body: body.toString('base64'), evaluated: decided });
    }
    assert.equal(seen.size, 0, 'the provider saw nothing else');
    assert.deepEqual(await byPython(rows), [`read ${rows.length}`]);
    forwarded += rows.length;
    house.mail.requests.length = house.sms.requests.length = 0;
  }
  t.diagnostic(`${forwarded} forwarded and read by three parsers; answers ${JSON.stringify(statuses)}`);
  assert.ok(forwarded > MUTATIONS / 5, 'enough of them were forwarded');
});
