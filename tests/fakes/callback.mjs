// The application's own endpoint for StatusCallbacks: takes every post, answers 200, keeps the form.
import { FakeServer } from './server.mjs';

export class FakeCallback extends FakeServer {
  answer() {
    return { status: 200, headers: { 'Content-Type': 'text/plain' }, body: '' };
  }

  /** The posts about one message, oldest first, each with its form as a plain object. */
  about(sid) {
    return this.requests
      .filter((request) => request.form.get('MessageSid') === sid)
      .map((request) => ({ request, form: Object.fromEntries(request.form), status: request.form.get('MessageStatus') }));
  }
}
