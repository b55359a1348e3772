// Limits of a mail and of its session, by the real binary: at each it is taken, one beyond it hears that limit's own
// code, at once.  Those that are times: mail_deadlines.  Those of HTTP: faults/bounds.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { KEYS, waitFor } from './harness.mjs';
import { FROM, QUEUED, hearsAtOnce, loggedIn, startMailHouse, timed } from './smtp.mjs';
import { SmtpClient, stuffed } from './smtp_client.mjs';

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
const headLined = (bytes) => `X-Pad: ${'y'.repeat(bytes - 7)}\r\n\r\nHello\r\n`;
const hops = (n) => `${'Received: by x\r\n'.repeat(n)}Subject: s\r\n\r\nHello\r\n`;

describe('what a mail may be', () => {
  const rows = [
    ['bytes', padded, MESSAGE, /^552 5\.3\.4 Message too big/],
    ['bytes of header', headed, HEADER, /^552 5\.3\.4 .*262144/],
    ['bytes of a line', lined, LINE, /^552 5\.3\.4 .*65536/],
    ['bytes of a line of the header', headLined, LINE, /^552 5\.3\.4 .*65536/],
    ['multiparts within one another', nested, 50, /^552 5\.3\.4 .*50/],
    ['parts', parts, 1000, /^552 5\.3\.4 .*1000/],
    ['hops', hops, 100, /^554 5\.4\.6 .*100/],
  ];
  for (const [what, make, limit, refusal] of rows)
    it(`${limit} ${what}, and not one more`, async () => {
      const [ada, bob] = [await person(), await person()];
      assert.match((await send(make(limit), ada)).text, QUEUED);
      await hearsAtOnce(refusal, () => send(make(limit + 1), bob));
      assert.deepEqual([relay.accepted(ada).length, relay.seen(bob).length], [1, 0]);
    });

  it('1000 recipients, and not one more; who insists is sent away', async () => {
    await client.expect(250, `MAIL FROM:<${FROM}>`);
    const recipients = (n) => client.write(Array.from({ length: n }, (_, i) => `RCPT TO:<p${i}@many.example>\r\n`).join(''));
    recipients(1000);
    for (let i = 0; i < 1000; i++) assert.equal((await client.reply()).code, 250);
    await hearsAtOnce(/^452 4\.5\.3 Too many recipients$/, () => timed(client, 'RCPT TO:<late@many.example>'));
    await client.expect(354, 'DATA');
    client.write('Subject: s\r\n\r\nHello\r\n.\r\n');
    assert.match((await client.reply()).text, QUEUED);
    assert.equal(relay.accepted('p999@many.example')[0].to.length, 1000);
    await client.expect(250, `MAIL FROM:<${FROM}>`);
    recipients(2000);
    for (let i = 0; i < 2000; i++) assert.equal((await client.reply()).code, i < 1000 ? 250 : 452);
    assert.match((await client.command('RCPT TO:<late@many.example>')).text, /^421 4\.7\.0 Too many recipients/);
    await client.gone();
    client = await loggedIn(house);
  });

  it('1000 recipients of X-SMTPAPI, and not one more', async () => {
    const named = (n) => `X-SMTPAPI: {"to": [\r\n ${Array.from({ length: n }, (_, i) => `"p${i}@listed.example"`).join(',\r\n ')}]}\r\nSubject: s\r\n\r\nHello\r\n`;
    const [ada, bob] = [await person(), await person()];
    assert.match((await send(named(1000), ada)).text, QUEUED);
    await hearsAtOnce(/^554 5\.5\.3 .*1000/, () => send(named(1001), bob));
    assert.deepEqual([relay.accepted('p0@listed.example').length, relay.seen(bob).length], [1, 0]);
  });

  it('SIZE= beyond the limit, before a byte of it', async () => {
    await client.expect(250, `MAIL FROM:<${FROM}> SIZE=${MESSAGE}`);
    await client.expect(250, 'RSET');
    await hearsAtOnce(/^552 5\.3\.4 /, () => timed(client, `MAIL FROM:<${FROM}> SIZE=${MESSAGE + 1}`));
  });

  it('bytes of all mails that are held, and not one more', async () => {
    await postern.reconfigure((settings) => (settings.limits.inflight_bytes = MESSAGE));
    const [other, late] = [await loggedIn(house), await loggedIn(house)];
    await other.expect(250, `MAIL FROM:<${FROM}>`);
    await other.expect(250, `RCPT TO:<${await person()}>`);
    await other.expect(354, 'DATA');
    other.write('Subject: s\r\n');
    const held = await waitFor('it is held', () => postern.metric('postern_smtp_inflight_bytes'));
    await late.expect(250, `MAIL FROM:<${FROM}> SIZE=${MESSAGE - held}`);
    await late.expect(250, 'RSET');
    await hearsAtOnce(/^451 4\.3\.2 .*too many bytes in flight/, () => timed(late, `MAIL FROM:<${FROM}> SIZE=${MESSAGE - held + 1}`));
    other.write('\r\nHello\r\n.\r\n');
    assert.match((await other.reply()).text, QUEUED);
    await late.expect(250, `MAIL FROM:<${FROM}> SIZE=${MESSAGE}`);
    for (const one of [other, late]) one.end();
    await postern.reconfigure((settings) => delete settings.limits.inflight_bytes);
  });
});

describe('what a line may be', () => {
  it('12288 bytes of AUTH, and not one more', async () => {
    const { secret } = KEYS.billing;
    const one = await SmtpClient.start(postern.smtpPort);
    const response = Buffer.from(`\0apikey\0${secret}`).toString('base64');
    const line = (bytes) => `AUTH PLAIN ${response.padStart(bytes - 'AUTH PLAIN '.length - 2, ' ')}`;
    await hearsAtOnce(/^500 5\.5\.6 /, () => timed(one, line(12_289)));
    assert.equal((await one.command(line(12_288))).code, 235);
    one.end();
  });

  const path = (bytes) => `${'a'.repeat(64)}@${`${'b'.repeat(61)}.`.repeat(3)}`.padEnd(bytes, 'c');
  const rows = [
    ['2048 bytes of a command', (n) => `NOOP ${'x'.repeat(n - 7)}`, 2048, /^500 5\.5\.2 /],
    ['254 bytes of a sender', (n) => `MAIL FROM:<${path(n)}>`, 254, /^501 5\.1\.7 /],
    ["255 bytes of a client's name", (n) => `EHLO ${'x'.repeat(n)}`, 255, /^501 5\.5\.4 /],
  ];
  for (const [what, line, limit, refusal] of rows)
    it(`${what}, and not one more`, async () => {
      const one = await loggedIn(house);
      await one.expect(250, line(limit));
      await one.expect(250, 'RSET');
      await hearsAtOnce(refusal, () => timed(one, line(limit + 1)));
      one.end();
    });
});

describe('what a session may do', () => {
  const rows = [
    ['20 commands that are refused', 'NONSENSE', 20, /^502 5\.5\.1 /, /^421 4\.7\.0 Too many errors/],
    ['200 commands that bring no mail forward, EHLO among them', 'NOOP', 199, /^250 2\.0\.0 /, /^421 4\.7\.0 Too many commands/],
  ];
  for (const [what, command, limit, taken, refused] of rows)
    it(`${what}, and not one more`, () =>
      hearsAtOnce(refused, async () => {
        const one = await SmtpClient.start(postern.smtpPort);
        for (let i = 0; i < limit; i++) assert.match((await one.command(command)).text, taken);
        const answer = await timed(one, command);
        await one.gone();
        return answer;
      }));

  it('5000 mails, and not one more', () =>
    hearsAtOnce(/^421 4\.3\.2 Too many messages in one session/, async () => {
      const one = await loggedIn(house);
      for (let i = 0; i < 5000; i += 100) {
        one.write(`MAIL FROM:<${FROM}>\r\nRSET\r\n`.repeat(100));
        for (let k = 0; k < 200; k++) assert.equal((await one.reply()).code, 250);
      }
      const answer = await timed(one, `MAIL FROM:<${FROM}>`);
      await one.gone();
      return answer;
    }));
});

describe('how many there may be', () => {
  /** The sessions that are open but for these. */
  const left = (n) => waitFor('the others are gone', async () => (await postern.metric('postern_smtp_connections')) === n);
  const beyond = async (from) => {
    const one = await SmtpClient.open(postern.smtpPort, { from });
    const answer = await timed(one);
    await one.gone();
    return answer;
  };

  before(async () => {
    client.end();
    await left(0);
    await postern.reconfigure((settings) => (settings.smtp = { max_connections: 6, max_address_connections: 3 }));
  });
  after(() => postern.reconfigure((settings) => delete settings.smtp));

  it('3 sessions of an address and 6 in all, and not one more; of more than 4 each may err once', async () => {
    const start = (n) => SmtpClient.start(postern.smtpPort, { from: `127.0.0.${n}` });
    const sessions = [await start(2), await start(2), await start(2)];
    await hearsAtOnce(/^421 4\.7\.0 .*address/, () => beyond('127.0.0.2'));
    sessions.push(await start(3));
    await left(4);
    for (let i = 0; i < 3; i++) await sessions[3].expect(502, 'NONSENSE');
    sessions.push(await start(3), await start(3));
    await hearsAtOnce(/^421 4\.3\.2 .*too many connections/, () => beyond('127.0.0.4'));
    await sessions[5].expect(502, 'NONSENSE');
    assert.match((await sessions[5].command('NONSENSE')).text, /^421 4\.7\.0 Too many errors/);
    for (const one of sessions) one.end();
    await left(0);
  });
});
