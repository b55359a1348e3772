// The requests of the bench as templates: a run of @ is the recipient's number (one @ alone is just that).  They are
// written once, into bench/out/requests.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { OUT } from './servers.mjs';

const SENDER = 'SG.shop.0123456789abcdef0123456789abcdef';
const ADMIN = 'adm_0123456789abcdef0123456789abcdef';
const BODY_BYTES = 1163;
const NUMBER = '@@@@@@@';

function mail() {
  const body = (text) => JSON.stringify({
    personalizations: [{ to: [{ email: `r${NUMBER}.n#example.com`, name: 'A Recipient' }], custom_args: { order: 'b-20931' } }],
    from: { email: 'news#shop.example', name: 'The Shop' },
    subject: 'This week in the shop',
    content: [{ type: 'text/plain', value: text }, { type: 'text/html', value: `<p>${text}</p>` }],
    categories: ['weekly'],
  }).replaceAll('#', '@');
  const words = 'What came in this week, what is nearly gone, and what we liked best of all. ';
  const fixed = body('').length;
  const room = BODY_BYTES - fixed;
  const one = Math.floor(room / 2);
  const text = words.repeat(20).slice(0, one);
  const whole = body(text);
  return whole.replace('This week in the shop', `This week in the shop${'.'.repeat(BODY_BYTES - whole.length)}`);
}

const post = (target, key, extra = []) => [`POST ${target} HTTP/1.1`, `Authorization: Bearer ${key}`,
  'Content-Type: application/json', 'Accept: application/json', 'User-Agent: sendgrid/8.1.6;nodejs', ...extra].join('\n');
const contact = { addresses: { email: [`r${NUMBER}.n#example.com`] }, zone: 'America/Chicago', language: 'en' };
const consent = { channel: 'email', category: 'newsletter', state: 'granted', basis: 'double opt-in', evidence: 'form 17', source: 'customer' };
const optOut = { address: `r${NUMBER}.n#example.com`, scope: 'global', source: 'customer', reason: 'preference page' };
const dryRun = { to: `r${NUMBER}.n#example.com`, channel: 'email', category: 'newsletter' };
const text = (object) => JSON.stringify(object).replaceAll('#', '@');

const REQUESTS = {
  mail: [post('/v3/mail/send', SENDER), mail()],
  contact: [post(`/postern/v1/contacts/c${NUMBER}`, ADMIN).replace('POST', 'PUT'), text(contact)],
  consent: [post(`/postern/v1/contacts/c${NUMBER}/consents`, ADMIN), text(consent)],
  'opt-out': [post('/postern/v1/opt-outs', ADMIN), text(optOut)],
  'dry-run': [post('/postern/v1/decisions', ADMIN), text(dryRun)],
};

/** Path of a request's template, without .head and .body. */
export const request = (name) => path.join(OUT, 'requests', name);

export function writeRequests() {
  mkdirSync(path.join(OUT, 'requests'), { recursive: true });
  for (const [name, [head, body]] of Object.entries(REQUESTS)) {
    writeFileSync(`${request(name)}.head`, `${head}\n`);
    writeFileSync(`${request(name)}.body`, body);
  }
}
