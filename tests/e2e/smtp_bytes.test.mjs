// What goes in is what comes out: mails real-shaped and broken, through Postern to a relay that keeps the bytes; a DKIM
// signature still holds; and what one server reads as one message and another as two reaches nobody.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KEYS } from './harness.mjs';
import { FROM, NOTHING_ILLEGAL, QUEUED, content, loggedIn, run, startMailHouse, submit } from './smtp.mjs';
import { stuffed } from './smtp_client.mjs';

const MAILS = fileURLToPath(new URL('../connectors/smtp/mails/', import.meta.url));
const CRLF = Buffer.from('\r\n');

const bytes = (...parts) => Buffer.concat(parts.map((one) => (Buffer.isBuffer(one) ? one : Buffer.from(one, 'latin1'))));
const head = (...fields) => [...fields, `From: ${FROM}`, 'Subject: x', '', ''].join('\r\n');
const everyByte = Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1).filter((c) => c !== 10 && c !== 13));

/** Name -> content; each ends with CRLF, as SMTP has it. */
function corpus() {
  const mails = new Map(readdirSync(MAILS).filter((name) => name.endsWith('.eml')).map((name) => [name, readFileSync(MAILS + name)]));
  mails.set('every byte but CR, LF and NUL', bytes(head(), everyByte, CRLF, '.', everyByte, CRLF));
  for (const n of [78, 998, 999, 2000, 65_000]) mails.set(`a line of ${n}`, bytes(head(), 'x'.repeat(n), CRLF, '.'.repeat(n), CRLF, 'end', CRLF));
  mails.set('10,000 lines of dots', bytes(head(), '.\r\n'.repeat(5000), '..\r\n'.repeat(5000)));
  mails.set('a header of 200 KB', bytes(head(...Array.from({ length: 2500 }, (_, i) => `X-Filler-${i}: ${'y'.repeat(60)}`)), 'end', CRLF));
  mails.set('1 MB of 8-bit text', bytes(head('Content-Transfer-Encoding: 8bit'), 'Grüße, ça va? Привет\r\n'.repeat(40_000)));
  return new Map([...mails].map(([name, one]) => [name, one.subarray(-2).equals(CRLF) ? one : bytes(one, CRLF)]));
}

let house, postern, relay;
before(async () => {
  house = await startMailHouse({ relay: { lenient: false } });
  ({ postern, relay } = house);
});
after(() => house.end());

/** Through Postern; what the relay received. */
async function through(client, mail) {
  const { email } = postern.stranger();
  const { end, data } = await client.send({ to: email, content: mail, parameters: 'BODY=8BITMIME' });
  return { reply: (end ?? data)?.text, one: relay.accepted(email)[0] };
}

describe('byte for byte', () => {
  for (const [name, mail] of corpus())
    it(name, async () => {
      const client = await loggedIn(house);
      const { reply, one } = await through(client, mail);
      assert.match(reply, QUEUED);
      assert.ok(one.content.equals(mail), `${one.content.length} bytes instead of ${mail.length}`);
      assert.ok(one.wire.equals(bytes(stuffed(mail), '.\r\n')));
      client.end();
    });

  it('dots across every boundary of a buffer', async () => {
    const client = await loggedIn(house);
    for (const size of [4096, 8192, 16_384, 32_768, 65_536])
      for (let shift = -6; shift <= 2; shift++) {
        const start = head();
        const filler = `${'z'.repeat(70)}\r\n`.repeat(size / 64).slice(0, size + shift - start.length - 2);
        const mail = bytes(start, filler.replace(/[\r\n]+$/, (ends) => 'q'.repeat(ends.length)), '\r\n.\r\n..\r\n.x\r\n');
        const { one } = await through(client, mail);
        assert.ok(one?.content.equals(mail), `${size}${shift}`);
      }
    client.end();
  });

  it('however the client cuts it', async () => {
    const mail = readFileSync(`${MAILS}28-dots.eml`);
    const wire = bytes(stuffed(mail), '.\r\n');
    for (const step of [1, 2, 3, 7, 100]) {
      const client = await loggedIn(house);
      const { email } = postern.stranger();
      for (const line of [`MAIL FROM:<${FROM}>`, `RCPT TO:<${email}>`]) await client.expect(250, line);
      await client.expect(354, 'DATA');
      for (let i = 0; i < wire.length; i += step) await client.push(wire.subarray(i, i + step));
      assert.match((await client.reply()).text, QUEUED);
      assert.ok(relay.accepted(email)[0].content.equals(mail));
      client.end();
    }
  });

  it('nothing illegal left', () => assert.deepEqual([relay.illegal, relay.violations], [NOTHING_ILLEGAL, []]));
});

describe('DKIM', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const record = `v=DKIM1; k=rsa; p=${publicKey.export({ type: 'spki', format: 'der' }).toString('base64')}`;
  const dkim = { domainName: 'shop.example', keySelector: 's1', privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) };
  const VERIFY = 'import sys, dkim; record = sys.argv[1].encode(); sys.exit(0 if dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: record) else 1)';
  const verifies = async (mail) => (await run('/usr/bin/python3', ['-c', VERIFY, record], { input: mail })).code === 0;

  it('a signature holds behind Postern, also when our own fields were taken out', async () => {
    for (const headers of [{}, { 'X-Postern-Category': 'invoice', 'X-Postern-Topic': 'orders' }]) {
      const { email } = postern.stranger();
      const info = await submit(house, { to: email, subject: 'Grüße', text: 'Hello\n.\n..dots  \n\n\n', html: '<p>Grüße</p>', headers, dkim });
      assert.match(info.response ?? info.error.stack, QUEUED);
      const [one] = relay.accepted(email);
      assert.ok(one.field('dkim-signature'));
      assert.ok(await verifies(one.content));
      assert.ok(!(await verifies(bytes(one.content.subarray(0, -4), 'x\r\n'))), 'and not when a byte is another');
    }
  });
});

describe('smuggling', () => {
  /** What another server could take for the end of the data; RFC 5321 section 4.1.1.4 knows CRLF.CRLF alone. */
  const ENDS = ['\n.\n', '\n.\r\n', '\r\n.\n', '\r.\r', '\r.\r\n', '\r\n.\r', '\r.\n', '\n.\r', '\r\n\0.\r\n', '\r\n.\0\r\n', '\0\r\n.\r\n\0', '\r\r\n.\r\r\n', '\n\n.\n\n', '\r\n\n.\r\n', '\n.\r\r\n'];
  const victim = 'victim@smuggled.example';
  const inner = `MAIL FROM:<boss@shop.example>\r\nRCPT TO:<${victim}>\r\nDATA\r\nSubject: smuggled\r\n\r\nhello\r\n.\r\n`;
  const cuts = {
    'in one piece': (wire) => [wire],
    'byte for byte': (wire) => Array.from(wire, (c) => Buffer.from([c])),
    'cut at the dot': (wire) => {
      const dot = wire.indexOf('.', wire.indexOf('first'));
      return [wire.subarray(0, dot), wire.subarray(dot, dot + 1), wire.subarray(dot + 1)];
    },
  };

  before(() => {
    relay.lenient = true;
  });
  after(() => {
    relay.lenient = false;
  });

  for (const ends of ENDS)
    it(`521 and the end for ${JSON.stringify(ends)}`, async () => {
      const wire = bytes(head(), 'first', ends, inner);
      for (const [name, cut] of Object.entries(cuts)) {
        const { email } = postern.stranger();
        const client = await loggedIn(house);
        for (const line of [`MAIL FROM:<${FROM}>`, `RCPT TO:<${email}>`]) await client.expect(250, line);
        await client.expect(354, 'DATA');
        for (const piece of cut(wire)) await client.push(piece);
        const reply = await client.reply();
        assert.equal(reply?.text.slice(0, 4), '521 ', `${name}: ${reply?.text ?? 'closed without a word'}`);
        await client.gone();
        assert.equal(relay.seen(email).length, 0, name);
      }
      assert.equal(relay.seen(victim).length, 0);
    });

  it('a line of a dot that was stuffed is content', async () => {
    const client = await loggedIn(house);
    relay.lenient = false;
    const { one, reply } = await through(client, bytes(head(), 'first\r\n.\r\n', inner.replaceAll('\r\n', '\r\n '), '\r\n'));
    assert.ok(one, reply);
    assert.ok(one.text.includes('\r\n.\r\nMAIL FROM'));
    assert.equal(relay.transactions.length, 1 + relay.transactions.indexOf(one), 'one message and no more');
    client.end();
  });

  it('bare CR, LF and NUL in commands', async () => {
    for (const line of [`MAIL FROM:<${FROM}>\nRCPT TO:<${victim}>\r\n`, `MAIL FROM:<${FROM}>\rX\r\n`, 'NOOP\0\r\n', 'MAIL FROM:<a\nb@shop.example>\r\n']) {
      const client = await loggedIn(house);
      client.write(line);
      assert.equal((await client.reply())?.code, 521, JSON.stringify(line));
      await client.gone();
    }
  });

  it('recipients of X-SMTPAPI with a line break in them', async () => {
    for (const to of [`a@mail.example>\\r\\nRCPT TO:<${victim}`, `a@mail.example\\nRCPT TO:<${victim}>`, 'a\\u0000@mail.example']) {
      const client = await loggedIn(house, 'promo');
      const { end } = await client.send({ to: 'carrier@shop.example', content: content({ fields: [`X-SMTPAPI: {"to":["${to}"]}`] }) });
      assert.ok(end.code >= 500, end.text);
      client.end();
    }
    assert.equal(relay.seen(victim).filter((one) => one.to.includes(victim)).length, 0);
  });

  it('content before 354', async () => {
    const client = await loggedIn(house);
    const { email } = postern.stranger();
    client.write(`MAIL FROM:<${FROM}>\r\nRCPT TO:<${email}>\r\nDATA\r\n${content()}.\r\n`);
    const replies = [];
    for (let reply = await client.reply(); reply; reply = await client.reply()) replies.push(reply.code);
    assert.deepEqual(replies, [250, 250, 503]);
    assert.equal(relay.seen(email).length, 0);
  });

  it('nothing illegal reached the relay', () => {
    assert.deepEqual(relay.illegal, NOTHING_ILLEGAL);
    assert.ok(KEYS.billing.secret && !relay.transactions.some((one) => one.to.includes(victim)));
  });
});
