// What becomes of each recipient of a mail that was answered with 250: it is forwarded, or kept, or its sender is told,
// never two of them and never none, whatever the relay says to whom and whatever happens to what waits.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { relaySays } from '../fakes/relay.mjs';
import { waitFor } from './harness.mjs';
import { QUEUED, content, loggedIn, startMailHouse } from './smtp.mjs';

const HOUR = 3_600_000;
let house, postern, relay;

before(async () => {
  house = await startMailHouse({ configure: (settings) => (settings.policy.caps = []) });
  ({ postern, relay } = house);
});
after(() => house.end());

const person = async () => (await postern.person()).email;
/** Somebody whose day is over. */
const asleep = () => postern.person({ preferences: { hours: { 'mon-fri': '08:00-11:00' } } });
const reports = (about) => relay.accepted().filter((one) => one.mail.path === '' && one.text.includes(`Final-Recipient: rfc822; ${about}\r\n`));
const forwarded = (to) => relay.accepted().filter((one) => one.to.includes(to));

/** One mail, and the reply to it. */
async function send(mail, key) {
  const client = await loggedIn(house, key);
  const { end } = await client.send({ ...mail, content: content(mail) });
  client.end();
  return (end ?? assert.fail('no answer')).text;
}

describe('a relay that answers each recipient in its own way', () => {
  it('250, 451 and 550: one forwarded, one kept, one reported', async () => {
    const [now, later, never] = [await person(), await person(), await person()];
    relay.when('RCPT', relaySays.reply('451 4.2.1 Later'), { match: later, times: 1 });
    relay.when('RCPT', relaySays.reply('550 5.1.1 No such user'), { match: never });
    assert.match(await send({ to: [now, later, never] }), /\(partial: 1 forwarded, 1 deferred, 1 refused by the relay; decision dec_/);
    const [report] = await waitFor('a report', () => reports(never).length > 0 && reports(never));
    assert.match(report.text, /\r\nStatus: 5\.1\.1\r\n/);
    assert.deepEqual([forwarded(now).length, forwarded(later).length], [1, 0]);
    await postern.setClock(new Date(postern.now.getTime() + HOUR));
    await waitFor('the kept one', () => forwarded(later).length === 1);
    assert.deepEqual([now, later, never].map((one) => [forwarded(one).length, reports(one).length]), [[1, 0], [1, 0], [0, 1]]);
    relay.forget();
  });

  it('"later", and then "never": reported, once', async () => {
    const to = await person();
    relay.when('END', relaySays.reply('451 4.3.0 Later'), { match: to, times: 1 });
    relay.when('END', relaySays.reply('554 5.6.0 No'), { match: to, times: 1 });
    assert.match(await send({ to }), /^250 .*deferred until/);
    await postern.setClock(new Date(postern.now.getTime() + HOUR));
    const [report] = await waitFor('a report', () => reports(to).length > 0 && reports(to));
    assert.match(report.text, /\r\nStatus: 5\.6\.0\r\n/);
    await postern.setClock(new Date(postern.now.getTime() + 24 * HOUR));
    await postern.idle(100);
    assert.deepEqual([forwarded(to).length, reports(to).length], [0, 1]);
    relay.forget();
  });

  it('is not there, and what waits is not tried over and over, though another provider of mail is well', async () => {
    const people = await Promise.all(Array.from({ length: 10 }, person));
    const again = () => postern.metric('postern_released_total', { end: 'deferred_again' });
    await relay.stop();
    for (const to of people) assert.match(await send({ to }), /^250 /);
    const before = await again();
    for (let seconds = 0; seconds < 60; seconds += 10) {
      await postern.setClock(new Date(postern.now.getTime() + 10_000));
      await postern.idle(150);
    }
    assert.ok((await again()) - before <= 2 * people.length, `${(await again()) - before} tries in a minute`);
    await relay.start();
    await postern.setClock(new Date(postern.now.getTime() + HOUR));
    await waitFor('all of them', () => people.every((to) => forwarded(to).length === 1));
  });

  it("what it says is no field of the report, and a status of another class is none", async () => {
    const [now, never] = [await person(), await person()];
    relay.when('RCPT', relaySays.reply('550 2.0.0 Fine\u0000\u000bBcc: x@y.example'), { match: never });
    assert.match(await send({ to: [now, never] }), /1 forwarded, 1 refused by the relay/);
    const [report] = await waitFor('a report', () => reports(never).length > 0 && reports(never));
    assert.match(report.text, /\r\nStatus: 5\.0\.0\r\n[^]*\r\nDiagnostic-Code: smtp; 550 2\.0\.0 Fine {2}Bcc: x@y\.example\r\n/);
    relay.forget();
  });

  it('"later" to the carrier of X-SMTPAPI: all of its recipients are kept', async () => {
    const to = [await person(), await person(), await person()];
    relay.when('END', relaySays.reply('451 4.3.0 Later'), { times: 1 });
    const fields = [`X-SMTPAPI: ${JSON.stringify({ to })}`];
    assert.match(await send({ to: 'carrier@shop.example', fields }), /^250 .*deferred until/);
    await postern.setClock(new Date(postern.now.getTime() + HOUR));
    const reached = () => relay.accepted().flatMap((one) => JSON.parse(one.field('x-smtpapi') ?? '{}').to ?? []);
    await waitFor('all three', () => to.every((one) => reached().includes(one)));
    assert.equal(reached().filter((one) => to.includes(one)).length, 3);
  });
});

describe('a mail that waits', () => {
  for (const [size, body] of [['small', 'Hello'], ['large', 'Hello\r\n'.repeat(20_000)]])
    it(`and whose recipient opts out meanwhile, ${size}: its sender is told, once`, async () => {
      const eve = await asleep();
      assert.match(await send({ to: eve.email, body }, 'bot'), /deferred until/);
      await postern.optOut(eve.email);
      const [report] = await waitFor('a report', () => reports(eve.email).length > 0 && reports(eve.email));
      assert.match(report.text, /opted out while it waited/);
      assert.deepEqual([forwarded(eve.email).length, reports(eve.email).length], [0, 1]);
    });

  it('and that its key may not send any more when it is due: its sender is told', async () => {
    const eve = await asleep();
    assert.match(await send({ to: eve.email }, 'bot'), /deferred until/);
    const bot = postern.settings.keys.find((key) => key.name === 'bot');
    await postern.reconfigure(() => Object.assign(bot, { default_category: 'invoice', categories: ['invoice'] }));
    const [row] = await postern.deferred(eve.id);
    await postern.passRelease(row.release_at);
    await waitFor('a report', () => reports(eve.email).length === 1);
    assert.equal(forwarded(eve.email).length, 0);
  });
});

describe('a mail that comes again because its client heard no answer', () => {
  const MESSAGE_ID = 'Message-ID: <order.77@shop.example>';

  it('is sent once; another text, another recipient, another key: another mail', async () => {
    const [ada, bob] = [await person(), await person()];
    const mail = { to: ada, fields: [MESSAGE_ID] };
    assert.match(await send(mail), QUEUED);
    assert.match(await send(mail), /^250 2\.0\.0 Ok: queued as \S+$/);
    assert.equal(forwarded(ada).length, 1);
    await send({ ...mail, body: 'Another' });
    await send({ ...mail, to: [ada, bob] });
    await send(mail, 'shop'); // a newsletter, which needs a consent
    await send({ ...mail, fields: [MESSAGE_ID, 'X-Postern-Category: invoice'] }, 'shop');
    assert.deepEqual([forwarded(ada).length, forwarded(bob).length], [4, 1]);
  });

  it('ten times at once: one goes, the others hear that it is under way, later that it is queued', async () => {
    const to = await person();
    const mail = { to, fields: [MESSAGE_ID] };
    relay.when('END', relaySays.late(100), { match: to });
    const replies = await Promise.all(Array.from({ length: 10 }, () => send(mail)));
    assert.deepEqual(replies.map((text) => text.slice(0, 3)).sort(), ['250', ...Array(9).fill('451')]);
    assert.match(await send(mail), /^250 /);
    assert.equal(forwarded(to).length, 1);
    relay.forget();
  });

  it('was refused before, here or by the relay: it may come again', async () => {
    const eve = await postern.person();
    const mail = { to: eve.email, fields: [MESSAGE_ID] };
    assert.match(await send(mail, 'shop'), /^550 5\.7\.1 /);
    await postern.consent(eve, { channel: 'email', category: 'newsletter' });
    relay.when('END', relaySays.reply('550 5.1.1 No'), { match: eve.email, times: 1 });
    assert.equal(await send(mail, 'shop'), '550 5.1.1 No');
    assert.match(await send(mail, 'shop'), QUEUED);
    assert.equal(forwarded(eve.email).length, 1);
  });

  it('and Postern died while it was under way: it may come again', async () => {
    const to = await person();
    const mail = { to, fields: [MESSAGE_ID] };
    relay.when('END', relaySays.stall(), { match: to, times: 1 });
    const first = send(mail).then(() => 'answered', () => 'no answer');
    await waitFor('the mail at the relay', () => relay.seen(to).length === 1);
    await postern.kill();
    assert.equal(await first, 'no answer');
    await postern.launch();
    assert.match(await send(mail), QUEUED);
    assert.equal(forwarded(to).length, 1);
  });
});

it('an idempotency key is for one mail to the same recipients: to others it is refused, not taken for sent', async () => {
  const [ada, bob] = [await person(), await person()];
  const mail = { fields: ['Idempotency-Key: order-2002'], body: 'The same' };
  const client = await loggedIn(house);
  const one = async (to) => (await client.send({ to, content: content({ ...mail, to: 'list@mail.example' }) })).end.text;
  const first = await one(ada);
  assert.match(first, QUEUED);
  assert.equal(await one(ada), first);
  assert.match(await one(bob), /^554 5\.5\.0 /);
  client.end();
  assert.deepEqual([forwarded(ada).length, forwarded(bob).length], [1, 0]);
});
