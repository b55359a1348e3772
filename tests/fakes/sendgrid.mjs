// A fake SendGrid v3 as its OpenAPI document and help pages describe it (twilio/sendgrid-oai, 2026-01-22; page "Mail
// Send errors"): the same statuses, headers, bodies and complaints.  It accepts one API key only, its own, so that a
// test sees whether a request came with the provider's credential or with the application's.
import { randomBytes } from 'node:crypto';
import { FakeServer, behave, json } from './server.mjs';

const error = (status, message, field = null, headers = {}) =>
  json(status, { errors: [{ message, field, help: null }] }, headers);

/** Answers of the real service that a test may script. */
export const sendgridSays = {
  badRequest: () => behaveAs(error(400, 'Does not contain a valid address.', 'from')),
  unauthorized: () => behaveAs(unauthorized()),
  tooLarge: () => behaveAs(error(413, 'content too large')),
  tooMany: (resetSeconds = 2) =>
    behaveAs(
      json(429, { errors: [{ field: null, message: 'too many requests' }] }, {
        'Retry-After': String(resetSeconds),
        'X-RateLimit-Limit': '150',
        'X-RateLimit-Remaining': '0',
        'X-RateLimit-Reset': String(Math.ceil(Date.now() / 1000) + resetSeconds),
      }),
    ),
  broken: (status = 500) => behaveAs(error(status, 'internal error, please try again')),
};

function behaveAs({ status, headers, body }) {
  return behave.answer(status, headers, body);
}

function unauthorized() {
  return error(401, 'The provided authorization grant is invalid, expired, or revoked');
}

export class FakeSendGrid extends FakeServer {
  #batches = new Set();
  #scheduled = new Map();

  constructor(apiKey = 'SG.provider-own-key.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA') {
    super();
    this.apiKey = apiKey;
  }

  /** Every mail/send that names this recipient in to, cc or bcc. */
  sends(email) {
    return this.requests.filter((r) => r.method === 'POST' && r.path === '/v3/mail/send' && recipients(r).includes(email));
  }

  answer(request) {
    if (request.headers.authorization !== `Bearer ${this.apiKey}`) return unauthorized();
    const handler = routes.find(([method, path]) => method === request.method && path.test(request.path));
    if (!handler) return error(404, 'not found');
    return handler[2].call(this, request, request.path.match(handler[1]));
  }

  send(request) {
    let mail;
    try {
      mail = request.json;
    } catch {
      return error(400, 'Bad Request');
    }
    const complaint = complaintAbout(mail, this.now());
    if (complaint) return error(400, complaint[0], complaint[1]);
    const headers = {
      'Access-Control-Allow-Origin': 'https://sendgrid.api-docs.io',
      'X-No-CORS-Reason': 'https://sendgrid.com/docs/Classroom/Basics/API/cors.html',
    };
    if (mail.mail_settings?.sandbox_mode?.enable === true) return { status: 200, headers, body: '' };
    return { status: 202, headers: { ...headers, 'X-Message-Id': randomBytes(16).toString('base64url') }, body: '' };
  }

  newBatch() {
    const id = randomBytes(24).toString('base64url');
    this.#batches.add(id);
    return json(201, { batch_id: id });
  }

  batch(request, [, id]) {
    return this.#batches.has(id) ? json(200, { batch_id: id }) : error(400, 'batch id not found', 'batch_id');
  }

  schedule(request) {
    const { batch_id: id, status } = request.json;
    if (!this.#batches.has(id)) return error(400, 'invalid batch id', 'batch_id');
    if (!['pause', 'cancel'].includes(status)) return error(400, 'status must be cancel or pause', 'status');
    if (this.#scheduled.has(id)) return error(400, 'a status for this batch id already exists, try PATCH to update the status');
    this.#scheduled.set(id, status);
    return json(201, { batch_id: id, status });
  }

  scheduled(request, [, id]) {
    const all = [...this.#scheduled].map(([batch_id, status]) => ({ batch_id, status }));
    return json(200, id ? all.filter((one) => one.batch_id === id) : all);
  }

  reschedule(request, [, id]) {
    if (!this.#scheduled.has(id)) return error(404, 'batch id not found');
    this.#scheduled.set(id, request.json.status);
    return { status: 204, headers: {} };
  }

  unschedule(request, [, id]) {
    return this.#scheduled.delete(id) ? { status: 204, headers: {} } : error(404, 'batch id not found');
  }

  templates() {
    const one = { id: 'd-8a1c0f0e3d4b4c5f9a7b6c5d4e3f2a1b', name: 'welcome', generation: 'dynamic', updated_at: '2026-01-05 10:00:00', versions: [] };
    return json(200, { result: [one], _metadata: { self: `${this.url}/v3/templates?generations=dynamic&page_size=10`, count: 1 } });
  }

  groups() {
    return json(200, [{ id: 42, name: 'Newsletter', description: 'Monthly', is_default: true, unsubscribes: 3 }]);
  }
}

const routes = [
  ['POST', /^\/v3\/mail\/send$/, FakeSendGrid.prototype.send],
  ['POST', /^\/v3\/mail\/batch$/, FakeSendGrid.prototype.newBatch],
  ['GET', /^\/v3\/mail\/batch\/([^/]+)$/, FakeSendGrid.prototype.batch],
  ['POST', /^\/v3\/user\/scheduled_sends$/, FakeSendGrid.prototype.schedule],
  ['GET', /^\/v3\/user\/scheduled_sends(?:\/([^/]+))?$/, FakeSendGrid.prototype.scheduled],
  ['PATCH', /^\/v3\/user\/scheduled_sends\/([^/]+)$/, FakeSendGrid.prototype.reschedule],
  ['DELETE', /^\/v3\/user\/scheduled_sends\/([^/]+)$/, FakeSendGrid.prototype.unschedule],
  ['GET', /^\/v3\/templates$/, FakeSendGrid.prototype.templates],
  ['GET', /^\/v3\/asm\/groups$/, FakeSendGrid.prototype.groups],
];

function recipients(request) {
  let mail;
  try {
    mail = request.json;
  } catch {
    return [];
  }
  return (mail.personalizations ?? []).flatMap((p) => ['to', 'cc', 'bcc'].flatMap((kind) => (p[kind] ?? []).map((one) => one.email)));
}

/** What SendGrid would complain of, as [message, field]; undefined when it would accept. */
function complaintAbout(mail, nowMs) {
  const personalizations = mail.personalizations;
  if (!Array.isArray(personalizations) || personalizations.length === 0)
    return ['You must have at least one personalization.', 'personalizations'];
  if (personalizations.length > 1000)
    return [`The personalization block is limited to 1000 personalizations per API request. You have provided ${personalizations.length} personalizations.`, 'personalizations'];
  for (const p of personalizations) {
    if (!Array.isArray(p.to) || p.to.length === 0) return ['The to parameter is required for all personalization objects.', 'personalizations.to'];
    const all = [...p.to, ...(p.cc ?? []), ...(p.bcc ?? [])].map((one) => one.email?.toLowerCase());
    if (all.some((email) => !/^[^@\s]+@[^@\s]+$/.test(email ?? ''))) return ['Does not contain a valid address.', 'personalizations.0.to.0.email'];
    if (new Set(all).size !== all.length)
      return ['Each email address in the personalization block should be unique between to, cc, and bcc.', 'personalizations.0'];
  }
  if (!mail.from?.email)
    return ['The from object must be provided for every email send. It is an object that requires the email parameter, but may also contain a name parameter.', 'from.email'];
  if (!mail.template_id && !mail.subject && !personalizations.every((p) => p.subject))
    return ['The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined.', 'subject'];
  if (!mail.template_id && !(Array.isArray(mail.content) && mail.content.length > 0))
    return ['The content param is required unless you are using a transactional template and have defined a template_id.', 'content'];
  if (mail.send_at !== undefined && mail.send_at > nowMs / 1000 + 72 * 3600)
    return ['Scheduling more than 72 hours in advance is forbidden.', 'send_at'];
  return undefined;
}
