// A client that speaks SMTP one byte string at a time, for what no library would send: it writes what it is given and
// hands back each reply whole, with the pieces in which it arrived.  Beside it the certificate that tests use.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { promisify } from 'node:util';

const REPLY_MS = 10_000;

export class SmtpClient {
  /** Everything that came. */
  text = '';
  /** Each piece as it came from the socket. */
  pieces = [];
  closed = false;
  #socket;
  #read = 0;
  #wake = () => {};

  /** Connected, before the greeting; tls: options of tls.connect for implicit TLS; first: bytes before the greeting. */
  static async open(port, { tls: secure, first, host = '127.0.0.1', from } = {}) {
    const client = new SmtpClient();
    const socket = secure ? tls.connect({ port, host, servername: 'localhost', ...secure }) : net.connect({ port, host, localAddress: from });
    client.#listen(socket);
    await once(socket, secure ? 'secureConnect' : 'connect');
    if (first) socket.write(first);
    return client;
  }

  /** Greeted, EHLO said. */
  static async start(port, options = {}) {
    const client = await SmtpClient.open(port, options);
    client.greeting = await client.reply();
    assert.equal(client.greeting.code, 220, client.greeting.text);
    client.features = await client.command(`EHLO ${options.name ?? 'client.example'}`);
    return client;
  }

  #listen(socket) {
    this.#socket = socket.setNoDelay();
    socket.on('data', (bytes) => {
      this.pieces.push(bytes.toString('latin1'));
      this.text += this.pieces.at(-1);
      this.#wake();
    });
    socket.on('error', (error) => (this.error = error));
    socket.on('close', () => {
      if (socket !== this.#socket) return;
      this.closed = true;
      this.#wake();
    });
  }

  /** Does EHLO's answer offer this word? */
  offers(word) {
    return this.features.lines.some((line) => line === word || line.startsWith(`${word} `));
  }

  write(bytes) {
    this.#socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Wait until the kernel has it, or the other side is gone. */
  async push(bytes) {
    if (this.closed) return;
    await new Promise((resolve) => {
      this.#socket.once('close', resolve);
      this.#socket.write(bytes, () => resolve(this.#socket.off('close', resolve)));
    });
  }

  async #wait(what, ready) {
    const end = performance.now() + REPLY_MS;
    while (!ready()) {
      const left = end - performance.now();
      assert.ok(left > 0, `waited ${REPLY_MS} ms in vain for: ${what}; so far: ${JSON.stringify(this.text.slice(-500))}`);
      let timer;
      await new Promise((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }

  /** The next reply: { code, enhanced, lines, text }; undefined when the connection ends before it is whole. */
  async reply() {
    const whole = () => /^(?:\d{3}-[^\n]*\r\n)*\d{3}(?: [^\n]*)?\r\n/.exec(this.text.slice(this.#read));
    await this.#wait('a reply', () => whole() || this.closed);
    const [text] = whole() ?? [];
    if (text === undefined) return undefined;
    this.#read += text.length;
    const lines = text.trimEnd().split('\r\n');
    return { code: Number(text.slice(0, 3)), enhanced: /^\d{3}[ -](\d\.\d{1,3}\.\d{1,3})/.exec(text)?.[1], lines: lines.map((line) => line.slice(4)), text: lines.join('\n') };
  }

  async command(line) {
    this.write(Buffer.from(`${line}\r\n`, 'utf8'));
    return this.reply();
  }

  /** The same, and the code must be that. */
  async expect(code, line) {
    const reply = await this.command(line);
    assert.equal(reply?.code, code, `${line}: ${reply?.text ?? 'closed'}`);
    return reply;
  }

  /** Upgrade, and say EHLO again. */
  async starttls(options = {}, { behind = '' } = {}) {
    this.write(`STARTTLS\r\n${behind}`);
    const reply = await this.reply();
    if (reply?.code !== 220) return reply;
    const plain = this.#socket;
    plain.removeAllListeners('data');
    const secured = tls.connect({ socket: plain, servername: 'localhost', ...options });
    this.#listen(secured);
    await once(secured, 'secureConnect');
    this.protocol = secured.getProtocol();
    this.features = await this.command('EHLO client.example');
    return reply;
  }

  /** The certificate that the server showed. */
  get peer() {
    return this.#socket.getPeerX509Certificate();
  }

  /** AUTH PLAIN with a key of the configuration. */
  login({ account, login, secret }, user = login ?? account ?? 'apikey') {
    return this.command(`AUTH PLAIN ${Buffer.from(`\0${user}\0${secret}`).toString('base64')}`);
  }

  /** A transaction, command by command; content as it is to stand between 354 and the last line of one dot. */
  async send({ from = 'news@shop.example', to, content, parameters = '' }) {
    const result = { mail: await this.command(`MAIL FROM:<${from}>${parameters && ` ${parameters}`}`), rcpts: [] };
    for (const one of [to].flat()) result.rcpts.push(await this.command(`RCPT TO:${one.includes('<') ? one : `<${one}>`}`));
    result.data = await this.command('DATA');
    if (result.data?.code === 354) {
      const bytes = Buffer.isBuffer(content) ? content : Buffer.from(content, 'utf8');
      await this.push(Buffer.concat([stuffed(bytes), Buffer.from('.\r\n')]));
      result.end = await this.reply();
    }
    return result;
  }

  async quit() {
    const reply = await this.command('QUIT');
    await this.gone();
    return reply;
  }

  /** Until the other side has closed. */
  gone() {
    return this.#wait('the end of the connection', () => this.closed);
  }

  end() {
    this.#socket.destroy();
  }
}

/** Content as it goes over the wire: a dot before each line that begins with one; CRLF at its end. */
export function stuffed(content) {
  const parts = [];
  let from = 0;
  for (let start = 0; start !== 1 && start < content.length; start = content.indexOf('\r\n', start) + 2) {
    if (content[start] !== 0x2e) continue;
    parts.push(content.subarray(from, start), Buffer.from('.'));
    from = start;
  }
  parts.push(content.subarray(from));
  if (!content.subarray(-2).equals(Buffer.from('\r\n'))) parts.push(Buffer.from('\r\n'));
  return Buffer.concat(parts);
}

/** A self-signed certificate for localhost and 127.0.0.1: { key, cert } in PEM, their files, and remove(). */
export async function certificate({ name = 'localhost', days = 2 } = {}) {
  const dir = await mkdtemp(path.join(tmpdir(), 'postern-cert-'));
  const files = { keyFile: path.join(dir, 'key.pem'), certFile: path.join(dir, 'cert.pem') };
  await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', String(days),
    '-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name},IP:127.0.0.1`, '-keyout', files.keyFile, '-out', files.certFile]);
  const [key, cert] = await Promise.all([files.keyFile, files.certFile].map((file) => readFile(file, 'utf8')));
  return { key, cert, ...files, remove: () => rm(dir, { recursive: true, force: true }) };
}
