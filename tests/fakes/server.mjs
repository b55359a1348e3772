// The ground that every fake stands on: an HTTP server on a free port of 127.0.0.1 that keeps each request as it
// came (bytes, headers, time, connection and its place on that connection) and can be told to misbehave the way
// real servers do.  It knows no provider: a subclass gives answer(request), which returns { status, headers, body }.
// The one idea: what arrived is recorded before anything is answered, so that a test can count what was *seen*
// apart from what was *answered*.
import http from 'node:http';
import { once } from 'node:events';

/** What a fake can be told to do with a request instead of answering it properly. */
export const behave = {
  /** Answer properly, but only after so many milliseconds (a number, or a function that draws one). */
  late: (ms) => ({ kind: 'late', ms }),
  /** Answer with exactly this. */
  answer: (status, headers, body) => ({ kind: 'answer', answer: { status, headers, body } }),
  /** Read the whole request, then never answer; the connection stays open. */
  stall: () => ({ kind: 'stall' }),
  /** Read the whole request, then reset the connection (RST). */
  reset: () => ({ kind: 'reset' }),
  /** Read the whole request, then close the connection without an answer (FIN). */
  close: () => ({ kind: 'close' }),
  /** Read the whole request, let half of an answer's head out, then close. */
  half: () => ({ kind: 'half' }),
};

export class FakeServer {
  requests = [];
  /** Close every connection on its second request, without an answer, as servers with a short keep-alive do. */
  closeReused = false;
  /** The provider's clock: a test that moves Postern's moves this one with it. */
  now = () => Date.now();
  #rules = [];
  #connections = 0;
  #sockets = new Set();
  #server;
  #port = 0;

  /** Listen, on the same port as before when there was one. */
  async start() {
    this.#server = http.createServer({ keepAliveTimeout: 75_000, requestTimeout: 0 }, (req, res) =>
      this.#receive(req, res).catch((error) => res.writeHead(599).end(`mistake in the fake: ${error.stack}`)),
    );
    this.#server.on('connection', (socket) => {
      socket.fakeId = ++this.#connections;
      socket.fakeRequests = 0;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = this.#server.address().port;
    return this;
  }

  /** Stop listening and drop every connection: from now on, connection refused.  start() undoes it. */
  async stop() {
    if (!this.#server) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    this.#server = undefined;
  }

  get listening() {
    return this.#server !== undefined;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** How many connections were ever opened to this fake. */
  get connections() {
    return this.#connections;
  }

  /**
   * Misbehave for the requests that match (a string sought in target and body, or a predicate over the record),
   * so many times; without a number: until forget().  Earlier rules win.
   */
  when(match, behaviour, times = Infinity) {
    const matches = typeof match === 'function' ? match : (request) => request.holds(match);
    this.#rules.push({ matches, behaviour, left: times });
    return this;
  }

  /** Behave again. */
  forget() {
    this.#rules = [];
    this.closeReused = false;
  }

  /** The requests whose target or body, as received or form-decoded, holds the text. */
  seen(text) {
    return this.requests.filter((request) => request.holds(text));
  }

  async #receive(req, res) {
    const socket = req.socket;
    const onConnection = ++socket.fakeRequests;
    const chunks = [];
    try {
      for await (const chunk of req) chunks.push(chunk);
    } catch {
      return; // the client went away in the middle of its request: nothing was received
    }
    const request = new Received(req, Buffer.concat(chunks), socket.fakeId, onConnection);
    this.requests.push(request);
    if (this.closeReused && onConnection > 1) {
      request.fate = 'close';
      socket.destroy();
      return;
    }
    const rule = this.#rules.find((r) => r.left > 0 && r.matches(request));
    if (rule) rule.left -= 1;
    await this.#act(rule?.behaviour ?? { kind: 'answer' }, request, res);
  }

  async #act(behaviour, request, res) {
    request.fate = behaviour.kind;
    switch (behaviour.kind) {
      case 'stall':
        return;
      case 'reset':
        res.socket.resetAndDestroy();
        return;
      case 'close':
        res.socket.destroy();
        return;
      case 'half':
        res.socket.end('HTTP/1.1 202 Accepted\r\nContent-Type: appli');
        return;
      case 'late':
        await new Promise((resolve) => setTimeout(resolve, typeof behaviour.ms === 'function' ? behaviour.ms() : behaviour.ms).unref());
        break;
      default:
        break;
    }
    request.answer = behaviour.answer ?? this.answer(request);
    const { status, headers, body } = request.answer;
    const bytes = Buffer.from(body ?? '');
    res.writeHead(status, status === 204 ? headers : { ...headers, 'Content-Length': bytes.length });
    res.end(bytes);
  }
}

/** One request as it came in. */
export class Received {
  constructor(req, body, connection, onConnection) {
    this.at = Date.now();
    this.method = req.method;
    this.target = req.url;
    const url = new URL(req.url, 'http://fake');
    this.path = url.pathname;
    this.query = url.searchParams;
    this.headers = req.headers;
    this.rawHeaders = req.rawHeaders;
    this.body = body;
    this.connection = connection;
    this.onConnection = onConnection;
    /** What became of it: answer, late, stall, reset, close, half. */
    this.fate = undefined;
    /** The answer that was given, when one was: { status, headers, body }. */
    this.answer = undefined;
  }

  get text() {
    return this.body.toString('utf8');
  }

  get json() {
    return JSON.parse(this.text);
  }

  get form() {
    return new URLSearchParams(this.text);
  }

  holds(text) {
    return this.target.includes(text) || this.text.includes(text) || this.text.includes(encodeURIComponent(text));
  }
}

/** A JSON answer. */
export function json(status, value, headers = {}) {
  return { status, headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(value) };
}
