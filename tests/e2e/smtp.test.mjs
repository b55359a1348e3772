// Mail by SMTP in front of Postern, by nodemailer in the three versions that applications run: what its caller sees,
// what the relay received, and what Postern says that it decided.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import nodemailer10 from 'nodemailer';
import nodemailer6 from 'nodemailer6';
import nodemailer7 from 'nodemailer7';
import { relaySays } from '../fakes/relay.mjs';
import { TOKEN } from './expect.mjs';
import { KEYS, waitFor } from './harness.mjs';
import { FROM, NOTHING_ILLEGAL, QUEUED, content, decisionIn, loggedIn, startMailHouse, submit, transportOptions } from './smtp.mjs';
import { SmtpClient } from './smtp_client.mjs';

const LIBS = [['10', nodemailer10], ['7', nodemailer7], ['6', nodemailer6]];
const DESK_ONE = 'SG.desk-one.0123456789abcdef0123456789abcdef'; // an agent's key with one category
let house, postern, relay;

before(async () => {
  house = await startMailHouse({
    tls: true,
    configure: (settings) => {
      settings.limits = { body_bytes: 8 << 20 };
      settings.keys.find((key) => key.name === 'strict').categories = ['promo-out', 'invoice'];
      settings.keys.push({ name: 'desk-one', secret: DESK_ONE, roles: ['sender', 'agent'], sender_kind: 'agent', default_category: 'helpdesk', categories: ['helpdesk'] });
    },
  });
  ({ postern, relay } = house);
});
after(() => house.end());

const optedOut = async () => {
  const person = await postern.person();
  await postern.optOut(person.email);
  return person;
};
/** Somebody whose day is over. */
const asleep = () => postern.person({ preferences: { hours: { 'mon-fri': '08:00-11:00' } } });

for (const [version, lib] of LIBS)
  describe(`nodemailer ${version}`, () => {
    for (const how of ['plain', 'starttls', 'tls'])
      it(`sends, ${how}`, async () => {
        const ada = await postern.person();
        const info = await submit(house, { to: ada.email }, { lib, how });
        assert.match(info.response ?? info.error.stack, QUEUED);
        assert.deepEqual([info.accepted, info.rejected], [[ada.email], []]);
        const [one, ...more] = relay.accepted(ada.email);
        assert.equal(more.length, 0);
        assert.equal(info.response.split(' ').at(-1), one.id);
        assert.deepEqual([one.mail.path, one.to, one.field('to')], [FROM, [ada.email], ada.email]);
        assert.doesNotMatch(one.text, /x-postern|postern\.example/i);
        assert.equal(one.field('message-id'), info.messageId);
      });

    it('sends many through a pool, each once', async () => {
      const people = await Promise.all(Array.from({ length: 12 }, () => postern.person()));
      const transport = lib.createTransport({ ...transportOptions(house), pool: true, maxConnections: 3 });
      const infos = await Promise.all(people.map(({ email }) => transport.sendMail({ from: FROM, to: email, subject: 's', text: 't' })));
      transport.close();
      for (const info of infos) assert.match(info.response, QUEUED);
      for (const { email } of people) assert.equal(relay.accepted(email).length, 1);
    });

    it('hears of each recipient at RCPT when the key has one category', async () => {
      const [ada, bob, cy] = [await postern.person(), await optedOut(), await postern.person()];
      const info = await submit(house, { to: [ada.email, bob.email, cy.email] }, { lib, key: 'promo' });
      assert.deepEqual([info.accepted, info.rejected], [[ada.email, cy.email], [bob.email]]);
      const [refused] = info.rejectedErrors;
      assert.equal(info.rejectedErrors.length, 1);
      assert.deepEqual([refused.recipient, refused.responseCode], [bob.email, 550]);
      assert.match(refused.response, /^550 5\.7\.1 Delivery not authorized: .* \(PST-HARD-OPTOUT dec_[0-9a-f]{16,}\)$/);
      assert.deepEqual(relay.accepted(ada.email)[0].to, [ada.email, cy.email]);
      const decision = await postern.decision(decisionIn(refused.response), { until: 'blocked' });
      assert.equal(decision.outcome, 'block');
    });

    it('hears 550 when all are refused, at RCPT or after the data', async () => {
      const bob = await optedOut();
      const early = await submit(house, { to: bob.email }, { lib, key: 'promo' });
      assert.deepEqual([early.error.code, early.error.responseCode, early.error.command], ['EENVELOPE', 550, 'RCPT TO']);
      assert.match(early.error.response, /PST-HARD-OPTOUT/);
      const late = await submit(house, { to: bob.email }, { lib, key: 'shop' });
      assert.deepEqual([late.error.code, late.error.responseCode, late.error.command], ['EMESSAGE', 550, 'DATA']);
      assert.match(late.error.response, /^550 5\.7\.1 Delivery not authorized: .*\(PST-HARD-[A-Z]+ dec_[0-9a-f]{16,}\)$/);
      assert.equal(relay.seen(bob.email).length, 0);
    });

    it('has the rest sent when some are blocked after the data', async () => {
      const [ada, bob] = [await postern.subscriber(), await optedOut()];
      const info = await submit(house, { to: [ada.email, bob.email] }, { lib, key: 'shop' });
      assert.match(info.response ?? info.error.stack, /^250 2\.0\.0 Ok: queued as R\d{8} \(partial: 1 forwarded, 1 blocked; decision dec_[0-9a-f]{16,}\)$/);
      const [one] = relay.accepted(ada.email);
      assert.deepEqual(one.to, [ada.email]);
    });

    it('keeps the prompt and the token of a soft block, at RCPT and after the data', async () => {
      const eve = await asleep();
      for (const [key, code] of [[DESK_ONE, 'EENVELOPE'], ['desk', 'EMESSAGE']]) {
        const { error } = await submit(house, { to: eve.email }, { lib, key });
        assert.deepEqual([error?.code, error?.responseCode], [code, 550]);
        const lines = error.response.split('\n');
        assert.equal(lines.length, 3);
        assert.match(lines[1], /^550-5\.7\.1 Decision https:\/\/127\.0\.0\.1:\d+\/o\/dec_[0-9a-f]{16,}$/);
        assert.match(lines[0], /^550-5\.7\.1 Blocked by customer preference: PST-SOFT-/);
        assert.match(lines.at(-1), new RegExp(`^550 5\\.7\\.1 Override allowed: resend with header X-Postern-Override: ${TOKEN.source}$`));
      }
    });

    it('is told that a mail was kept, and until when', async () => {
      const eve = await asleep();
      const info = await submit(house, { to: eve.email }, { lib, key: 'bot' });
      const [, id, until] = /^250 2\.0\.0 Ok: queued as (\S+) \(deferred until (\S+Z), PST-DEFER-[A-Z]+\)$/.exec(info.response) ?? assert.fail(info.response ?? info.error.stack);
      assert.ok(id.length > 0);
      assert.equal(relay.seen(eve.email).length, 0);
      const [row] = await postern.deferred(eve.id);
      assert.equal(Date.parse(row.release_at), Date.parse(until));
    });

    it('is told when the login is wrong, or there is none', async () => {
      const wrong = await submit(house, { to: 'b@mail.example' }, { lib, key: postern.keepSecret('SG.nobody.0123456789abcdef') });
      assert.deepEqual([wrong.error.code, wrong.error.responseCode], ['EAUTH', 535]);
      const none = await submit(house, { to: 'b@mail.example' }, { lib, auth: undefined });
      assert.deepEqual([none.error.code, none.error.responseCode], ['EENVELOPE', 530]);
    });
  });

describe('what is sent on', () => {
  it('what was kept leaves once, when it may, byte for byte', async () => {
    const eve = await asleep();
    const client = await loggedIn(house, 'bot');
    const bytes = content({ to: eve.email, fields: ['X-Odd:  two  blanks ', 'List-Id: <a.shop.example>'], body: '.dot\r\n\r\n.\r\n..\r\nend' });
    const { end } = await client.send({ to: eve.email, content: bytes });
    assert.match(end.text, /deferred until/);
    client.end();
    const [row] = await postern.deferred(eve.id);
    await postern.passRelease(row.release_at);
    const [one] = await waitFor('the kept mail at the relay', () => relay.accepted(eve.email).length > 0 && relay.accepted(eve.email));
    assert.ok(one.content.equals(bytes), one.text);
    await postern.newDay('12:00');
    assert.equal(relay.accepted(eve.email).length, 1);
  });

  it('claims in the header are heard and taken out; the rest stays', async () => {
    const ada = await postern.person();
    const fields = ['X-Postern-Category: invoice', 'X-Before: 1', 'x-postern-priority:', ' P1', 'X-Postern-Topic: spring', 'Idempotency-Key: order-7', 'X-After: 2'];
    const client = await loggedIn(house, 'shop');
    const { end } = await client.send({ to: ada.email, content: content({ to: ada.email, fields }) });
    assert.match(end.text, QUEUED); // as a newsletter it would need a consent
    const [one] = relay.accepted(ada.email);
    assert.ok(one.content.equals(content({ to: ada.email, fields: ['X-Before: 1', 'X-After: 2'] })), one.text);
    client.end();
  });

  it('a category that is not the key\'s is refused', async () => {
    const ada = await postern.person();
    const { error } = await submit(house, { to: ada.email, headers: { 'X-Postern-Category': 'helpdesk' } }, { key: 'shop' });
    assert.equal(error.responseCode, 550);
    assert.equal(relay.seen(ada.email).length, 0);
  });

  it('the same idempotency key sends once, and hears the same', async () => {
    const ada = await postern.person();
    const mail = { to: ada.email, headers: { 'Idempotency-Key': 'order-1001' } };
    const first = await submit(house, mail);
    assert.match(first.response, QUEUED);
    const second = await submit(house, { ...mail, messageId: first.messageId, date: new Date(0) }, {});
    assert.equal(second.response ?? second.error.response.slice(0, 3), second.response ? first.response : '554');
    assert.equal(relay.accepted(ada.email).length, 1);
  });

  it("X-SMTPAPI's `to` is who is asked about, not RCPT; what belongs to the blocked goes with them", async () => {
    const [ada, bob, cy] = [await postern.person(), await optedOut(), await postern.person()];
    const api = { to: [ada.email, bob.email, cy.email], sub: { '-name-': ['Ada', 'Bob', 'Cy'] }, category: 'spring' };
    const carrier = 'carrier@shop.example';
    // prepared: nodemailer makes encoded words of a long value without blanks, which is no JSON any more
    const headers = { 'X-SMTPAPI': { prepared: true, value: JSON.stringify(api).replaceAll('],', '],\r\n ') }, 'X-Postern-Category': 'promo-out' };
    const whole = await submit(house, { to: carrier, headers }, { key: 'strict' });
    assert.equal(whole.error?.responseCode, 550, 'the key wants all or nothing');
    const part = await submit(house, { to: carrier, headers }, { key: 'shop' });
    assert.match(part.response ?? part.error.stack, /partial: 2 forwarded, 1 blocked/);
    const [one] = relay.accepted(ada.email);
    assert.deepEqual(one.to, [ada.email], 'the carrier was not decided about: the first of those who pass stands in');
    const sent = JSON.parse(one.field('x-smtpapi'));
    assert.deepEqual([sent.to, sent.sub, sent.category], [[ada.email, cy.email], { '-name-': ['Ada', 'Cy'] }, 'spring']);
  });

  it('all or nothing, when the key says so', async () => {
    const [ada, bob] = [await postern.person(), await optedOut()];
    const { error } = await submit(house, { to: [ada.email, bob.email], headers: { 'X-Postern-Category': 'promo-out' } }, { key: 'strict' });
    assert.match(error.response, /^550 5\.7\.1 Delivery not authorized: .*nothing was sent: 1 of 2 recipients are blocked/);
    assert.equal(relay.seen(ada.email).length, 0);
  });

  it('DSN parameters reach the relay', async () => {
    const ada = await postern.person();
    const info = await submit(house, { to: ada.email, dsn: { id: 'x1', return: 'headers', notify: ['failure', 'delay'], recipient: 'orig@mail.example' } });
    assert.match(info.response ?? info.error.stack, QUEUED);
    const [one] = relay.accepted(ada.email);
    assert.deepEqual([one.mail.parameters.RET, one.mail.parameters.ENVID], ['HDRS', 'x1']);
    const { NOTIFY, ORCPT } = one.recipients[0].parameters;
    assert.deepEqual([NOTIFY.split(',').sort(), ORCPT], [['DELAY', 'FAILURE'], 'rfc822;orig@mail.example']);
  });

  it('addresses and headers beyond ASCII, by SMTPUTF8', async () => {
    const to = postern.keepSecret(`jürgen.${process.pid}@müller.example`);
    const client = await loggedIn(house);
    const bytes = content({ to, fields: ['X-Greeting: Grüße'] });
    await client.expect(250, `MAIL FROM:<${FROM}> SMTPUTF8 BODY=8BITMIME`);
    await client.expect(250, `RCPT TO:<${to}>`);
    await client.expect(354, 'DATA');
    await client.push(Buffer.concat([bytes, Buffer.from('.\r\n')]));
    assert.match((await client.reply()).text, QUEUED);
    const [one] = relay.accepted('jürgen');
    assert.equal(one.mail.parameters.SMTPUTF8, true);
    assert.equal(one.recipients[0].path, to);
    assert.ok(one.content.equals(bytes));
    client.end();
  });

  it('big ones, up to the limit that EHLO names', async () => {
    const ada = await postern.person();
    const info = await submit(house, { to: ada.email, attachments: [{ filename: 'a.bin', content: Buffer.alloc(5 << 20, 7) }] });
    assert.match(info.response ?? info.error.stack, QUEUED);
    assert.ok(relay.accepted(ada.email)[0].content.length > 6 << 20);
    const client = await loggedIn(house);
    assert.ok(client.offers(`SIZE ${8 << 20}`), client.features.text);
    assert.equal((await client.command(`MAIL FROM:<${FROM}> SIZE=${(8 << 20) + 1}`)).text.slice(0, 9), '552 5.3.4');
    client.end();
    const { error } = await submit(house, { to: ada.email, attachments: [{ filename: 'a.bin', content: Buffer.alloc(7 << 20, 7) }] });
    assert.match(error.response, /^552 5\.3\.4 /);
  });

  it("the relay's refusals in its own words, each recipient's own", async () => {
    const [ada, bob] = [await postern.person(), await postern.person()];
    relay.when('RCPT', relaySays.reply('550 5.1.1 No such user here'), { match: ada.email });
    const { error } = await submit(house, { to: ada.email });
    assert.equal(error.response, '550 5.1.1 No such user here');
    const info = await submit(house, { to: [ada.email, bob.email] });
    assert.match(info.response ?? info.error.stack, /\(partial: 1 forwarded, 1 refused by the relay; decision dec_/);
    assert.deepEqual(relay.accepted(bob.email)[0].to, [bob.email]);
    await waitFor('the report to the sender, in which both are named', () => relay.accepted(ada.email).some(({ mail }) => mail.path === ''));
    relay.forget();
    relay.when('END', relaySays.reply('554 5.6.0 No thanks'), { match: bob.email, times: 1 });
    assert.equal((await submit(house, { to: bob.email })).error.response, '554 5.6.0 No thanks');
  });

  it('nothing that no client may send', () => {
    assert.deepEqual([relay.illegal, relay.violations], [NOTHING_ILLEGAL, []]);
  });
});

describe('the dialog', () => {
  it('offers what it should, AUTH and STARTTLS at the right time', async () => {
    const client = await SmtpClient.start(postern.smtpPort);
    for (const word of ['PIPELINING', 'SIZE', '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES', 'DSN', 'STARTTLS']) assert.ok(client.offers(word), `${word}: ${client.features.text}`);
    assert.ok(client.offers('AUTH'), 'on loopback');
    assert.equal((await client.starttls({ ca: house.cert.cert })).code, 220);
    assert.ok(!client.offers('STARTTLS') && client.offers('AUTH'));
    assert.ok(['TLSv1.2', 'TLSv1.3'].includes(client.protocol));
    await client.expect(530, `MAIL FROM:<${FROM}>`);
    assert.equal((await client.login(KEYS.billing)).code, 235);
    await client.expect(250, `MAIL FROM:<${FROM}>`);
    assert.equal((await client.quit()).code, 221);
  });

  it('logs in by LOGIN and by PLAIN in two steps', async () => {
    const code = (text) => Buffer.from(text).toString('base64');
    const client = await SmtpClient.start(postern.smtpPort);
    await client.expect(334, 'AUTH LOGIN');
    await client.expect(334, code('apikey'));
    await client.expect(235, code(KEYS.billing.secret));
    client.end();
    const another = await SmtpClient.start(postern.smtpPort);
    await another.expect(334, 'AUTH PLAIN');
    await another.expect(235, code(`\0apikey\0${KEYS.billing.secret}`));
    another.end();
  });

  it('each reply comes in one piece, also under TLS', async () => {
    const eve = await asleep();
    const client = await SmtpClient.open(postern.smtpsPort, { tls: { ca: house.cert.cert } });
    await client.reply();
    await client.command('EHLO client.example');
    await client.login(KEYS.desk);
    const before = client.pieces.length;
    const { end } = await client.send({ to: eve.email, content: content({ to: eve.email }) });
    assert.equal(end.lines.length, 3);
    assert.equal(client.pieces.length - before, 4, 'MAIL, RCPT, DATA, and the reply of three lines');
    client.end();
  });

  it('answers a pipelined transaction in order', async () => {
    const [ada, bob] = [await postern.person(), await optedOut()];
    const client = await loggedIn(house, 'promo');
    client.write(`MAIL FROM:<${FROM}>\r\nRCPT TO:<${ada.email}>\r\nRCPT TO:<${bob.email}>\r\nRCPT TO:<not an address>\r\nDATA\r\n`);
    const codes = [];
    for (let i = 0; i < 5; i++) codes.push((await client.reply()).code);
    assert.deepEqual(codes, [250, 250, 550, 501, 354]);
    client.write(`${content({ to: ada.email })}.\r\nQUIT\r\n`);
    assert.match((await client.reply()).text, QUEUED);
    assert.equal((await client.reply()).code, 221);
    await client.gone();
  });

  it('finishes what was begun when it is stopped, and tells the idle 421', async () => {
    const [idle, busy] = [await loggedIn(house), await loggedIn(house)];
    const ada = await postern.person();
    await busy.expect(250, `MAIL FROM:<${FROM}>`);
    await busy.expect(250, `RCPT TO:<${ada.email}>`);
    await busy.expect(354, 'DATA');
    postern.signal('SIGTERM');
    assert.equal((await idle.reply()).code, 421);
    await idle.gone();
    busy.write(`${content({ to: ada.email })}.\r\n`);
    assert.match((await busy.reply()).text, QUEUED);
    assert.equal((await busy.reply()).code, 421);
    assert.deepEqual(await postern.ended, { code: 0, signal: null });
    await postern.launch();
  });
});
