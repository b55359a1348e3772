// The fake relay proves itself: nodemailer and a raw client, straight at it, see what they would see at a relay, and
// the relay has seen what they sent.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import nodemailer from 'nodemailer';
import { FakeRelay, relaySays } from '../../fakes/relay.mjs';
import { waitFor } from '../harness.mjs';
import { SmtpClient, certificate, stuffed } from '../smtp_client.mjs';

const MAIL = { from: 'a@shop.example', to: 'b@mail.example', subject: 'Hi', text: 'Hello\n.\n..two\nend' };
const NONE = { bareCr: 0, bareLf: 0, nul: 0, unstuffed: 0 };

async function withRelay(options, use) {
  const relay = await new FakeRelay(options).start();
  try {
    await use(relay);
  } finally {
    await relay.stop();
  }
}

/** Send through nodemailer: its info, or its error. */
async function send(relay, mail = MAIL, options = {}) {
  const transport = nodemailer.createTransport({ host: '127.0.0.1', port: relay.port, secure: relay.implicit, tls: { rejectUnauthorized: false }, ...options });
  return transport.sendMail(mail).catch((error) => error).finally(() => transport.close());
}

describe('the fake relay', () => {
  let cert;
  before(async () => {
    cert = await certificate();
  });
  after(() => cert.remove());

  it('accepts, and keeps commands, wire and content', () =>
    withRelay({}, async (relay) => {
      const info = await send(relay);
      assert.equal(info.response, '250 2.0.0 Ok: queued as R00000001');
      const [one] = relay.accepted('b@mail.example');
      assert.deepEqual([one.mail.path, one.to, one.code, one.id], ['a@shop.example', ['b@mail.example'], 250, 'R00000001']);
      assert.match(one.text, /\r\nHello\r\n\.\r\n\.\.two\r\nend\r\n$/);
      assert.match(one.wire.toString(), /\r\nHello\r\n\.\.\r\n\.\.\.two\r\nend\r\n\.\r\n$/);
      assert.equal(one.field('subject'), 'Hi');
      assert.deepEqual(one.session.commands.map((line) => line.split(/[ :]/, 1)[0]), ['EHLO', 'MAIL', 'RCPT', 'DATA']);
      assert.deepEqual([relay.illegal, relay.violations], [NONE, []]);
    }));

  it('offers STARTTLS or is all TLS, and wants a login', async () => {
    const auth = { user: 'apikey', secret: 's3cret' };
    for (const implicit of [false, true])
      await withRelay({ tls: cert, implicit, auth }, async (relay) => {
        assert.equal((await send(relay)).responseCode, 530);
        assert.equal((await send(relay, MAIL, { auth: { user: 'apikey', pass: 'wrong' } })).responseCode, 535);
        for (const authMethod of ['PLAIN', 'LOGIN']) assert.match((await send(relay, MAIL, { authMethod, auth: { user: 'apikey', pass: 's3cret' } })).response, /^250/);
        for (const one of relay.accepted()) assert.deepEqual([one.isTls, one.user], [true, 'apikey']);
        assert.equal(relay.accepted().length, 2);
      });
  });

  it('misbehaves at each point when told to', () =>
    withRelay({}, async (relay) => {
      const cases = [
        ['CONNECT', relaySays.closing('421 4.3.2 Busy'), (error) => error.responseCode === 421],
        ['CONNECT', relaySays.closing('554 5.3.2 No'), (error) => error.responseCode === 554],
        ['EHLO', relaySays.reply('502 5.5.1 What?'), (info) => info.accepted.length === 1], // HELO then
        ['MAIL', relaySays.reply('452 4.3.1 Full'), (error) => error.responseCode === 452],
        ['RCPT', relaySays.reply('550-5.1.1 No such', '550 5.1.1 user'), (error) => error.response.includes('user')],
        ['DATA', relaySays.closing('421 4.3.2 Bye'), (error) => error.responseCode === 421],
        ['END', relaySays.reply('554 5.6.0 Bad content'), (error) => error.responseCode === 554],
        ['END', relaySays.close(), (error) => error instanceof Error],
        ['END', relaySays.reset(), (error) => error instanceof Error],
        ['END', relaySays.half(), (error) => error instanceof Error],
        ['CONTENT', relaySays.close(), (error) => error instanceof Error],
        ['MAIL', relaySays.stall(), (error) => error.code === 'ETIMEDOUT'],
        ['END', relaySays.late(30), (info) => info.accepted.length === 1],
        ['MAIL', relaySays.drip(1), (info) => info.accepted.length === 1],
      ];
      for (const [point, behaviour, holds] of cases) {
        relay.when(point, behaviour, { times: 1 });
        const seen = await send(relay, MAIL, { socketTimeout: 200 });
        assert.ok(holds(seen), `${point} ${behaviour.kind}: ${seen.stack ?? JSON.stringify(seen)}`);
      }
      await waitFor('all connections closed', () => relay.open === 0);
    }));

  it('judges each recipient by itself', () =>
    withRelay({}, async (relay) => {
      relay.when('RCPT', relaySays.reply('550 5.1.1 Gone'), { match: 'gone@' });
      const info = await send(relay, { ...MAIL, to: ['b@mail.example', 'gone@mail.example'] });
      assert.deepEqual([info.accepted, info.rejected], [['b@mail.example'], ['gone@mail.example']]);
      assert.deepEqual(relay.transactions[0].recipients.map(({ path, code }) => [path, code]), [['b@mail.example', 250], ['gone@mail.example', 550]]);
    }));

  it('takes so many messages a connection, and closes after each when told to', () =>
    withRelay({}, async (relay) => {
      relay.messagesPerConnection = 2;
      const client = await SmtpClient.start(relay.port);
      for (let i = 0; i < 2; i++) assert.equal((await client.send({ to: 'b@mail.example', content: 'x\r\n' })).end.code, 250);
      assert.equal((await client.command('MAIL FROM:<a@b.example>')).code, 421);
      await client.gone();
      relay.forget();
      relay.closeAfterMessage = true;
      const another = await SmtpClient.start(relay.port);
      assert.equal((await another.send({ to: 'b@mail.example', content: 'x\r\n' })).end.code, 250);
      await another.gone();
    }));

  it('counts what no client may send, and a sloppy one reads two messages where there is one', async () => {
    const smuggled = 'Subject: x\r\n\r\none\n.\r\nMAIL FROM:<e@b.example>\r\nRCPT TO:<f@b.example>\r\nDATA\r\n\r\ntwo\r\n.\r\n';
    for (const lenient of [false, true])
      await withRelay({ lenient }, async (relay) => {
        const client = await SmtpClient.start(relay.port);
        await client.expect(250, 'MAIL FROM:<a@b.example>');
        await client.expect(250, 'RCPT TO:<c@b.example>');
        await client.expect(354, 'DATA');
        client.write(smuggled);
        await client.reply();
        if (lenient) for (let i = 0; i < 4; i++) await client.reply();
        assert.equal(relay.accepted().length, lenient ? 2 : 1);
        assert.equal(relay.illegal.bareLf, 1);
        client.end();
      });
  });

  it('holds clients to what it offered', () =>
    withRelay({ offers: { DSN: false, PIPELINING: false } }, async (relay) => {
      const client = await SmtpClient.start(relay.port);
      assert.deepEqual([client.offers('DSN'), client.offers('SIZE'), client.offers('8BITMIME')], [false, true, true]);
      await client.expect(250, 'MAIL FROM:<a@b.example> RET=HDRS SIZE=3');
      assert.deepEqual(relay.violations, ['FROM:<a@b.example> RET=HDRS SIZE=3: RET was not offered']);
      client.end();
    }));

  it('finds the end of the data however it is cut', () =>
    withRelay({}, async (relay) => {
      const content = Buffer.from('.\r\n\r\n.\r\r\n..\r\n.x\r\n');
      const wire = Buffer.concat([stuffed(content), Buffer.from('.\r\n')]);
      for (const step of [1, 2, 3, 5, wire.length]) {
        const client = await SmtpClient.start(relay.port);
        for (const line of ['MAIL FROM:<>', 'RCPT TO:<b@mail.example>']) await client.expect(250, line);
        await client.expect(354, 'DATA');
        for (let i = 0; i < wire.length; i += step) await client.push(wire.subarray(i, i + step));
        assert.equal((await client.reply()).code, 250);
        assert.ok(relay.transactions.at(-1).content.equals(content), JSON.stringify(relay.transactions.at(-1).text));
        client.end();
      }
    }));

  it('goes down and comes back on the same port', () =>
    withRelay({}, async (relay) => {
      const { port } = relay;
      await relay.stop();
      assert.equal((await send(relay)).code, 'ESOCKET');
      await relay.start();
      assert.equal(relay.port, port);
      assert.equal((await send(relay)).accepted.length, 1);
    }));
});
