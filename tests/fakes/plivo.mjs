// A fake Plivo v1 as its pages describe it ("Send a Message", "Bulk Messaging", "Message Status Callbacks", "Signature
// Validation", seen 2026-11): the Message resource and numbers, Basic authentication with one account of its own, one
// uuid for each valid number, signed status callbacks.  As the real one it accepts a message to a number that opted out,
// and says afterwards that it failed.
import { createHmac, randomInt, randomUUID } from 'node:crypto';
import { FakeServer, behave, json } from './server.mjs';

const error = (status, text, headers = {}) => json(status, { api_id: randomUUID(), error: text }, headers);

/** Answers of the real service that a test may script. */
export const plivoSays = {
  badSource: () => behaveAs(error(400, 'src is invalid')),
  unauthorized: () => behaveAs(error(401, 'authentication failed')),
  noSuch: () => behaveAs(error(404, 'not found')),
  tooMany: (seconds = 2) => behaveAs(error(429, 'too many requests', { 'Retry-After': String(seconds) })),
  broken: (status = 500) => behaveAs(error(status, 'internal server error')),
};

function behaveAs({ status, headers, body }) {
  return behave.answer(status, headers, body);
}

const sanitized = (number) => number.replace(/[-/.+()\s]/g, '');

export class FakePlivo extends FakeServer {
  /** Numbers, digits only, that said STOP to this account; numbers that it takes for none. */
  optedOut = new Set();
  invalid = new Set();
  #messages = new Map();

  constructor(account = 'MA99999999999999999999', token = '99999999999999999999999999999999999999') {
    super();
    this.account = account;
    this.token = token;
  }

  /** Every create of a message that names this number, written as Postern knows it (+1555...). */
  sends(phone) {
    return this.requests.filter((r) => r.method === 'POST' && r.path.endsWith('/Message/') && numbers(r.json.dst).includes(sanitized(phone)));
  }

  answer(request) {
    const basic = `Basic ${Buffer.from(`${this.account}:${this.token}`).toString('base64')}`;
    if (request.headers.authorization !== basic) return error(401, 'authentication failed');
    const root = `/v1/Account/${this.account}`;
    const rest = request.path.startsWith(root) ? request.path.slice(root.length) : undefined;
    const handler = routes.find(([method, path]) => method === request.method && rest !== undefined && path.test(rest));
    if (!handler) return error(404, 'not found');
    return handler[2].call(this, request, rest.match(handler[1]));
  }

  create(request) {
    const create = request.json;
    if (Boolean(create.src) === Boolean(create.powerpack_uuid)) return error(400, 'either src or powerpack_uuid is required');
    const all = numbers(create.dst);
    const valid = all.filter((one) => /^[1-9][0-9]{6,14}$/.test(one) && !this.invalid.has(one));
    const bad = all.filter((one) => !valid.includes(one));
    if (all.length > 1000) return error(400, 'dst has more than 1000 numbers');
    if (valid.length === 0) return error(400, 'dst is invalid');
    const uuids = valid.map((to) => this.#accept(create, to));
    return json(202, {
      api_id: randomUUID(), ...(bad.length > 0 ? { invalid_number: bad } : {}), message: 'message(s) queued', message_uuid: uuids,
    });
  }

  #accept(create, to) {
    const uuid = randomUUID();
    const record = {
      error_code: null, from_number: create.src ? sanitized(create.src) : null, message_direction: 'outbound', message_state: 'queued',
      message_time: new Date(this.now()).toISOString().replace('T', ' ').replace('Z', '000+00:00'), message_type: create.type ?? 'sms',
      message_uuid: uuid, powerpack_id: create.powerpack_uuid ?? null, resource_uri: `/v1/Account/${this.account}/Message/${uuid}/`,
      to_number: to, total_amount: '0.00350', total_rate: '0.00350', units: 1,
    };
    this.#messages.set(uuid, { record, url: create.url, method: create.method ?? 'POST' });
    return uuid;
  }

  list(request) {
    const objects = [...this.#messages.values()].map((one) => one.record).reverse();
    const [limit, offset] = ['limit', 'offset'].map((name) => Number(request.query.get(name) ?? (name === 'limit' ? 20 : 0)));
    return json(200, {
      api_id: randomUUID(), meta: { limit, next: null, offset, previous: null, total_count: objects.length }, objects: objects.slice(offset, offset + limit),
    });
  }

  fetch(request, [, uuid]) {
    const one = this.#messages.get(uuid);
    return one ? json(200, { api_id: randomUUID(), ...one.record }) : error(404, 'not found');
  }

  media(request, [, uuid]) {
    return error(404, `no media of ${uuid}`);
  }

  listNumbers() {
    return json(200, { api_id: randomUUID(), meta: { limit: 20, next: null, offset: 0, previous: null, total_count: 0 }, objects: [] });
  }

  /**
   * Move a message on and tell its status callback, signed with the account's token as Plivo signs it; v3: by the newer
   * signature as well.  Returns the status of the answer, or undefined when the message has no callback.
   */
  async progress(uuid, status, { errorCode, v3 = false } = {}) {
    const { record, url, method } = this.#messages.get(uuid);
    record.message_state = status;
    record.error_code = errorCode ?? null;
    if (!url) return undefined;
    const fields = {
      MessageUUID: uuid, ParentMessageUUID: uuid, To: record.to_number, From: record.from_number ?? '', Type: record.message_type, Status: status,
      Units: '1', TotalRate: '0.00350', TotalAmount: '0.00350', MCC: '310', MNC: '160', ...(errorCode ? { ErrorCode: errorCode } : {}), requester_ip: '192.0.2.1',
    };
    const nonce = String(randomInt(1e14, 2e14));
    const signature = signV2(this.token, url, nonce);
    const headers = { 'X-Plivo-Signature-V2': signature, 'X-Plivo-Signature-Ma-V2': signature, 'X-Plivo-Signature-V2-Nonce': nonce, 'User-Agent': 'Plivo' };
    if (v3) Object.assign(headers, { 'X-Plivo-Signature-V3': signV3(this.token, url, nonce, fields), 'X-Plivo-Signature-V3-Nonce': nonce });
    const asked = new URL(url);
    if (method === 'GET') for (const [name, value] of Object.entries(fields)) asked.searchParams.append(name, value);
    const answer = await fetch(asked, { method, headers, ...(method === 'GET' ? {} : { body: new URLSearchParams(fields) }) });
    await answer.arrayBuffer();
    return answer.status;
  }
}

/** dst as Plivo reads it: sanitized, each once. */
export function numbers(dst) {
  return [...new Set(dst.split('<').map(sanitized))];
}

/** X-Plivo-Signature-V2: over the URL without its query, and the nonce. */
export function signV2(token, url, nonce) {
  return createHmac('sha256', token).update(url.split('?')[0] + nonce).digest('base64');
}

/** X-Plivo-Signature-V3 of a POST: over URL, sorted query, sorted parameters and nonce. */
export function signV3(token, url, nonce, fields) {
  const [base, query] = url.split('?');
  const pairs = [...new URLSearchParams(query ?? '')].sort().map(([name, value]) => `${name}=${value}`);
  const parameters = Object.keys(fields).sort().map((name) => name + fields[name]).join('');
  return createHmac('sha256', token).update(`${base}?${pairs.length > 0 ? `${pairs.join('&')}.` : ''}${parameters}.${nonce}`).digest('base64');
}

const UUID = '([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})';
const routes = [
  ['POST', /^\/Message\/$/, FakePlivo.prototype.create],
  ['GET', /^\/Message\/$/, FakePlivo.prototype.list],
  ['GET', new RegExp(`^/Message/${UUID}/$`), FakePlivo.prototype.fetch],
  ['GET', new RegExp(`^/Message/${UUID}/Media/$`), FakePlivo.prototype.media],
  ['GET', /^\/Number\/$/, FakePlivo.prototype.listNumbers],
];
