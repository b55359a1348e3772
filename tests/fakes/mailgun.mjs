// A fake Mailgun v3 as its documentation describes it (documentation.mailgun.com and its OpenAPI document, 2026-07):
// messages, messages.mime, stored messages and their sending again, domains and events, with the same statuses, bodies
// and complaints.  It reads multipart and lists of addresses by means of its own, so that a test sees who would have got
// a mail; it accepts one key only, its own, so that a test sees whose credential came.
import { randomBytes } from 'node:crypto';
import addressparser from 'nodemailer7/lib/addressparser/index.js';
import { FakeServer, behave, json } from './server.mjs';

const complain = (status, message, headers = {}) => json(status, { message }, headers);
const forbidden = () => ({ status: 401, headers: { 'Content-Type': 'text/plain' }, body: 'Forbidden' });

/** Answers of the real service that a test may script. */
export const mailgunSays = {
  badAddress: () => behaveAs(complain(400, 'to parameter is not a valid address. please check documentation')),
  unauthorized: () => behaveAs(forbidden()),
  largeBatches: (domain) => behaveAs(complain(403, `Domain ${domain} is not allowed to send large batches yet`)),
  /** It says when in words only. */
  tooMany: (domain, until) =>
    behaveAs(complain(429, `Domain ${domain} is not allowed to send: request limit exceeded, try again after ${until.toUTCString().replace('GMT', 'UTC')}`)),
  tooManyFor: (domain, seconds) =>
    behaveAs(complain(429, `Domain ${domain} is not allowed to send: account-requests-per-sec limit exceeded, try again after ${seconds} seconds`)),
  broken: (status = 500) => behaveAs(complain(status, 'Internal Server Error')),
};

function behaveAs({ status, headers, body }) {
  return behave.answer(status, headers, body);
}

export class FakeMailgun extends FakeServer {
  #stored = new Map();

  constructor(key = '0123456789abcdef0123456789abcdef-01234567-89abcdef', domain = 'mg.shop.example') {
    super();
    this.key = key;
    this.domain = domain;
  }

  /** Every call that sends to this address, by to, cc or bcc. */
  sends(email) {
    return this.requests.filter((r) => r.method === 'POST' && /\/messages(\.mime|\/[^/]+)?$/.test(r.path) && recipients(parameters(r)).includes(email));
  }

  answer(request) {
    const basic = `Basic ${Buffer.from(`api:${this.key}`).toString('base64')}`;
    if (request.headers.authorization !== basic) return forbidden();
    const handler = routes.find(([method, path]) => method === request.method && path.test(request.path));
    if (!handler) return complain(404, 'not found');
    const [, ...found] = request.path.match(handler[1]);
    const domain = found.find((one) => one.includes('.'));
    if (domain && domain !== this.domain) return complain(404, `Domain not found: ${domain}`);
    return handler[2].call(this, request, ...found);
  }

  send(request) {
    const form = parameters(request);
    const complaint = complaintAbout(form, this.now(), request.path.endsWith('.mime'));
    return complaint ? complain(400, complaint) : this.#accept(form);
  }

  #accept(form) {
    const stamp = new Date(this.now()).toISOString().replace(/\D/g, '').slice(0, 14);
    const id = `<${stamp}.${randomBytes(8).toString('hex')}@${this.domain}>`;
    this.#stored.set(randomBytes(9).toString('base64url'), form);
    return json(200, { id, message: 'Queued. Thank you.' });
  }

  /** The keys under which messages are stored, the oldest first. */
  get keys() {
    return [...this.#stored.keys()];
  }

  stored(request, domain, key) {
    const form = this.#stored.get(key);
    return form ? json(200, { From: form.text('from'), recipients: recipients(form).join(', '), subject: form.text('subject') }) : complain(404, 'Message not found');
  }

  again(request, domain, key) {
    const form = parameters(request);
    if (!this.#stored.has(key)) return complain(404, 'Message not found');
    if (addresses(form.all('to')).length === 0) return complain(400, 'to parameter is missing');
    return this.#accept(form);
  }

  domains() {
    return json(200, { total_count: 1, items: [{ name: this.domain, state: 'active', type: 'custom', created_at: 'Wed, 10 Jul 2013 19:26:52 GMT' }] });
  }

  events() {
    return json(200, { items: [{ event: 'accepted', id: 'ncV2XwymRUKbPek_MIM-Gw' }], paging: {} });
  }
}

const routes = [
  ['POST', /^\/v3\/([^/]+\.[^/]+)\/messages(?:\.mime)?$/, FakeMailgun.prototype.send],
  ['GET', /^\/v3\/domains\/([^/]+)\/messages\/([^/]+)$/, FakeMailgun.prototype.stored],
  ['POST', /^\/v3\/domains\/([^/]+)\/messages\/([^/]+)$/, FakeMailgun.prototype.again],
  ['GET', /^\/v[34]\/domains$/, FakeMailgun.prototype.domains],
  ['GET', /^\/v3\/([^/]+\.[^/]+)\/events$/, FakeMailgun.prototype.events],
];

/** The parameters of a call: all(name) as Buffers, text(name) the first as a string, names in their order. */
export function parameters(request) {
  const type = request.headers['content-type'] ?? '';
  const list = type.startsWith('multipart/form-data') ? parts(request.body, /boundary="?([^";]+)/.exec(type)[1]) : [...request.form].map(([name, value]) => ({ name, value: Buffer.from(value) }));
  const all = (name) => list.filter((one) => one.name === name).map((one) => one.value);
  return { list, all, text: (name) => all(name)[0]?.toString('utf8'), names: list.map((one) => one.name) };
}

function parts(body, boundary) {
  const found = [];
  const delimiter = Buffer.from(`--${boundary}`);
  for (let at = body.indexOf(delimiter); at >= 0; ) {
    const next = body.indexOf(Buffer.concat([Buffer.from('\r\n'), delimiter]), at);
    if (next < 0) break;
    const part = body.subarray(at + delimiter.length + 2, next);
    const head = part.subarray(0, part.indexOf('\r\n\r\n')).toString('utf8');
    found.push({
      name: /; name="([^"]*)"/.exec(head)[1],
      filename: /; filename="([^"]*)"/.exec(head)?.[1],
      type: /content-type: (.*)/i.exec(head)?.[1],
      value: part.subarray(part.indexOf('\r\n\r\n') + 4),
    });
    at = next + 2;
  }
  return found;
}

const addresses = (values) => values.flatMap((value) => addressparser(value.toString('utf8'), { flatten: true }).map((one) => one.address));

function recipients(form) {
  return [...new Set(['to', 'cc', 'bcc'].flatMap((kind) => addresses(form.all(kind))))];
}

const valid = (address) => /^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(address);

/** What Mailgun would complain of; undefined when it would accept. */
function complaintAbout(form, nowMs, mime) {
  const { text } = form;
  if (!mime && !text('from') && !text('template')) return 'from parameter is missing';
  if (addresses(form.all('to')).length === 0) return 'to parameter is missing';
  for (const kind of ['to', 'cc', 'bcc'])
    if (!addresses(form.all(kind)).every(valid)) return `${kind} parameter is not a valid address. please check documentation`;
  if (recipients(form).length > 1000) return 'Too many recipients, max is 1000';
  if (mime && !text('message')) return 'message parameter is missing';
  if (!mime && !['text', 'html', 'amp-html', 'template'].some((one) => text(one))) return "Need at least one of 'text' or 'html' parameters specified";
  const options = form.list.filter((one) => /^[ohvt]:/.test(one.name)).reduce((n, one) => n + one.value.length, 0);
  if (options > 16384) return 'Send options (parameters starting with o:, h:, v:, or t:) are limited to 16KB total';
  try {
    JSON.parse(text('recipient-variables') ?? '{}');
  } catch {
    return "'recipient-variables' parameter is not a valid JSON";
  }
  if (text('o:deliverytime') !== undefined && !(Date.parse(text('o:deliverytime')) < nowMs + 7 * 86_400_000)) return "'o:deliverytime' parameter is not valid";
  return undefined;
}
