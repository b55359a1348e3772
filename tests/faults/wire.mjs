// Requests as bytes, many on one connection, and the answers as they came: for tests that send tens of thousands.
import { once } from 'node:events';
import net from 'node:net';
import { KEYS } from '../e2e/harness.mjs';

/** Postern reads this many ahead (LIMIT_HTTP_PIPELINE is 32). */
const AHEAD = 16;

/** The bytes of a POST in the dialect that the key speaks; the body is a string or bytes. */
export function request(key, body, { headers = {}, target } = {}) {
  const { account, secret } = KEYS[key];
  const bytes = Buffer.from(body);
  const lines = Object.entries({
    Host: 'p',
    Authorization: account ? `Basic ${Buffer.from(`${account}:${secret}`).toString('base64')}` : `Bearer ${secret}`,
    'Content-Type': account ? 'application/x-www-form-urlencoded' : 'application/json',
    'Content-Length': bytes.length,
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  const path = target ?? (account ? `/2010-04-01/Accounts/${account}/Messages.json` : '/v3/mail/send');
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1'), bytes]);
}

/** Send all, over so many connections; answers in the order of the requests: { status, lines, headers, body, closed }. */
export async function exchange(port, requests, { lanes = 4 } = {}) {
  const answers = new Array(requests.length);
  let next = 0;
  const lane = async () => {
    let connection;
    while (next < requests.length) {
      const from = next;
      const to = (next = Math.min(requests.length, next + AHEAD));
      for (let at = from; at < to; ) {
        if (!connection || connection.over) connection = await new Connection(port).open();
        connection.socket.write(Buffer.concat(requests.slice(at, to)));
        const first = at;
        for (let answer; at < to && (answer = await connection.answer()); at++) answers[at] = answer;
        // What came after an answer that closed the connection was not read; it goes again.
        if (at === first) answers[at++] = { status: 0, lines: [], headers: {}, body: '' };
      }
    }
    connection?.socket.destroy();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return answers;
}

class Connection {
  over = false;
  #bytes = Buffer.alloc(0);
  #wake = () => {};
  constructor(port) {
    this.socket = net.connect(port, '127.0.0.1').setNoDelay();
    const end = () => {
      this.over = true;
      this.#wake();
    };
    this.socket.on('data', (bytes) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
      this.#wake();
    });
    this.socket.on('error', end).on('close', end);
  }
  async open() {
    await once(this.socket, 'connect');
    return this;
  }
  /** The next answer; undefined when the connection ended without one. */
  async answer() {
    for (;;) {
      const answer = this.#parse();
      if (answer || this.over) return answer;
      await new Promise((resolve) => (this.#wake = resolve));
    }
  }
  #parse() {
    const end = this.#bytes.indexOf('\r\n\r\n');
    if (end === -1) return undefined;
    const [first, ...lines] = this.#bytes.subarray(0, end).toString('latin1').split('\r\n');
    const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]));
    const whole = end + 4 + Number(headers['content-length'] ?? 0);
    if (this.#bytes.length < whole) return undefined;
    const body = this.#bytes.subarray(end + 4, whole).toString('utf8');
    this.#bytes = this.#bytes.subarray(whole);
    if (headers.connection === 'close') this.over = true;
    return { status: Number(first.split(' ')[1]), lines, headers, body };
  }
}
