// A fake SMTP relay (RFC 5321) on a free port of 127.0.0.1: it keeps every byte that came, each transaction with its
// commands and its content as on the wire and unstuffed, counts what a strict or a sloppy receiver would read in
// another way, and can be told to misbehave at every point of the dialog.  It knows nothing of Postern.  The one idea
// is the fake HTTP server's: what arrived is recorded before anything is answered.
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';

/** Where a rule can strike.  CONTENT: between 354 and the end of the data, after `bytes` of it. */
const POINTS = ['CONNECT', 'EHLO', 'HELO', 'STARTTLS', 'HANDSHAKE', 'AUTH', 'MAIL', 'RCPT', 'DATA', 'CONTENT', 'END', 'RSET', 'NOOP', 'QUIT'];

/** What a relay can be told to do instead of answering properly. */
export const relaySays = {
  /** Exactly these lines, "550 5.1.1 No such user"; of several all but the last have a '-' behind the code. */
  reply: (...lines) => ({ kind: 'reply', lines }),
  /** The lines, then close. */
  closing: (...lines) => ({ kind: 'closing', lines }),
  /** The proper answer, or the lines, so many milliseconds later (a number, or a function that draws one). */
  late: (ms, ...lines) => ({ kind: 'late', ms, lines: lines.length ? lines : undefined }),
  /** The proper answer, or the lines, byte for byte with a pause between. */
  drip: (ms, ...lines) => ({ kind: 'drip', ms, lines: lines.length ? lines : undefined }),
  /** Never answer; the connection stays open. */
  stall: () => ({ kind: 'stall' }),
  /** Close without an answer (FIN). */
  close: () => ({ kind: 'close' }),
  /** Reset the connection (RST). */
  reset: () => ({ kind: 'reset' }),
  /** Half of an answer, then close. */
  half: (text = '250 2.0') => ({ kind: 'half', text }),
  /** These bytes, whatever they are, and go on. */
  bytes: (text) => ({ kind: 'bytes', text }),
};

/** Extensions that are offered; false or undefined: not. */
const OFFERS = { PIPELINING: true, SIZE: 31_457_280, '8BITMIME': true, SMTPUTF8: true, ENHANCEDSTATUSCODES: true, DSN: true };

/** Parameters of MAIL and RCPT, and the extension each belongs to. */
const PARAMETERS = { SIZE: 'SIZE', BODY: '8BITMIME', SMTPUTF8: 'SMTPUTF8', RET: 'DSN', ENVID: 'DSN', NOTIFY: 'DSN', ORCPT: 'DSN' };

const CR = 13, LF = 10, DOT = 46;

export class FakeRelay {
  /** Connections in the order in which they came. */
  sessions = [];
  /** Transactions in the order in which their DATA was answered with 354. */
  transactions = [];
  /** Of one connection; then the next MAIL hears 421 and the connection is closed. */
  messagesPerConnection = Infinity;
  /** Close after the reply to a message, as servers do that dislike idle clients; seen by the client's next command. */
  closeAfterMessage = false;
  /** Postern's clock moves this one; nothing here depends on it. */
  now = () => Date.now();
  #rules = [];
  #server;
  #port = 0;
  #secure;
  #ids = 0;

  /**
   * offers: extensions by name, over the usual ones.  tls: { key, cert } in PEM; implicit: TLS from the first byte,
   * else STARTTLS is offered.  auth: { user, secret }: MAIL needs a login; offered in clear only without tls.
   * lenient: end the data where sloppy receivers do, at a line of one dot with any line ends.
   */
  constructor({ offers = {}, tls: certificate, implicit = false, auth, lenient = false, host = 'relay.example' } = {}) {
    this.offers = { ...OFFERS, ...offers };
    this.implicit = implicit;
    this.auth = auth;
    this.lenient = lenient;
    this.host = host;
    this.#secure = certificate && tls.createSecureContext(certificate);
  }

  /** Another certificate from the next handshake on. */
  setCertificate(certificate) {
    this.#secure = tls.createSecureContext(certificate);
  }

  get offersTls() {
    return this.#secure !== undefined && !this.implicit;
  }

  /** Listen, on the same port as before when there was one. */
  async start() {
    this.#server = net.createServer((socket) => this.sessions.push(new Session(this, socket, this.sessions.length + 1)));
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
    for (const session of this.sessions) session.drop();
    await closed;
    this.#server = undefined;
  }

  get port() {
    return this.#port;
  }

  get url() {
    return `${this.implicit ? 'smtps' : 'smtp'}://127.0.0.1:${this.#port}`;
  }

  /** How many connections were ever opened to this relay, and how many are open now. */
  get connections() {
    return this.sessions.length;
  }

  get open() {
    return this.sessions.filter((session) => !session.closed).length;
  }

  /**
   * Misbehave at a point where the text (in the command, the content or a recipient) or the predicate over
   * (session, text) matches, so many times; without a number: until forget().  Earlier rules win.
   * bytes: of a CONTENT rule.
   */
  when(point, behaviour, { match = '', times = Infinity, bytes = 1 } = {}) {
    if (!POINTS.includes(point)) throw new Error(`no such point: ${point}`);
    const matches = typeof match === 'function' ? match : (session, text) => text.includes(match);
    this.#rules.push({ point, behaviour, matches, left: times, bytes });
    return this;
  }

  /** Behave again. */
  forget() {
    this.#rules = [];
    this.messagesPerConnection = Infinity;
    this.closeAfterMessage = false;
  }

  /** Transactions whose content came whole and which name this recipient, or hold this text. */
  seen(text) {
    return this.transactions.filter((one) => one.ended && one.holds(text));
  }

  /** Those of them that were answered with 2xx. */
  accepted(text = '') {
    return this.seen(text).filter((one) => one.code >= 200 && one.code < 300);
  }

  /** Over all commands and contents: bytes that no SMTP client may send. */
  get illegal() {
    const sum = { bareCr: 0, bareLf: 0, nul: 0, unstuffed: 0 };
    for (const { illegal } of [...this.sessions, ...this.transactions]) for (const kind of Object.keys(illegal)) sum[kind] += illegal[kind];
    return sum;
  }

  /** What clients did that the protocol or what was offered forbids, as sentences. */
  get violations() {
    return this.sessions.flatMap((session) => session.violations);
  }

  rule(point, session, text) {
    const rule = this.#rules.find((one) => one.left > 0 && one.point === point && one.matches(session, text));
    if (rule) rule.left -= 1;
    return rule;
  }

  /** The CONTENT rule that waits for this transaction, if there is one; it is not used up yet. */
  contentRule(session) {
    const text = session.transaction.recipients.map((one) => one.path).join(' ');
    return this.#rules.find((one) => one.left > 0 && one.point === 'CONTENT' && one.matches(session, text));
  }

  get secureContext() {
    return this.#secure;
  }

  nextId() {
    this.#ids += 1;
    return `R${String(this.#ids).padStart(8, '0')}`;
  }
}

/** Bytes that a receiver could read in two ways: bare CR, bare LF, NUL. */
function illegalBytes(bytes) {
  const found = { bareCr: 0, bareLf: 0, nul: 0 };
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === 0) found.nul += 1;
    else if (bytes[i] === CR && bytes[i + 1] !== LF) found.bareCr += 1;
    else if (bytes[i] === LF && bytes[i - 1] !== CR) found.bareLf += 1;
  }
  return found;
}

/** From MAIL to the answer to its content. */
class Transaction {
  /** { path, parameters, text }, text being what stood behind the verb. */
  mail;
  /** The same, with `code`: what the relay answered; refused ones too. */
  recipients = [];
  /** As on the wire, from behind 354 to the line of one dot and with it. */
  wire = Buffer.alloc(0);
  /** Without the last line, dots unstuffed. */
  content = Buffer.alloc(0);
  ended = false;
  /** Of the answer at the end; undefined: none was given. */
  code;
  id;
  illegal = { bareCr: 0, bareLf: 0, nul: 0, unstuffed: 0 };
  /** Of the content, without CRLF. */
  longestLine = 0;

  constructor(session, mail) {
    this.session = session;
    this.at = Date.now();
    this.client = session.client;
    this.user = session.user;
    this.isTls = session.isTls;
    this.mail = mail;
  }

  /** The recipients that were accepted. */
  get to() {
    return this.recipients.filter((one) => one.code < 300).map((one) => one.path);
  }

  get text() {
    return this.content.toString('utf8');
  }

  holds(text) {
    return this.recipients.some((one) => one.path.includes(text)) || this.content.includes(text);
  }

  /** A header field by name, unfolded; undefined when there is none. */
  field(name) {
    return this.fields(name)[0];
  }

  fields(name) {
    const head = this.text.split(/\r\n\r\n/, 1)[0].replaceAll(/\r\n[ \t]+/g, ' ');
    return head.split('\r\n').filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`)).map((line) => line.slice(name.length + 1).trim());
  }

  finish(wire, terminator) {
    this.ended = true;
    this.wire = wire;
    const lines = wire.subarray(0, wire.length - terminator);
    Object.assign(this.illegal, illegalBytes(wire));
    this.content = this.#unstuff(lines);
  }

  #unstuff(bytes) {
    const parts = [];
    let from = 0;
    for (let start = 0; start < bytes.length; ) {
      const end = bytes.indexOf('\r\n', start);
      const next = end === -1 ? bytes.length : end + 2;
      if (bytes[start] === DOT) {
        if (bytes[start + 1] !== DOT) this.illegal.unstuffed += 1;
        parts.push(bytes.subarray(from, start));
        from = start + 1;
      }
      this.longestLine = Math.max(this.longestLine, (end === -1 ? next : end) - start);
      start = next;
    }
    return Buffer.concat([...parts, bytes.subarray(from)]);
  }
}

/** One connection. */
class Session {
  /** Command lines in order, without CRLF; what AUTH asked for in lines of its own too. */
  commands = [];
  /** What was answered, in order, each reply as one string. */
  replies = [];
  /** Everything that came, after TLS was taken off. */
  input = [];
  /** How many commands came before the reply to the one before them had left. */
  pipelined = 0;
  violations = [];
  illegal = { bareCr: 0, bareLf: 0, nul: 0 };
  closed = false;
  isTls = false;
  client;
  user;
  transaction;
  messages = 0;
  #relay;
  #socket;
  #buffer = Buffer.alloc(0);
  #content; // pieces, while the data comes
  #asks; // what the next line answers: a step of AUTH
  #greeted = false;
  #busy = false;
  #tcp;

  constructor(relay, socket, number) {
    this.#relay = relay;
    this.#tcp = socket;
    this.number = number;
    this.closing = new Promise((resolve) => socket.once('close', resolve)).then(() => (this.closed = true));
    socket.setNoDelay();
    if (relay.implicit) this.#handshake(socket, () => this.#greet());
    else {
      this.#listen(socket);
      this.#greet();
    }
  }

  drop() {
    this.#tcp.destroy();
  }

  get text() {
    return Buffer.concat(this.input).toString('latin1');
  }

  #listen(socket) {
    this.#socket = socket;
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      this.input.push(bytes);
      if (!this.#greeted) this.violations.push('spoke before the greeting');
      this.#buffer = this.#buffer.length ? Buffer.concat([this.#buffer, bytes]) : bytes;
      this.#work();
    });
  }

  #handshake(socket, then) {
    const rule = this.#relay.rule('HANDSHAKE', this, '');
    this.#socket = socket;
    socket.on('error', () => {});
    if (rule) return this.#misbehave(rule.behaviour, '');
    const secured = new tls.TLSSocket(socket, { isServer: true, secureContext: this.#relay.secureContext });
    secured.once('secure', () => {
      this.isTls = true;
      this.cipher = secured.getCipher()?.name;
      this.protocol = secured.getProtocol();
      then();
    });
    this.#listen(secured);
    return undefined;
  }

  async #greet() {
    await this.#answer('CONNECT', '', `220 ${this.#relay.host} ESMTP`);
    this.#greeted = true;
    this.#work();
  }

  async #work() {
    if (this.#busy || !this.#greeted) return;
    this.#busy = true;
    while (!this.closed && this.#buffer.length > 0) if (!(await (this.#content ? this.#takeContent() : this.#takeLine()))) break;
    this.#busy = false;
  }

  async #takeLine() {
    const end = this.#buffer.indexOf('\r\n');
    if (end === -1) return false;
    const line = this.#buffer.subarray(0, end);
    this.#buffer = this.#buffer.subarray(end + 2);
    const illegal = illegalBytes(line);
    for (const kind of Object.keys(illegal)) this.illegal[kind] += illegal[kind];
    const text = line.toString('utf8');
    this.commands.push(text);
    const asks = this.#asks;
    this.#asks = undefined;
    await (asks ? asks(text) : this.#command(text));
    if (this.#buffer.length > 0 && !this.#content) this.pipelined += 1;
    return true;
  }

  #command(text) {
    const [, verb, rest] = /^(\S*) ?(.*)$/s.exec(text);
    const does = { EHLO: this.#ehlo, HELO: this.#helo, STARTTLS: this.#starttls, AUTH: this.#login, MAIL: this.#mail, RCPT: this.#rcpt, DATA: this.#data, RSET: this.#rset, NOOP: this.#noop, QUIT: this.#quit }[verb.toUpperCase()];
    return does ? does.call(this, rest) : this.#write('502 5.5.1 Command not recognized');
  }

  /** Answer with the lines, or as a rule says; returns the code that was answered, undefined when none was. */
  async #answer(point, text, ...lines) {
    const rule = this.#relay.rule(point, this, text);
    const before = this.replies.length;
    if (rule) await this.#misbehave(rule.behaviour, lines);
    else this.#write(...lines);
    return this.replies.length > before ? Number(this.replies.at(-1).slice(0, 3)) : undefined;
  }

  async #misbehave(behaviour, proper) {
    const lines = behaviour.lines ?? proper;
    switch (behaviour.kind) {
      case 'reply':
        return this.#write(...lines);
      case 'closing':
        this.#write(...lines);
        return this.#end();
      case 'late':
        await pause(typeof behaviour.ms === 'function' ? behaviour.ms() : behaviour.ms);
        return this.#write(...lines);
      case 'drip':
        for (const byte of `${lines.join('\r\n')}\r\n`) {
          this.#socket.write(byte);
          await pause(behaviour.ms);
        }
        this.replies.push(lines.join('\r\n'));
        return undefined;
      case 'stall':
        return new Promise(() => {});
      case 'close':
        return this.#end();
      case 'half':
        this.#socket.write(behaviour.text);
        return this.#end();
      case 'bytes':
        this.replies.push(behaviour.text);
        return this.#socket.write(behaviour.text);
      default:
        this.#buffer = Buffer.alloc(0);
        this.closed = true;
        return this.#tcp.resetAndDestroy();
    }
  }

  #write(...lines) {
    if (this.closed || this.#socket.writableEnded) return;
    const text = lines.join('\r\n');
    this.replies.push(text);
    this.#socket.write(`${text}\r\n`);
  }

  #end() {
    this.#buffer = Buffer.alloc(0);
    this.closed = true;
    this.#socket.end();
  }

  // --- commands -----------------------------------------------------------------------------------------------

  async #ehlo(name) {
    const { offers, auth, host, offersTls } = this.#relay;
    const words = Object.entries(offers).filter(([, on]) => on).map(([word, value]) => (value === true ? word : `${word} ${value}`));
    if (offersTls && !this.isTls) words.push('STARTTLS');
    if (auth && (this.isTls || !offersTls)) words.push('AUTH PLAIN LOGIN');
    const lines = [host, ...words];
    this.client = name;
    this.transaction = undefined;
    await this.#answer('EHLO', name, ...lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}`));
  }

  async #helo(name) {
    this.client = name;
    await this.#answer('HELO', name, `250 ${this.#relay.host}`);
  }

  async #starttls() {
    if (!this.#relay.offersTls || this.isTls) return this.#write('502 5.5.1 STARTTLS is not offered');
    if (this.#buffer.length > 0) this.violations.push('commands behind STARTTLS');
    const socket = this.#socket;
    if ((await this.#answer('STARTTLS', '', '220 2.0.0 Ready to start TLS')) !== 220) return undefined;
    this.#buffer = Buffer.alloc(0);
    this.client = undefined;
    socket.removeAllListeners('data');
    return this.#handshake(socket, () => {});
  }

  async #login(rest) {
    const [mechanism, initial] = rest.split(' ');
    if (!this.#relay.auth) return this.#write('502 5.5.1 AUTH is not offered');
    const decode = (text) => Buffer.from(text, 'base64').toString('utf8');
    const plain = (text) => this.#verify(...decode(text).split('\0').slice(1));
    if (mechanism === 'PLAIN' && initial) return plain(initial);
    if (mechanism === 'PLAIN') {
      this.#asks = plain;
      return this.#write('334 ');
    }
    if (mechanism !== 'LOGIN') return this.#write('504 5.5.4 Unrecognized authentication type');
    const secret = (user) => {
      this.#asks = (text) => this.#verify(decode(user), decode(text));
      this.#write('334 UGFzc3dvcmQ6');
    };
    if (initial) return secret(initial);
    this.#asks = secret;
    return this.#write('334 VXNlcm5hbWU6');
  }

  async #verify(user, secret) {
    const fits = user === this.#relay.auth.user && secret === this.#relay.auth.secret;
    const lines = fits ? ['235 2.7.0 Authentication successful'] : ['535 5.7.8 Authentication credentials invalid'];
    if ((await this.#answer('AUTH', user ?? '', ...lines)) === 235) this.user = user;
  }

  async #mail(text) {
    const mail = argument(/^FROM:/i, text);
    if (this.#relay.auth && this.user === undefined) return this.#write('530 5.7.0 Authentication required');
    if (!this.client || !mail || this.transaction) {
      this.violations.push(`MAIL ${text}: out of order or not to be read`);
      return this.#write('503 5.5.1 Bad sequence or syntax');
    }
    if (this.messages >= this.#relay.messagesPerConnection) {
      this.#write('421 4.7.0 Too many messages in this connection');
      return this.#end();
    }
    this.#check(mail, text);
    if ((await this.#answer('MAIL', text, '250 2.1.0 Sender address accepted')) === 250) this.transaction = new Transaction(this, mail);
    return undefined;
  }

  /** Only what was offered may be used. */
  #check({ path, parameters }, text) {
    for (const name of Object.keys(parameters))
      if (!this.#relay.offers[PARAMETERS[name]]) this.violations.push(`${text}: ${name} was not offered`);
    if (/[^\x20-\x7e]/.test(path) && !this.transaction?.mail.parameters.SMTPUTF8 && !parameters.SMTPUTF8) this.violations.push(`${text}: not ASCII`);
  }

  async #rcpt(text) {
    const recipient = argument(/^TO:/i, text);
    if (!this.transaction) return this.#write('503 5.5.1 MAIL first');
    if (!recipient) return this.#write('501 5.1.3 Bad destination mailbox address syntax');
    this.#check(recipient, text);
    this.transaction.recipients.push(recipient);
    recipient.code = await this.#answer('RCPT', text, '250 2.1.5 Recipient address accepted');
    return undefined;
  }

  async #data() {
    if (!this.transaction) return this.#write('503 5.5.1 MAIL first');
    if (this.transaction.to.length === 0) return this.#write('554 5.5.1 No valid recipients');
    if (this.#buffer.length > 0) this.violations.push('content before 354');
    if ((await this.#answer('DATA', '', '354 Continue')) !== 354) return undefined;
    this.#relay.transactions.push(this.transaction);
    this.#content = { pieces: [], bytes: 0, tail: Buffer.from('\r\n'), rule: this.#relay.contentRule(this) };
    return undefined;
  }

  async #rset() {
    this.transaction = undefined;
    await this.#answer('RSET', '', '250 2.0.0 Ok');
  }

  async #noop() {
    await this.#answer('NOOP', '', '250 2.0.0 Ok');
  }

  async #quit() {
    if (await this.#answer('QUIT', '', '221 2.0.0 Bye')) this.#end();
    return undefined;
  }

  // --- content ------------------------------------------------------------------------------------------------

  async #takeContent() {
    const content = this.#content;
    const piece = this.#buffer;
    const probe = Buffer.concat([content.tail, piece]);
    const from = content.bytes - content.tail.length; // where the probe begins in the content
    content.pieces.push(piece);
    content.bytes += piece.length;
    content.tail = probe.subarray(-4);
    this.#buffer = Buffer.alloc(0);
    if (content.rule && content.bytes >= content.rule.bytes) return this.#breakContent(content);
    // Only CRLF.CRLF ends the data, its first CRLF being that of the line before, or of the 354 (RFC 5321, 4.1.1.4).
    const found = (this.#relay.lenient ? /[\r\n]\.(?:\r\n|\n|\r(?=[^\n]))/ : /\r\n\.\r\n/).exec(probe.toString('latin1'));
    if (!found) return true;
    const end = from + found.index + found[0].length;
    const wire = Buffer.concat(content.pieces);
    this.#content = undefined;
    this.#buffer = wire.subarray(end);
    this.transaction.finish(wire.subarray(0, end), found[0].length - found[0].indexOf('.'));
    await this.#finish();
    return true;
  }

  async #breakContent({ pieces, rule }) {
    rule.left -= 1;
    this.transaction.wire = Buffer.concat(pieces);
    this.#content = undefined;
    if (rule.behaviour.kind === 'stall') this.#socket.pause();
    await this.#misbehave(rule.behaviour, []);
    return false;
  }

  async #finish() {
    const { transaction } = this;
    const text = `${transaction.recipients.map((one) => one.path).join(' ')}\n${transaction.content.toString('latin1')}`;
    this.transaction = undefined;
    this.messages += 1;
    transaction.id = this.#relay.nextId();
    transaction.code = await this.#answer('END', text, `250 2.0.0 Ok: queued as ${transaction.id}`);
    if (this.#relay.closeAfterMessage) this.#end();
  }
}

/** "FROM:<a@b.c> BODY=8BITMIME SIZE=12" taken apart; undefined when it is not to be read. */
function argument(prefix, text) {
  const found = /^(?:FROM|TO):<([^>]*)>((?: \S+)*)$/i.exec(text);
  if (!found || !prefix.test(text)) return undefined;
  const words = found[2].split(' ').filter(Boolean);
  const parameters = Object.fromEntries(words.map((word) => [word.split('=', 1)[0].toUpperCase(), word.includes('=') ? word.slice(word.indexOf('=') + 1) : true]));
  return { path: found[1], parameters, text };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref());
