// Limits of a mail, by the real binary: at each it is taken, one beyond it hears that limit's own code, at once.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { KEYS } from './harness.mjs';
import { FROM, QUEUED, loggedIn, startMailHouse } from './smtp.mjs';
import { SmtpClient, stuffed } from './smtp_client.mjs';

/** For the answer to what is beyond a limit; sanitizers are slow. */
const AT_ONCE_MS = process.env.ASAN_OPTIONS || /asan|coverage/.test(process.env.POSTERN ?? '') ? 500 : 50;
const MESSAGE = 2 << 20, HEADER = 262_144, LINE = 65_536;
let house, postern, relay, client;

before(async () => {
  house = await startMailHouse({
    configure: (settings) => {
      settings.policy.caps = [];
      settings.limits = { body_bytes: MESSAGE };
    },
  });
  ({ postern, relay } = house);
  client = await loggedIn(house);
});
after(async () => {
  client?.end();
  await house.end();
});

const person = async () => (await postern.person()).email;

/** The reply to the end of this content, and the milliseconds from its last byte to that reply. */
async function send(text, to) {
  await client.expect(250, `MAIL FROM:<${FROM}>`);
  await client.expect(250, `RCPT TO:<${to}>`);
  await client.expect(354, 'DATA');
  const bytes = stuffed(Buffer.from(text, 'latin1'));
  await client.push(bytes.subarray(0, -1));
  await postern.idle(30); // it has read and dropped what came
  const began = performance.now();
  client.write(Buffer.concat([bytes.subarray(-1), Buffer.from('.\r\n')]));
  const reply = await client.reply();
  return { text: reply.text, ms: performance.now() - began };
}

const nested = (depth) =>
  depth === 0
    ? 'Content-Type: text/plain\r\n\r\nHello\r\n'
    : `Content-Type: multipart/mixed; boundary=b${depth}.\r\n\r\n--b${depth}.\r\n${nested(depth - 1)}\r\n--b${depth}.--\r\n`;
const parts = (n) => `Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--b\r\n\r\nx\r\n'.repeat(n)}--b--\r\n`;
const padded = (bytes, head = 'Subject: s\r\n\r\n') => {
  const body = 'Hello to you, hello to you and once more hello to you.\r\n'.repeat(Math.ceil(bytes / 56)).slice(0, bytes - head.length - 2);
  return `${head}${body.replace(/\r$/, ' ')}\r\n`;
};
const headed = (bytes) => {
  const field = (n) => `X-Pad: ${'x'.repeat(n - 9)}\r\n`;
  return `${field(60_000).repeat(4)}${field(bytes - 240_000)}\r\nHello\r\n`;
};
const lined = (bytes) => `Subject: s\r\n\r\n${'y'.repeat(bytes)}\r\n`;
const hops = (n) => `${'Received: by x\r\n'.repeat(n)}Subject: s\r\n\r\nHello\r\n`;

describe('what a mail may be', () => {
  const rows = [
    ['bytes', padded, MESSAGE, /^552 5\.3\.4 Message too big/],
    ['bytes of header', headed, HEADER, /^552 5\.3\.4 .*262144/],
    ['bytes of a line', lined, LINE, /^552 5\.3\.4 .*65536/],
    ['multiparts within one another', nested, 50, /^552 5\.3\.4 .*50/],
    ['parts', parts, 1000, /^552 5\.3\.4 .*1000/],
    ['hops', hops, 100, /^554 5\.4\.6 .*100/],
  ];
  for (const [what, make, limit, refusal] of rows)
    it(`${limit} ${what}, and not one more`, async () => {
      const [ada, bob] = [await person(), await person()];
      assert.match((await send(make(limit), ada)).text, QUEUED);
      let least = Infinity; // of a few: the machine may be busy
      for (let i = 0; i < 15 && least >= AT_ONCE_MS; i++) {
        const { text, ms } = await send(make(limit + 1), bob);
        assert.match(text, refusal);
        least = Math.min(least, ms);
      }
      assert.ok(least < AT_ONCE_MS, `it took ${least.toFixed(1)} ms`);
      assert.deepEqual([relay.accepted(ada).length, relay.seen(bob).length], [1, 0]);
    });

  it('1000 recipients, and not one more', async () => {
    await client.expect(250, `MAIL FROM:<${FROM}>`);
    client.write(Array.from({ length: 1001 }, (_, i) => `RCPT TO:<p${i}@many.example>\r\n`).join(''));
    const codes = [];
    for (let i = 0; i < 1001; i++) codes.push((await client.reply()).text);
    assert.equal(codes.filter((text) => text.startsWith('250')).length, 1000);
    assert.match(codes.at(-1), /^452 4\.5\.3 /);
    await client.expect(354, 'DATA');
    client.write('Subject: s\r\n\r\nHello\r\n.\r\n');
    assert.match((await client.reply()).text, QUEUED);
    assert.equal(relay.accepted('p999@many.example')[0].to.length, 1000);
  });

  it('SIZE= beyond the limit, before a byte of it', async () => {
    await client.expect(250, `MAIL FROM:<${FROM}> SIZE=${MESSAGE}`);
    await client.expect(250, 'RSET');
    assert.match((await client.command(`MAIL FROM:<${FROM}> SIZE=${MESSAGE + 1}`)).text, /^552 5\.3\.4 /);
  });
});

describe('what a line may be', () => {
  it('12288 bytes of AUTH, and not one more', async () => {
    const { secret } = KEYS.billing;
    const one = await SmtpClient.start(postern.smtpPort);
    const response = Buffer.from(`\0apikey\0${secret}`).toString('base64');
    const line = (bytes) => `AUTH PLAIN ${response.padStart(bytes - 'AUTH PLAIN '.length - 2, ' ')}`;
    assert.match((await one.command(line(12_289))).text, /^500 5\.5\.6 /);
    assert.equal((await one.command(line(12_288))).code, 235);
    one.end();
  });

  it('2048 bytes of a command, and not one more', async () => {
    assert.equal((await client.command(`NOOP ${'x'.repeat(2048 - 7)}`)).code, 250);
    assert.match((await client.command(`NOOP ${'x'.repeat(2049 - 7)}`)).text, /^500 5\.5\.2 /);
  });
});

describe('what a session may do', () => {
  const rows = [
    ['20 commands that are refused', 'NONSENSE', 20, /^502 5\.5\.1 /, /^421 4\.7\.0 Too many errors/],
    ['200 commands that bring no mail forward, EHLO among them', 'NOOP', 199, /^250 2\.0\.0 /, /^421 4\.7\.0 Too many commands/],
  ];
  for (const [what, command, limit, taken, refused] of rows)
    it(`${what}, and not one more`, async () => {
      const one = await SmtpClient.start(postern.smtpPort);
      for (let i = 0; i < limit; i++) assert.match((await one.command(command)).text, taken);
      assert.match((await one.command(command)).text, refused);
      await one.gone();
    });
});
