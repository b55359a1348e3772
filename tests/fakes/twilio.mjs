// A fake Twilio 2010-04-01 as its OpenAPI document and error pages describe it (twilio/twilio-oai, 2026-04-14): the
// Messages resource, account and numbers, Basic authentication with one account of its own, signed StatusCallbacks.
// A request for another account, or with another token, fails as it would there.
import { createHmac, randomBytes } from 'node:crypto';
import { FakeServer, behave, json } from './server.mjs';

const error = (status, code, message, headers = {}) =>
  json(status, { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status }, headers);

/** Answers of the real service that a test may script. */
export const twilioSays = {
  unsubscribed: () => behaveAs(error(400, 21610, 'Attempt to send to unsubscribed recipient')),
  badFrom: () => behaveAs(error(400, 21212, "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID.")),
  unauthorized: () => behaveAs(authenticate()),
  tooMany: (seconds = 2) => behaveAs(error(429, 20429, 'Too Many Requests', { 'Retry-After': String(seconds), 'Twilio-Concurrent-Requests': '101' })),
  broken: (status = 500) => behaveAs(error(status, 20500, 'An internal server error has occurred')),
};

function behaveAs({ status, headers, body }) {
  return behave.answer(status, headers, body);
}

function authenticate() {
  return json(
    401,
    { code: 20003, detail: 'Your AccountSid or AuthToken was incorrect.', message: 'Authenticate', more_info: 'https://www.twilio.com/docs/errors/20003', status: 401 },
    { 'WWW-Authenticate': 'Basic realm="Twilio API"' },
  );
}

const rfc2822 = (date) => date.toUTCString().replace('GMT', '+0000');

export class FakeTwilio extends FakeServer {
  /** Numbers that said STOP to this account. */
  unsubscribed = new Set();
  #messages = new Map();

  constructor(account = 'AC99999999999999999999999999999999', token = '99999999999999999999999999999999') {
    super();
    this.account = account;
    this.token = token;
  }

  /** Every create of a message to this number. */
  sends(number) {
    return this.requests.filter((r) => r.method === 'POST' && r.path.endsWith('/Messages.json') && r.form.get('To') === number);
  }

  answer(request) {
    const basic = `Basic ${Buffer.from(`${this.account}:${this.token}`).toString('base64')}`;
    if (request.headers.authorization !== basic) return authenticate();
    const root = `/2010-04-01/Accounts/${this.account}`;
    const rest = request.path.startsWith(root) ? request.path.slice(root.length) : undefined;
    const handler = routes.find(([method, path]) => method === request.method && rest !== undefined && path.test(rest));
    if (!handler) return error(404, 20404, `The requested resource ${request.path} was not found`);
    return handler[2].call(this, request, rest.match(handler[1]));
  }

  create(request) {
    const form = request.form;
    const complaint = this.#complaintAbout(form);
    if (complaint) return error(400, ...complaint);
    const service = form.get('MessagingServiceSid');
    const media = form.getAll('MediaUrl').length;
    const sid = (media > 0 ? 'MM' : 'SM') + randomBytes(16).toString('hex');
    const now = rfc2822(new Date(this.now()));
    const uri = `/2010-04-01/Accounts/${this.account}/Messages/${sid}`;
    const message = {
      account_sid: this.account, api_version: '2010-04-01', body: form.get('Body') ?? '', date_created: now, date_sent: null,
      date_updated: now, direction: 'outbound-api', error_code: null, error_message: null, from: form.get('From'),
      num_media: String(media), num_segments: service ? '0' : '1', price: null, price_unit: null, messaging_service_sid: service,
      sid, status: form.get('ScheduleType') === 'fixed' && service ? 'scheduled' : service ? 'accepted' : 'queued',
      subresource_uris: { media: `${uri}/Media.json` }, to: form.get('To'), uri: `${uri}.json`,
    };
    this.#messages.set(sid, { message, callback: form.get('StatusCallback') });
    return json(201, message);
  }

  #complaintAbout(form) {
    const to = form.get('To');
    if (!to) return [21604, "A 'To' phone number is required."];
    if (!/^(?:[a-z]+:)?\+[1-9][0-9]{6,14}$/.test(to)) return [21211, `The 'To' number ${to} is not a valid phone number.`];
    if (!form.get('From') && !form.get('MessagingServiceSid')) return [21603, "A 'From' phone number is required."];
    if (!form.get('Body') && !form.get('MediaUrl') && !form.get('ContentSid')) return [21602, 'Message body is required.'];
    if ((form.get('Body') ?? '').length > 1600)
      return [21617, 'The concatenated message body exceeds the 1600 character limit.'];
    if (this.unsubscribed.has(to)) return [21610, 'Attempt to send to unsubscribed recipient'];
    return undefined;
  }

  list(request) {
    const to = request.query.get('To');
    const messages = [...this.#messages.values()].map((one) => one.message).filter((m) => !to || m.to === to).reverse();
    const uri = request.target;
    return json(200, {
      end: Math.max(0, messages.length - 1), first_page_uri: uri, next_page_uri: null, page: 0, page_size: 50,
      previous_page_uri: null, messages, start: 0, uri,
    });
  }

  #stored(request, sid, then) {
    const stored = this.#messages.get(sid);
    return stored ? then(stored) : error(404, 20404, `The requested resource ${request.path} was not found`);
  }

  fetch(request, [, sid]) {
    return this.#stored(request, sid, ({ message }) => json(200, message));
  }

  update(request, [, sid]) {
    return this.#stored(request, sid, ({ message }) => {
      if (request.form.has('Body')) message.body = '';
      if (request.form.get('Status') === 'canceled') {
        if (message.status !== 'scheduled') return error(400, 30409, 'Message cannot be canceled: it is not scheduled');
        message.status = 'canceled';
      }
      message.date_updated = rfc2822(new Date(this.now()));
      return json(200, message);
    });
  }

  remove(request, [, sid]) {
    return this.#messages.delete(sid) ? { status: 204, headers: {} } : error(404, 20404, `The requested resource ${request.path} was not found`);
  }

  fetchAccount() {
    const now = 'Thu, 30 Jul 2015 20:00:00 +0000';
    return json(200, {
      auth_token: this.token, date_created: now, date_updated: now, friendly_name: 'Provider account', owner_account_sid: this.account,
      sid: this.account, status: 'active', subresource_uris: {}, type: 'Full', uri: `/2010-04-01/Accounts/${this.account}.json`,
    });
  }

  /**
   * Move a message on and tell its StatusCallback, signed with the account's token as Twilio signs it.
   * Returns the status of the answer, or undefined when the message has no StatusCallback.
   */
  async progress(sid, status) {
    const { message, callback } = this.#messages.get(sid);
    message.status = status;
    if (!callback) return undefined;
    const fields = {
      AccountSid: this.account, ApiVersion: '2010-04-01', From: message.from ?? '', MessageSid: sid, MessageStatus: status,
      SmsSid: sid, SmsStatus: status, To: message.to,
    };
    const answer = await fetch(callback, {
      method: 'POST',
      headers: { 'X-Twilio-Signature': signature(this.token, callback, fields), 'User-Agent': 'TwilioProxy/1.1' },
      body: new URLSearchParams(fields),
    });
    await answer.arrayBuffer();
    return answer.status;
  }
}

/** X-Twilio-Signature of a form post: HMAC-SHA1 over the URL and each name||value in byte order of the names. */
export function signature(token, url, fields) {
  const data = Object.keys(fields).sort().reduce((text, name) => text + name + fields[name], url);
  return createHmac('sha1', token).update(Buffer.from(data, 'utf8')).digest('base64');
}

const routes = [
  ['POST', /^\/Messages\.json$/, FakeTwilio.prototype.create],
  ['GET', /^\/Messages\.json$/, FakeTwilio.prototype.list],
  ['GET', /^\/Messages\/((?:SM|MM)[0-9a-f]{32})\.json$/, FakeTwilio.prototype.fetch],
  ['POST', /^\/Messages\/((?:SM|MM)[0-9a-f]{32})\.json$/, FakeTwilio.prototype.update],
  ['DELETE', /^\/Messages\/((?:SM|MM)[0-9a-f]{32})\.json$/, FakeTwilio.prototype.remove],
  ['GET', /^\.json$/, FakeTwilio.prototype.fetchAccount],
];
