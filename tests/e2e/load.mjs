// What a Postern under attack is asked beside it: how long a mail takes, how much memory and time the process uses.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import net from 'node:net';

export const percentile = (values, p) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))];
export const median = (values) => percentile(values, 0.5);

/** Milliseconds of so many mails, some at a time. */
export async function latencies(postern, n, { lanes = 4, person } = {}) {
  const ada = person ?? (await postern.person());
  const body = JSON.stringify({ personalizations: [{ to: [{ email: ada.email }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] });
  const took = [];
  const lane = async () => {
    while (took.length < n) {
      const began = performance.now();
      const answer = await postern.raw('POST', '/v3/mail/send', body, { key: 'billing' });
      took.push(performance.now() - began);
      assert.equal(answer.status, 202, answer.text);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return took;
}

/** MiB; what: VmRSS, VmHWM, VmSize. */
export async function memoryMib(postern, what = 'VmRSS') {
  return Number(new RegExp(`^${what}:\\s+(\\d+) kB`, 'm').exec(await readFile(`/proc/${postern.pid}/status`, 'utf8'))[1]) / 1024;
}

/** Microseconds that the loop (the process's first thread) has been running: what the machine does beside it is not in it. */
export async function loopCpuUs(postern) {
  return Number((await readFile(`/proc/${postern.pid}/schedstat`, 'utf8')).split(' ')[0]) / 1000;
}

/** Milliseconds in which the process could have run, and others had the processor. */
export async function stoodMs(postern) {
  return Number((await readFile(`/proc/${postern.pid}/schedstat`, 'utf8')).split(' ')[1]) / 1e6;
}

/**
 * The least microseconds of the loop for one of a piece of work, of several times: what others do to the caches only adds.
 * enough: for as little as this it is tried up to ten times as often.
 */
export async function leastCpuUs(postern, times, work, enough = Infinity) {
  let least = Infinity;
  for (let i = 0; i < times || (least > enough && i < 10 * times); i++) {
    const before = await loopCpuUs(postern);
    const n = await work();
    least = Math.min(least, ((await loopCpuUs(postern)) - before) / n);
  }
  return least;
}

/** A raw client: what it received so far, and whether it was closed. */
export class Raw {
  text = '';
  closed = false;
  constructor(port) {
    this.socket = net.connect(port, '127.0.0.1').setEncoding('latin1');
    this.socket.on('data', (text) => (this.text += text)).on('error', () => {}).on('close', () => (this.closed = true));
    this.connected = new Promise((resolve) => this.socket.once('connect', resolve).once('close', resolve));
  }
  get status() {
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.text)?.[1]);
  }
  get body() {
    return JSON.parse(this.text.slice(this.text.indexOf('\r\n\r\n') + 4));
  }
  write(bytes) {
    if (!this.closed) this.socket.write(bytes);
  }
  /** Write, and wait until the kernel has it or the other side is gone. */
  async push(bytes) {
    if (this.closed) return;
    await new Promise((resolve) => {
      this.socket.once('close', resolve);
      this.socket.write(bytes, () => {
        this.socket.off('close', resolve);
        resolve();
      });
    });
  }
  end() {
    this.socket.destroy();
  }
}

export async function withClients(postern, n, use) {
  const clients = Array.from({ length: n }, () => new Raw(postern.port));
  try {
    await Promise.all(clients.map((one) => one.connected));
    return await use(clients);
  } finally {
    for (const one of clients) one.end();
  }
}
