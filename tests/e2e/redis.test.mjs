// Caps that several Posterns count in one Redis, and what becomes of them when Redis is killed, stopped, flushed,
// replaced by a replica that lags, or out of reach.  The one idea: a cap of 3 lets 3 through, whatever happens to
// Redis, and who has no cap never waits for it.  REDIS_RUNS=50 makes the runs many (CI has few).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { behave } from '../fakes/server.mjs';
import { decisionIds, header } from './expect.mjs';
import { Postern, freePort, runToEnd, sentOf, startHouse, waitFor } from './harness.mjs';
import { RedisServer } from './redis.mjs';

const RUNS = Number(process.env.REDIS_RUNS ?? 0);
const runs = (few, many = RUNS) => (RUNS ? many : few);
/** The tests' machine is shared: where a wait is not what is tested, Redis has time. */
const PATIENT = { deadline_ms: 1000 };

/** The breaker's bound, 100 ms from the first command without an answer, is a unit test's; here clients and a look too take their share of the machine. */
const OPENS_MS = RUNS ? 250 : 400;

const sharing = (redis, options = PATIENT) => (settings) => {
  settings.counters = redis.url;
  if (options) settings.redis = options;
};
const up = (postern, what = 'counters that are whole') => waitFor(what, async () => (await postern.metric('postern_counters_up')) === 1, { deadline: 15_000 });
const down = (postern) => waitFor('counters that are down', async () => (await postern.metric('postern_counters_up')) === 0, { every: 5 });
const code = (answer) => header(answer, 'X-Postern-Code');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Two Posterns, each with a store of its own, in front of the same providers. */
async function startPair(redis, options) {
  const house = await startHouse({ configure: sharing(redis, options) });
  const second = await Postern.start({ mail: house.mail, sms: house.sms, callbacks: house.callbacks, configure: sharing(redis, options) });
  const both = [house.postern, second];
  await Promise.all(both.map((one) => up(one)));
  return {
    ...house,
    both,
    /** The same person, known to both. */
    async subscriber() {
      const person = await house.postern.subscriber();
      await second.api('PUT', `/postern/v1/contacts/${person.id}`, { addresses: { email: [person.email], sms: [person.phone] }, zone: 'America/New_York' });
      for (const channel of ['email', 'sms']) await second.consent(person, { channel, category: 'newsletter' });
      second.keepSecret(person.email);
      return person;
    },
    async end() {
      await second.stop();
      await house.end();
    },
  };
}

/** So many mails at once, alternating between the Posterns; the statuses counted, and each answer's outcome. */
async function storm(both, person, n = 400) {
  const answers = await Promise.all(Array.from({ length: n }, (_, i) => both[i % both.length].mail({ to: person.email, text: `offer ${i}` })));
  const count = {};
  for (const one of answers) count[header(one, 'X-Postern-Outcome')] = (count[header(one, 'X-Postern-Outcome')] ?? 0) + 1;
  return { answers, count };
}

describe('a start', { timeout: 60_000 }, () => {
  it('is ready when the counters are: the first capped mail is not kept for them', async () => {
    const redis = await RedisServer.start();
    const house = await startHouse({ configure: sharing(redis) });
    try {
      const ada = await house.postern.subscriber();
      const answer = await house.postern.mail({ to: ada.email, text: 'first' });
      assert.equal(header(answer, 'X-Postern-Outcome'), 'forwarded');
    } finally {
      await house.end();
      await redis.stop();
    }
  });

  it('without Redis is ready all the same, and says what waits', async () => {
    const redis = { url: `redis://127.0.0.1:${await freePort()}/0` };
    const house = await startHouse({ configure: sharing(redis) });
    try {
      const ada = await house.postern.subscriber();
      assert.equal(header(await house.postern.mail({ to: ada.email, text: 'first' }), 'X-Postern-Outcome'), 'deferred');
      assert.equal(await house.postern.metric('postern_counters_up'), 0);
    } finally {
      await house.end();
    }
  });
});

describe('one cap in two Posterns', { timeout: RUNS ? 1_800_000 : 120_000 }, () => {
  let redis, pair;
  before(async () => {
    redis = await RedisServer.start();
    pair = await startPair(redis);
  });
  after(async () => {
    await pair?.end();
    await redis?.stop();
  });

  it('400 concurrent mails to one contact with a cap of 3 forward exactly 3', async (t) => {
    for (let run = 0; run < runs(4); run++) {
      const ada = await pair.subscriber();
      const { count } = await storm(pair.both, ada);
      assert.deepEqual(count, { forwarded: 3, blocked: 397 }, `run ${run}`);
      assert.equal(pair.mail.sends(ada.email).length, 3, `run ${run}`);
    }
    t.diagnostic(`${runs(4)} runs`);
  });

  it('both channels and both Posterns share it, one after the other too', async () => {
    const ada = await pair.subscriber();
    const [one, two] = pair.both;
    assert.equal((await one.mail({ to: ada.email, text: 'a' })).status, 202);
    assert.equal((await two.sms({ to: ada.phone, body: 'b' })).status, 201);
    assert.equal((await two.mail({ to: ada.email, text: 'c' })).status, 202);
    const full = await one.mail({ to: ada.email, text: 'd' });
    assert.equal(full.status, 403);
    assert.equal(code(full), 'PST-HARD-FREQUENCY');
    const decision = await one.decision(decisionIds(full)[0]);
    assert.equal(decision.degraded ?? false, false);
  });

  it('what a provider refused gives its slot back', async () => {
    const ada = await pair.subscriber();
    pair.mail.when('refused', behave.answer(400, { 'Content-Type': 'application/json' }, '{"errors":[{"message":"no","field":null,"help":null}]}'), 1);
    assert.equal((await pair.both[0].mail({ to: ada.email, text: 'refused' })).status, 400);
    const { count } = await storm(pair.both, ada, 20);
    assert.deepEqual(count, { forwarded: 3, blocked: 17 });
  });

  it('a restarted Postern goes on counting, after a kill too', async () => {
    const ada = await pair.subscriber();
    const [one, two] = pair.both;
    for (const postern of [one, two]) assert.equal((await postern.mail({ to: ada.email, text: `at ${postern.port}` })).status, 202);
    await one.kill();
    await one.launch();
    await up(one);
    assert.equal((await one.mail({ to: ada.email, text: 'third' })).status, 202);
    for (const postern of [one, two]) assert.equal((await postern.mail({ to: ada.email, text: 'fourth' })).status, 403);
  });

  it('FLUSHALL at a random moment lets no fourth through', async (t) => {
    let late = 0;
    for (let run = 0; run < runs(2, 100); run++) {
      const ada = await pair.subscriber();
      const flushed = sleep(Math.random() * 150).then(() => redis.command('FLUSHALL'));
      await storm(pair.both, ada, 120);
      await flushed;
      const noticed = performance.now();
      await Promise.all(pair.both.map((one) => waitFor('the loss noticed', async () => (await one.metric('postern_counters_losses_total')) > run, { every: 5 })));
      late = Math.max(late, performance.now() - noticed);
      await Promise.all(pair.both.map((one) => up(one)));
      await storm(pair.both, ada, 20);
      assert.equal(pair.mail.sends(ada.email).length, 3, `run ${run}`);
    }
    assert.ok(late < 1000, `noticed after ${late} ms`);
    t.diagnostic(`noticed within ${Math.round(late)} ms of the flush`);
  });

  it('Redis restarted in the middle of 400 mails: never a fourth', async (t) => {
    for (let run = 0; run < runs(2); run++) {
      const ada = await pair.subscriber();
      const killed = sleep(Math.random() * 200).then(() => redis.kill());
      const { count } = await storm(pair.both, ada);
      await killed;
      await redis.launch();
      await Promise.all(pair.both.map((one) => up(one)));
      await storm(pair.both, ada, 20);
      assert.equal(pair.mail.sends(ada.email).length, 3, `run ${run}: ${JSON.stringify(count)}`);
    }
    t.diagnostic(`${runs(2)} runs`);
  });
});

describe('Redis goes away', { timeout: RUNS ? 1_800_000 : 120_000 }, () => {
  let redis, house, postern, mail;
  const stall = () => postern.metric('postern_loop_stall_seconds_max');

  before(async () => {
    redis = await RedisServer.start();
    house = await startHouse({
      configure: (settings) => {
        sharing(redis, null)(settings);
        settings.policy.caps.push({ name: 'all', calendar: 'day', limit: 5 });
      },
    });
    ({ postern, mail } = house);
    await up(postern);
  });
  after(async () => {
    await house?.end();
    await redis?.stop();
  });

  /** The answer to an offer that was decided with counts: on a busy machine some commands miss their 10 ms. */
  function counted(person) {
    return waitFor('an answer with counts', async () => {
      const answer = await postern.mail({ to: person.email, text: 'offer' });
      return code(answer) !== 'PST-DEFER-DEGRADED' && answer;
    });
  }

  /** What semantics says of each class while the counters do not answer. */
  async function assertDegraded() {
    const [ada, out] = [await postern.subscriber(), await postern.subscriber()];
    await postern.optOut(out.email);
    const [offer, invoice, otp, refused] = await Promise.all([
      postern.mail({ to: ada.email, text: 'offer' }),
      postern.mail({ to: ada.email, text: 'invoice' }, { key: 'billing' }),
      postern.sms({ to: ada.phone, body: 'code 1234' }, { key: 'code-sms' }),
      postern.mail({ to: out.email, text: 'offer' }),
    ]);
    assert.equal(refused.status, 403, 'an opt-out holds');
    assert.equal(code(refused), 'PST-HARD-OPTOUT');
    assert.equal(header(offer, 'X-Postern-Outcome'), 'deferred');
    assert.equal(code(offer), 'PST-DEFER-DEGRADED');
    assert.equal(invoice.status, 202);
    assert.equal(header(invoice, 'X-Postern-Outcome'), 'forwarded');
    assert.equal(otp.status, 201);
    const [kept, passed] = [await postern.api('GET', `/postern/v1/decisions/${decisionIds(offer)[0]}`), await postern.decision(decisionIds(invoice)[0])];
    assert.equal(kept.degraded, true, JSON.stringify(kept));
    assert.equal(passed.degraded, true, JSON.stringify(passed));
    assert.ok((await postern.metric('postern_degraded_decisions_total', { class: 'transactional' })) > 0);
    assert.deepEqual(mail.sends(out.email), []);
    assert.deepEqual(mail.sends(ada.email).length, 1, 'the invoice alone');
    return ada;
  }

  it('killed: classes do as the policy says, the breaker opens in 100 ms and closes in 2 s', async (t) => {
    let [opens, closes] = [0, 0];
    for (let run = 0; run < runs(1, 20); run++) {
      const killed = performance.now();
      await redis.kill();
      await waitFor('the breaker to open', async () => (await postern.metric('postern_counters_breaker_open')) === 1, { every: 2 });
      opens = Math.max(opens, performance.now() - killed);
      const ada = await assertDegraded();
      const otps = await Promise.all(Array.from({ length: 40 }, (_, i) => postern.sms({ to: ada.phone, body: `code ${i}` }, { key: 'code-sms' })));
      for (const one of otps) assert.equal(one.status, 201, 'no 5xx for otp');
      await redis.launch();
      const returned = performance.now();
      await waitFor('the breaker to close', async () => (await postern.metric('postern_counters_breaker_open')) === 0, { every: 5 });
      closes = Math.max(closes, performance.now() - returned);
      await up(postern);
      // The invoice went out uncounted and counts now: of the 5 for everything it is one, and offers have 3 of their own.
      for (let i = 0; i < 3; i++) assert.equal(header(await counted(ada), 'X-Postern-Outcome'), 'forwarded');
      assert.equal((await counted(ada)).status, 403, 'a fourth offer');
      assert.equal(mail.sends(ada.email).length, 4);
    }
    assert.ok(opens < OPENS_MS, `the breaker opened after ${opens} ms`);
    assert.ok(closes < 2000, `the breaker closed after ${closes} ms`);
    t.diagnostic(`opens within ${Math.round(opens)} ms, closes within ${Math.round(closes)} ms`);
  });

  it('what was sent uncounted is counted when Redis is back', async () => {
    const ada = await postern.subscriber();
    await redis.kill();
    await waitFor('the breaker to open', async () => (await postern.metric('postern_counters_breaker_open')) === 1, { every: 2 });
    for (let i = 0; i < 5; i++) assert.equal((await postern.mail({ to: ada.email, text: `invoice ${i}` }, { key: 'billing' })).status, 202);
    await redis.launch();
    await up(postern);
    assert.equal(code(await counted(ada)), 'PST-HARD-FREQUENCY', 'the five invoices are the five of "all"');
  });

  it('stopped (SIGSTOP): the loop does not wait, answers come in time, and it comes back', async (t) => {
    const before = await stall();
    let [slowest, opens, closes] = [0, 0, 0];
    for (let run = 0; run < runs(1, 20); run++) {
      const ada = await postern.subscriber();
      redis.signal('SIGSTOP');
      const stopped = performance.now();
      const sends = Array.from({ length: 20 }, async (_, i) => {
        const began = performance.now();
        const answer = await postern.mail({ to: ada.email, text: `invoice ${i}` }, { key: 'billing' });
        slowest = Math.max(slowest, performance.now() - began);
        return answer;
      });
      await waitFor('the breaker to open', async () => (await postern.metric('postern_counters_breaker_open')) === 1, { every: 2 });
      opens = Math.max(opens, performance.now() - stopped);
      for (const one of await Promise.all(sends)) assert.equal(one.status, 202);
      await assertDegraded();
      if (RUNS) await sleep(30_000);
      redis.signal('SIGCONT');
      const returned = performance.now();
      await waitFor('the breaker to close', async () => (await postern.metric('postern_counters_breaker_open')) === 0, { every: 5 });
      closes = Math.max(closes, performance.now() - returned);
      await up(postern);
      assert.equal(code(await counted(ada)), 'PST-HARD-FREQUENCY', 'they were counted');
    }
    const stalled = await stall();
    assert.ok((await postern.metric('postern_counters_timeouts_total')) > 0);
    assert.ok(opens < OPENS_MS + 50, `the breaker opened ${opens} ms after the stop`);
    assert.ok(closes < 2000, `the breaker closed after ${closes} ms`);
    // A sanitizer's build on a shared machine has long turns of its own; one that waited for Redis would take seconds.
    assert.ok(stalled < Math.max(0.1, 2 * before), `a turn took ${stalled} s`);
    t.diagnostic(`longest turn ${stalled * 1000} ms (${before * 1000} before), slowest answer ${Math.round(slowest)} ms, opens ${Math.round(opens)} ms, closes ${Math.round(closes)} ms`);
  });

  it('a limit of memory without a policy that evicts: refused writes are said, and pass', async () => {
    const ada = await postern.subscriber();
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    const answer = await postern.mail({ to: ada.email, text: 'offer' });
    assert.equal(code(answer), 'PST-DEFER-DEGRADED');
    assert.equal((await postern.mail({ to: ada.email, text: 'invoice' }, { key: 'billing' })).status, 202);
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    await waitFor('the commit to be delivered', async () => (await postern.metric('postern_counters_kept')) === 0);
    await up(postern);
    assert.equal(header(await counted(ada), 'X-Postern-Outcome'), 'forwarded');
  });

  it('a policy that evicts is said, and keys that were evicted are a loss', async () => {
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
    await redis.command('CONFIG', 'SET', 'maxmemory', '1gb');
    await waitFor('the warning', async () => (await postern.metric('postern_counters_may_evict')) === 1);
    const losses = await postern.metric('postern_counters_losses_total');
    await redis.command('SET', 'somebody-elses', 'x'.repeat(100_000));
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    await waitFor('evicted keys', async () => Number(await redis.info('evicted_keys')) > 0);
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await waitFor('the loss noticed', async () => (await postern.metric('postern_counters_losses_total')) > losses, { deadline: 2000 });
    assert.ok((await postern.metric('postern_counters_evicted_keys')) > 0);
    await up(postern);
  });

  it('no slot is forgotten', async () => {
    assert.equal(await postern.metric('postern_counter_reservations'), 0);
  });

  it('its log says each change once, and no password', () => {
    for (const event of ['connected', 'lost', 'down', 'up', 'epoch', 'loaded', 'may_evict']) assert.match(postern.log, new RegExp(`event=${event} `));
    const lines = postern.log.split('\n').filter((line) => line.includes('event=unreachable'));
    assert.ok(lines.length <= 2 * (runs(1, 20) + 2), `the same trouble is not said at each try: ${lines.length}`);
  });
});

describe('Redis is not the one it was', { timeout: 120_000 }, () => {
  let master, replica, proxy, postern, house;

  /** A port that leads to whichever server is said. */
  async function leadTo(target) {
    const sockets = new Set();
    const server = net.createServer((client) => {
      const there = net.connect(server.target.port, '127.0.0.1');
      for (const [a, b] of [[client, there], [there, client]]) {
        sockets.add(a);
        a.setNoDelay().on('error', () => b.destroy()).on('close', () => (sockets.delete(a), b.destroy()));
        a.pipe(b);
      }
    });
    server.target = target;
    server.switchTo = (next) => {
      server.target = next;
      for (const socket of sockets) socket.destroy();
    };
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    server.url = `redis://127.0.0.1:${server.address().port}/0`;
    return server;
  }

  before(async () => {
    master = await RedisServer.start();
    replica = await RedisServer.start({ args: ['--replicaof', '127.0.0.1', String(master.port), '--repl-diskless-sync-delay', '0'] });
    proxy = await leadTo(master);
    house = await startHouse({ configure: sharing(proxy) });
    ({ postern } = house);
    await up(postern);
  });
  after(async () => {
    await house?.end();
    proxy?.switchTo(master);
    proxy?.close();
    await replica?.stop();
    await master?.stop();
  });

  it('a replica that became master without the last sends: they are counted again from the store', async () => {
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    assert.equal((await postern.mail({ to: ada.email, text: 'before' })).status, 202);
    await waitFor('the replica to have the epoch', () => replica.command('EXISTS', 'postern:2:epoch'));
    await replica.command('REPLICAOF', 'NO', 'ONE');
    for (let i = 0; i < 2; i++) assert.equal((await postern.mail({ to: ada.email, text: `unreplicated ${i}` })).status, 202);
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: bob.email, text: `unreplicated ${i}` })).status, 202);
    assert.equal(await replica.command('EXISTS', 'postern:2:epoch'), 1, 'the replica holds the epoch itself');
    proxy.switchTo(replica);
    const losses = waitFor('another server noticed', async () => (await postern.metric('postern_counters_losses_total')) === 1, { deadline: 2500 });
    const { count } = await storm([postern], ada, 20);
    assert.ok(!count.forwarded, JSON.stringify(count));
    await losses;
    await up(postern);
    for (const person of [ada, bob]) {
      assert.equal((await postern.mail({ to: person.email, text: 'a fourth' })).status, 403);
      assert.equal(house.mail.sends(person.email).length, 3);
    }
  });

  it('a replica is not counted in', async () => {
    await replica.command('REPLICAOF', '127.0.0.1', String(master.port));
    await down(postern);
    const ada = await postern.subscriber();
    assert.equal(code(await postern.mail({ to: ada.email, text: 'offer' })), 'PST-DEFER-DEGRADED');
    assert.match(postern.log, /READONLY/);
    await replica.command('REPLICAOF', 'NO', 'ONE');
    await up(postern);
    assert.equal((await postern.mail({ to: ada.email, text: 'offer' })).status, 202);
  });

  it('scripts that Redis forgot go along again', async () => {
    const ada = await postern.subscriber();
    await replica.command('SCRIPT', 'FLUSH');
    assert.equal((await postern.mail({ to: ada.email, text: 'offer' })).status, 202);
    await replica.command('SCRIPT', 'FLUSH');
    assert.equal((await postern.mail({ to: ada.email, text: 'offer' })).status, 202);
    assert.equal(await postern.metric('postern_counters_up'), 1);
  });
});

describe('a store and its Redis', { timeout: RUNS ? 600_000 : 120_000 }, () => {
  let redis;
  before(async () => (redis = await RedisServer.start()));
  after(() => redis?.stop());

  /** What Redis holds, each send once: where in its contact's string, and whether it is no more than reserved. */
  async function entries() {
    const all = [];
    for (const key of await redis.command('KEYS', 'postern:2:c:*')) {
      const text = Buffer.from(await redis.command('GET', key), 'latin1');
      const sends = new Map();
      for (let at = 0; at < text.length; at += 29) {
        const state = text.readUInt32BE(at + 25);
        sends.set(text.toString('hex', at, at + 8), { key, at, reserved: state > 0 && state < 0xffffffff }); // what came last is so
      }
      all.push(...sends.values());
    }
    return all;
  }

  it('sends counted in the process are counted in Redis when it is configured', async (t) => {
    const house = await startHouse();
    t.after(() => house.end());
    const { postern } = house;
    const ada = await postern.subscriber();
    for (let i = 0; i < 2; i++) assert.equal((await postern.mail({ to: ada.email, text: `offer ${i}` })).status, 202);
    assert.equal(await postern.metric('postern_counters_up'), 1);
    sharing(redis)(postern.settings);
    await postern.writeConfiguration();
    await postern.restart();
    await up(postern);
    const { count } = await storm([postern], ada, 20);
    assert.deepEqual(count, { forwarded: 1, blocked: 19 });
  });

  it('a Postern of an older version in the same Redis is waited for: neither sees what the other counts', async (t) => {
    const shared = await RedisServer.start();
    t.after(() => shared.stop());
    const seen = (store) => shared.command('HSET', 'postern:seen', store, Date.now()); // as 0.1 keeps it, twice a second
    await seen('00000000feedface');
    const house = await startHouse({ configure: sharing(shared) });
    t.after(() => house.end());
    const { postern } = house;
    await waitFor('the reason', () => /event=waits .*older version/.test(postern.log));
    const ada = await postern.subscriber();
    assert.equal(code(await postern.mail({ to: ada.email, text: 'offer' })), 'PST-DEFER-DEGRADED');
    assert.equal(await postern.metric('postern_counters_up'), 0);
    const [own] = await shared.command('HKEYS', 'postern:2:seen');
    await seen(own); // what it was itself before its upgrade
    await shared.command('HDEL', 'postern:seen', '00000000feedface');
    await up(postern);
    assert.equal(header(await postern.mail({ to: ada.email, text: 'offer' }), 'X-Postern-Outcome'), 'forwarded');
  });

  it('killed between reserving and sending: after the life of a reservation nothing is counted that was not sent', async (t) => {
    const house = await startHouse({ configure: sharing(redis), clock: false }); // the store closes intents by the system's
    t.after(() => house.end());
    const { postern } = house;
    await up(postern);
    const people = [];
    let reserved = 0;
    for (let run = 0; run < runs(4, 40); run++) {
      const some = await Promise.all(Array.from({ length: 12 }, () => postern.subscriber()));
      people.push(...some);
      const sending = some.flatMap((one) => Array.from({ length: 4 }, (_, i) => postern.mail({ to: one.email, text: `offer ${i}` }).catch(() => undefined)));
      await sleep(5 + Math.random() * 60);
      await postern.kill();
      await Promise.all(sending);
      reserved += (await entries()).filter((one) => one.reserved).length;
      await postern.launch();
      await up(postern);
    }
    // Instead of waiting 60 s, every reservation becomes 61 s older; the long run waits.
    if (RUNS) await sleep(61_000);
    else for (const one of await entries()) if (one.reserved) await redis.command('SETRANGE', one.key, one.at + 25, '\x01\x00\x00\x00');
    for (const one of people) {
      for (let i = 0; i < 5; i++) await postern.mail({ to: one.email, text: `more ${i}` });
    }
    await waitFor('all commits delivered', async () => (await postern.metric('postern_counters_kept')) === 0);
    await postern.terminate();
    const held = (await entries()).length;
    const sends = await sentOf(path.join(postern.dir, 'postern.db'));
    const sent = sends.length;
    const ofEach = new Map();
    for (const { contact } of sends) ofEach.set(contact, (ofEach.get(contact) ?? 0) + 1);
    const most = Math.max(...ofEach.values());
    assert.equal(most, 3, 'no cap was overrun');
    assert.equal(sent, 3 * people.length, 'and none was left short');
    assert.ok(held >= sent, `Redis holds ${held} of ${sent}`);
    for (const one of people) assert.ok(house.mail.sends(one.email).length <= 3);
    t.diagnostic(`${reserved} reservations were open at ${runs(4, 40)} kills; ${sent} sends, drift 0`);
  });
});

describe('a password and TLS', { timeout: 60_000 }, () => {
  const PASSWORD = 'sesame@%/open-3f9a';
  let redis, tlsPort;

  before(async () => {
    tlsPort = await freePort();
    redis = await RedisServer.start({ password: PASSWORD, args: ['--requirepass', PASSWORD, '--user', 'counter', 'on', `>${PASSWORD}`, '~postern:*', '+@all', '--tls-port', String(tlsPort), ...(await certificates())] });
  });
  after(() => redis?.stop());

  let ca;
  async function certificates() {
    const dir = await mkdtemp(path.join(tmpdir(), 'postern-redis-tls-'));
    await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', 'tls.key', '-out', 'tls.crt'], { cwd: dir });
    ca = path.join(dir, 'tls.crt');
    return ['--tls-cert-file', ca, '--tls-key-file', path.join(dir, 'tls.key'), '--tls-ca-cert-file', ca, '--tls-auth-clients', 'no'];
  }

  async function counts(settings, env = {}) {
    const postern = await Postern.start({ env, configure: (all) => Object.assign(all, settings) });
    postern.keepSecret(PASSWORD);
    postern.keepSecret(encodeURIComponent(PASSWORD));
    return postern;
  }

  it('by the environment, over TLS with its own CA, by name and by address', async () => {
    for (const host of ['127.0.0.1', 'localhost']) {
      const postern = await counts(
        { counters: `rediss://${host}:${tlsPort}/3`, redis: { username: 'counter', password: 'env:COUNTERS_PASSWORD', ca_file: ca, ...PATIENT } },
        { COUNTERS_PASSWORD: PASSWORD },
      );
      await up(postern);
      const ada = await postern.subscriber();
      const { count } = await storm([postern], ada, 10);
      assert.deepEqual(count, { forwarded: 3, blocked: 7 });
      await postern.stop();
    }
    assert.match(await redis.info('db3'), /keys=/, 'in the database that was named');
  });

  it('in the URL', async () => {
    const postern = await counts({ counters: `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}/2`, redis: PATIENT });
    await up(postern);
    await postern.stop();
  });

  it('a wrong password and an unknown CA are said, and nothing is counted', async () => {
    const wrong = await counts({ counters: `redis://:${encodeURIComponent(PASSWORD)}x@127.0.0.1:${redis.port}/0` });
    await waitFor('the reason', () => /event=unreachable .*WRONGPASS/.test(wrong.log));
    assert.equal(await wrong.metric('postern_counters_up'), 0);
    await wrong.stop();
    const unknown = await counts({ counters: `rediss://127.0.0.1:${tlsPort}/0`, redis: { password: PASSWORD } });
    await waitFor('the reason', () => /event=unreachable .*self.signed certificate/.test(unknown.log));
    const ada = await unknown.subscriber();
    assert.equal(code(await unknown.mail({ to: ada.email, text: 'offer' })), 'PST-DEFER-DEGRADED');
    await unknown.stop();
  });

  it('a CA file that holds none stops the start', async () => {
    const postern = await Postern.start();
    await writeFile(path.join(postern.dir, 'empty.pem'), '');
    await postern.terminate();
    Object.assign(postern.settings, { counters: 'rediss://127.0.0.1/0', redis: { ca_file: 'empty.pem' } });
    await postern.writeConfiguration();
    const end = await runToEnd(['-c', 'postern.yaml'], { cwd: postern.dir, env: postern.env });
    assert.notEqual(end.code, 0);
    assert.match(end.output, /empty\.pem holds no certificates/);
    await postern.stop();
  });
});
