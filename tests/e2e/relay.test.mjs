// The relay behind Postern, in every mood: what is tried again and when, what is passed on, what is left unknown and
// never sent twice, how connections are used, and the report (RFC 3464) that the sender gets in the end.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FakeRelay, relaySays } from '../fakes/relay.mjs';
import { waitFor } from './harness.mjs';
import { FROM, NOTHING_ILLEGAL, QUEUED, content, loggedIn, run, startMailHouse, submit } from './smtp.mjs';
import { certificate } from './smtp_client.mjs';

const MINUTE = 60_000, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const KEPT = /^250 2\.0\.0 Ok: queued as \S+ \(/;

let house, postern, relay;
before(async () => {
  house = await startMailHouse({
    configure: (settings) => {
      Object.assign(settings.providers.find((one) => one.kind === 'smtp'), { total_ms: 700, connect_ms: 500, max_concurrency: 4 });
      settings.policy.caps = [];
    },
  });
  ({ postern, relay } = house);
});
after(() => house.end());

const later = (ms) => postern.setClock(new Date(postern.now.getTime() + ms));
const person = async () => (await postern.person()).email;
let total_ms = 700;
/** The relay behaves again, and Postern meets it as for the first time: no connection is open, no breaker. */
async function calm() {
  relay.forget();
  total_ms += 1;
  await postern.reconfigure((settings) => Object.assign(settings.providers.find((one) => one.kind === 'smtp'), { total_ms }));
}

/** The mail as Python's email package reads it. */
async function parsed(mail) {
  const script = `
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = list(m.iter_parts())
fields = lambda block: {k.lower(): str(v) for k, v in block.items()}
print(json.dumps({'type': m.get_content_type(), 'report': m.get_param('report-type'), 'to': str(m['To']), 'from': str(m['From']), 'auto': str(m['Auto-Submitted']),
  'parts': [p.get_content_type() for p in parts], 'text': parts[0].get_content(), 'status': [fields(b) for b in parts[1].get_payload()], 'defects': [str(d) for p in m.walk() for d in p.defects]}))`;
  const { code, stdout, stderr } = await run('/usr/bin/python3', ['-c', script], { input: mail });
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}
const reports = (about) => relay.accepted().filter((one) => one.mail.path === '' && one.text.includes(about));
const report = async (about) => parsed((await waitFor(`a report about ${about}`, () => reports(about)[0])).content);

describe('a relay that says not now', () => {
  const moods = [
    ['greets with 421', 'CONNECT', relaySays.closing('421 4.3.2 Too busy')],
    ['greets with 554', 'CONNECT', relaySays.closing('554 5.3.2 Not today')],
    ['never greets', 'CONNECT', relaySays.stall()],
    ['closes before it greets', 'CONNECT', relaySays.close()],
    ['says what is no SMTP', 'CONNECT', relaySays.bytes('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['stalls at EHLO', 'EHLO', relaySays.stall()],
    ['451 to MAIL', 'MAIL', relaySays.reply('451 4.3.0 Later')],
    ['closes at MAIL', 'MAIL', relaySays.close()],
    ['450 to RCPT', 'RCPT', relaySays.reply('450 4.2.1 Greylisted, come back')],
    ['421 to RCPT', 'RCPT', relaySays.closing('421 4.7.0 Going down')],
    ['451 to DATA', 'DATA', relaySays.reply('451 4.3.0 Later')],
    ['resets in the data', 'CONTENT', relaySays.reset()],
    ['stalls in the data', 'CONTENT', relaySays.stall()],
    ['452 to the end', 'END', relaySays.reply('452 4.3.1 Full')],
    ['421 to the end', 'END', relaySays.closing('421 4.3.2 Later')],
  ];
  for (const [name, point, behaviour] of moods)
    it(`${name}: kept, and sent once when it behaves`, async () => {
      await calm();
      const to = await person();
      relay.when(point, behaviour, { bytes: 1 });
      const info = await submit(house, { to });
      assert.match(info.response ?? info.error.message, KEPT);
      relay.forget();
      const before = relay.accepted(to).length;
      assert.equal(before, 0);
      await later(HOUR);
      await waitFor('the mail', () => relay.accepted(to).length > 0);
      await later(DAY);
      await postern.idle(50);
      assert.equal(relay.accepted(to).length, 1);
    });

  it('is not there at all: kept likewise', async () => {
    const to = await person();
    await relay.stop();
    assert.match((await submit(house, { to })).response, KEPT);
    await relay.start();
    await later(HOUR);
    await waitFor('the mail', () => relay.accepted(to).length === 1);
  });

  it('is asked again after longer and longer, and after five days the sender hears of it', async () => {
    await calm();
    const to = await person();
    relay.when('RCPT', relaySays.reply('450 4.2.1 Mailbox busy'), { match: to });
    const asked = () => relay.sessions.flatMap((one) => one.commands).filter((line) => line.startsWith('RCPT') && line.includes(to)).length;
    const client = await loggedIn(house);
    const { end } = await client.send({ to, content: content({ to, fields: ['Message-ID: <busy.1@shop.example>'] }), parameters: 'ENVID=order-7' });
    client.end();
    assert.match(end.text, KEPT);
    const gaps = [];
    let last = 0;
    for (let passed = 0; passed < 6 * DAY && reports(to).length === 0; passed += 4 * HOUR) {
      const before = asked();
      await later(4 * HOUR);
      await postern.idle(60);
      if (asked() === before) continue;
      gaps.push(passed - last);
      last = passed;
    }
    const one = await report(to);
    assert.ok(asked() > 4 && asked() < 80, `asked ${asked()} times`);
    assert.ok(last > 4 * DAY, `given up after ${last / HOUR} hours`);
    assert.deepEqual([one.type, one.report, one.parts], ['multipart/report', 'delivery-status', ['text/plain', 'message/delivery-status', one.parts[2]]]);
    assert.deepEqual([one.to, one.auto, one.defects], [FROM, 'auto-replied', []]);
    const [whole, each] = one.status;
    assert.equal(whole['original-envelope-id'], 'order-7');
    assert.deepEqual([each['final-recipient'].toLowerCase(), each.action, each.status.slice(0, 2)], [`rfc822; ${to}`, 'failed', '4.']);
    assert.match(each['diagnostic-code'], /450 4\.2\.1 Mailbox busy|Mailbox busy/);
    assert.match(one.text, new RegExp(to.replaceAll('.', '\\.')));
    assert.equal(reports(to).length, 1);
    await postern.newDay('12:00');
  });
});

describe('a relay that leaves us in the dark', () => {
  // A mail goes at least once (RFC 5321 section 6.1): who did not hear an answer to the last dot sends again.
  for (const [name, behaviour] of [['closes', relaySays.close()], ['resets', relaySays.reset()], ['stalls', relaySays.stall()], ['says half', relaySays.half()]])
    it(`${name} after the last dot: kept, and sent again`, async () => {
      await calm();
      const to = await person();
      relay.when('END', behaviour, { times: 1 });
      const info = await submit(house, { to });
      assert.match(info.response ?? info.error.message, KEPT);
      assert.deepEqual([relay.seen(to).length, relay.accepted(to).length], [1, 0]);
      await later(HOUR);
      await waitFor('the mail', () => relay.accepted(to).length === 1);
      await later(DAY);
      await postern.idle(50);
      assert.equal(relay.seen(to).length, 2);
    });
});

describe('a relay of few words', () => {
  it('HELO only, no extensions', async () => {
    const old = await new FakeRelay({ offers: { PIPELINING: false, SIZE: false, '8BITMIME': false, SMTPUTF8: false, ENHANCEDSTATUSCODES: false, DSN: false } }).start();
    old.when('EHLO', relaySays.reply('500 What?'));
    await postern.reconfigure((settings) => Object.assign(settings.providers.find((one) => one.kind === 'smtp'), { url: old.url }));
    const to = await person();
    const client = await loggedIn(house);
    const { end } = await client.send({ to, content: content({ to }), parameters: 'RET=HDRS ENVID=x1 SIZE=200' });
    client.end();
    assert.match(end.text, QUEUED);
    assert.deepEqual([old.violations, old.accepted(to)[0].mail.text], [[], `FROM:<${FROM}>`]);
    assert.equal(old.accepted(to)[0].session.pipelined, 0);
    await postern.reconfigure((settings) => Object.assign(settings.providers.find((one) => one.kind === 'smtp'), { url: relay.url }));
    await old.stop();
  });

  it('pipelines where it may', async () => {
    await calm();
    const to = [await person(), await person(), await person()];
    assert.match((await submit(house, { to })).response, QUEUED);
    assert.ok(relay.accepted(to[0])[0].session.pipelined >= 2);
  });

  it('answers byte by byte, late', async () => {
    await calm();
    const to = await person();
    relay.when('MAIL', relaySays.drip(2), { times: 1 }).when('END', relaySays.late(100), { times: 1 });
    assert.match((await submit(house, { to })).response, QUEUED);
  });
});

describe('connections', () => {
  it('are used again, and no more than configured', async () => {
    await calm();
    const before = relay.connections;
    const to = await Promise.all(Array.from({ length: 24 }, person));
    relay.when('END', relaySays.late(15));
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, relay.open)), 2);
    const infos = await Promise.all(to.map((one) => submit(house, { to: one })));
    clearInterval(watch);
    for (const info of infos) assert.match(info.response ?? info.error.message, QUEUED);
    assert.ok(most <= 4 && relay.connections - before <= 8, `${most} at once, ${relay.connections - before} in all`);
    for (const one of to) assert.equal(relay.accepted(one).length, 1);
  });

  it('that died meanwhile are noticed: nothing is lost, nothing is sent twice', async () => {
    await calm();
    relay.closeAfterMessage = true;
    for (let i = 0; i < 6; i++) {
      const to = await person();
      assert.match((await submit(house, { to })).response, QUEUED);
      assert.equal(relay.accepted(to).length, 1);
    }
    relay.closeAfterMessage = false;
    relay.messagesPerConnection = 2;
    for (let i = 0; i < 6; i++) {
      const to = await person();
      assert.match((await submit(house, { to })).response, QUEUED);
      assert.equal(relay.accepted(to).length, 1);
    }
  });

  it('a mail whose recipients are all refused leaves the connection in order', async () => {
    await calm();
    const [bad, good] = [await person(), await person()];
    relay.when('RCPT', relaySays.reply('550 5.1.1 Gone'), { match: bad });
    assert.equal((await submit(house, { to: bad })).error.response, '550 5.1.1 Gone');
    assert.match((await submit(house, { to: good })).response, QUEUED);
    assert.equal(relay.accepted(good).length, 1);
  });
});

describe('TLS and login', () => {
  let cert, other;
  before(async () => {
    [cert, other] = [await certificate(), await certificate()];
  });
  after(() => Promise.all([cert.remove(), other.remove()]));
  const auth = { user: 'relay-user', secret: 'relay-secret-0123456789' };

  async function withRelay(options, configure, use) {
    const mine = new FakeRelay(options);
    mine.caFile = cert.certFile;
    const own = await startMailHouse({ relay: mine, configure: (settings) => Object.assign(settings.providers.find((one) => one.kind === 'smtp'), { total_ms: 1000, starttls: options.tls !== undefined && !options.implicit, ...configure }) });
    try {
      await use(own, mine);
    } finally {
      await own.end();
    }
  }
  const send = async (own) => {
    const { email } = await own.postern.person();
    return [email, await submit(own, { to: email })];
  };

  it('STARTTLS and AUTH; implicit TLS', async () => {
    for (const implicit of [false, true])
      await withRelay({ tls: cert, auth, implicit }, {}, async (own, mine) => {
        const [to, info] = await send(own);
        assert.match(info.response ?? info.error.message, QUEUED);
        const [one] = mine.accepted(to);
        assert.deepEqual([one.isTls, one.user, mine.violations], [true, auth.user, []]);
        own.postern.keepSecret(auth.secret);
      });
  });

  it('another certificate than the one that is trusted: nothing is sent, no login either', () =>
    withRelay({ tls: other, auth }, {}, async (own, mine) => {
      const [to, info] = await send(own);
      assert.match(info.response ?? info.error.message, KEPT);
      assert.equal(mine.seen(to).length, 0);
      assert.ok(!mine.sessions.some((one) => one.commands.some((line) => /^(AUTH|MAIL)/.test(line))));
    }));

  it('starttls: true, and the relay offers none: nothing is sent', () =>
    withRelay({ auth: undefined }, { starttls: true }, async (own, mine) => {
      const [to, info] = await send(own);
      assert.match(info.response ?? info.error.message, KEPT);
      assert.equal(mine.seen(to).length, 0);
    }));

  it('a login that is refused: kept, not lost', () =>
    withRelay({ tls: cert, auth }, {}, async (own, mine) => {
      mine.when('AUTH', relaySays.reply('535 5.7.8 No'));
      const [to, info] = await send(own);
      assert.match(info.response ?? info.error.message, KEPT);
      mine.forget();
      await own.postern.setClock(new Date(own.postern.now.getTime() + HOUR));
      await waitFor('the mail', () => mine.accepted(to).length === 1);
    }));
});

describe('reports', () => {
  it('of those who are blocked after the data', async () => {
    await calm();
    const [ada, bob] = [await person(), await person()];
    await postern.optOut(bob);
    const info = await submit(house, { to: [ada, bob], headers: { 'X-Postern-Category': 'promo-out' } }, { key: 'shop' });
    assert.match(info.response ?? info.error.message, /partial: 1 forwarded, 1 blocked/);
    const one = await report(bob);
    assert.deepEqual([one.type, one.report, one.to, one.defects], ['multipart/report', 'delivery-status', FROM, []]);
    assert.equal(one.status.length, 2);
    assert.deepEqual([one.status[1]['final-recipient'].toLowerCase(), one.status[1].action, one.status[1].status], [`rfc822; ${bob}`, 'failed', '5.7.1']);
    assert.deepEqual(relay.transactions.at(-1).to, [FROM]);
    assert.deepEqual([relay.transactions.at(-1).mail.path], [''], 'the null sender: nobody answers a report');
  });

  it('of those whom the relay refused', async () => {
    await calm();
    const [ada, bob] = [await person(), await person()];
    relay.when('RCPT', relaySays.reply('550 5.1.1 No such user'), { match: bob });
    assert.match((await submit(house, { to: [ada, bob] })).response, /1 refused by the relay/);
    const one = await report(bob);
    assert.deepEqual([one.status[1].status, one.status[1].action], ['5.1.1', 'failed']);
    assert.match(one.status[1]['diagnostic-code'], /^smtp; 550 5\.1\.1 No such user/);
  });

  it('none for who wants none: the null sender, NOTIFY=NEVER, a key without', async () => {
    await calm();
    await postern.reconfigure((settings) => Object.assign(settings.keys.find((key) => key.name === 'strict'), { reports: 'none', partial: 'forward', categories: ['promo-out', 'invoice'] }));
    const before = relay.accepted().filter((one) => one.mail.path === '' && one.to.includes(FROM)).length;
    for (const [key, from, parameters] of [['shop', '', ''], ['shop', FROM, ' NOTIFY=NEVER'], ['strict', FROM, '']]) {
      const [ada, bob] = [await person(), await person()];
      await postern.optOut(bob);
      const client = await loggedIn(house, key);
      await client.expect(250, `MAIL FROM:<${from}>`);
      for (const to of [ada, bob]) await client.expect(250, `RCPT TO:<${to}>${parameters}`);
      await client.expect(354, 'DATA');
      await client.push(Buffer.concat([content({ to: ada, fields: ['X-Postern-Category: promo-out'] }), Buffer.from('.\r\n')]));
      assert.match((await client.reply()).text, /1 forwarded, 1 blocked/);
      client.end();
    }
    await postern.idle(150);
    assert.equal(relay.accepted().filter((one) => one.mail.path === '' && one.to.includes(FROM)).length, before);
  });

  it('nothing illegal, in all of this', () => assert.deepEqual([relay.illegal, relay.violations], [NOTHING_ILLEGAL, []]));
});
