// A real redis-server for a test: on a free port, in a directory of its own, started again on the same port as often
// as a test likes; and the few bytes of protocol that a test needs to speak to it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort, waitFor } from './harness.mjs';

export class RedisServer {
  #child;
  #args;
  #log = '';

  /** args: further options of redis-server; saves: keep the data on the disk over a stop. */
  static async start({ args = [], saves = false, password, port } = {}) {
    const redis = new RedisServer();
    redis.port = port ?? (await freePort());
    redis.password = password;
    redis.dir = await mkdtemp(path.join(tmpdir(), 'postern-redis-'));
    redis.#args = ['--bind', '127.0.0.1', '--port', String(redis.port), '--dir', redis.dir, '--save', saves ? '3600 1' : '', '--appendonly', 'no', ...args];
    await redis.launch();
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  async launch() {
    this.#child = spawn('redis-server', this.#args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream.setEncoding('utf8').on('data', (text) => (this.#log += text));
    this.ended = once(this.#child, 'exit');
    await waitFor(`redis-server on ${this.port}\n${this.#log}`, () => this.command('PING').then((pong) => pong === 'PONG', () => false), { every: 10 });
  }

  signal(name) {
    this.#child.kill(name);
  }

  async kill() {
    this.#child.kill('SIGKILL');
    await this.ended;
  }

  async stop() {
    this.#child.kill('SIGCONT');
    await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** One command on a connection of its own: its reply (an error reply is thrown). */
  async command(...args) {
    const socket = net.connect(this.port, '127.0.0.1').setNoDelay();
    const wire = (list) => `*${list.length}\r\n${list.map((one) => `$${Buffer.byteLength(String(one))}\r\n${one}\r\n`).join('')}`;
    const commands = [...(this.password ? [['AUTH', this.password]] : []), args];
    let text = '';
    const replies = [];
    try {
      socket.write(commands.map(wire).join(''));
      for await (const chunk of socket) {
        text += chunk.toString('latin1');
        for (let reply = parse(text); reply; reply = parse(text)) {
          replies.push(reply.value);
          text = text.slice(reply.bytes);
        }
        if (replies.length === commands.length) break;
      }
    } finally {
      socket.destroy();
    }
    assert.equal(replies.length, commands.length, `redis-server closed the connection on ${args[0]}`);
    const last = replies.at(-1);
    if (last instanceof Error) throw last;
    return last;
  }

  /** A line of INFO. */
  async info(name) {
    return new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(await this.command('INFO', 'all'))?.[1];
  }
}

/** The first reply of the text: { value, bytes }, or undefined when it is not whole. */
function parse(text) {
  const end = text.indexOf('\r\n');
  if (end === -1) return undefined;
  const head = text.slice(1, end);
  let bytes = end + 2;
  if (text[0] === '+') return { value: head, bytes };
  if (text[0] === '-') return { value: new Error(head), bytes };
  if (text[0] === ':') return { value: Number(head), bytes };
  if (head === '-1') return { value: null, bytes };
  if (text[0] === '$') return text.length >= bytes + Number(head) + 2 ? { value: text.slice(bytes, bytes + Number(head)), bytes: bytes + Number(head) + 2 } : undefined;
  const list = [];
  for (let i = 0; i < Number(head); i++) {
    const one = parse(text.slice(bytes));
    if (!one) return undefined;
    list.push(one.value);
    bytes += one.bytes;
  }
  return { value: list, bytes };
}
