// kill -9 at random moments under load, again and again on one store: of one process, and, with Redis and workers, of
// a worker or of the whole.  What holds after each start, and at the end: ready within seconds; everything that a
// client was told was accepted is on record as forwarded, deferred or unknown; no SMS reaches the provider twice;
// nothing that was sent after an acknowledged opt-out reaches it at all; what the provider saw and what Postern says
// it did agree; the chain holds.
// The moments come from a seeded generator; the seed is printed, and CRASH_SEED repeats a run.  CRASH_KILLS=10000 for
// a long one.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decisionIds, header } from '../e2e/expect.mjs';
import { startHouse } from '../e2e/harness.mjs';
import { stoodMs } from '../e2e/load.mjs';
import { RedisServer } from '../e2e/redis.mjs';
import { behave } from '../fakes/server.mjs';

const KILLS = Number(process.env.CRASH_KILLS ?? 200);
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 2 ** 31);
const SENDERS = 6;
const PEOPLE = 60;
const AT_A_TIME = 50;

/** mulberry32 */
function generator(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const houses = [
  { name: 'one process', workers: 1, readyMs: 2000, kills: Math.ceil(KILLS / 14) },
  { name: 'three workers with Redis', workers: 3, readyMs: 3000, kills: KILLS },
];

for (const { name, workers, readyMs, kills } of houses)
  describe(`kill -9, ${kills} times, ${name} (CRASH_SEED=${SEED})`, { timeout: 60_000 + kills * 1000 }, () => {
    const random = generator(SEED);
    const told = []; // { kind, mark, answer }: each 2xx that a client saw
    const marks = []; // every message that was tried: { kind, mark, late: its person had opted out before }
    let house, postern, people, redis;

    before(async () => {
      console.log(`# CRASH_SEED=${SEED}`);
      redis = workers > 1 ? await RedisServer.start() : undefined;
      house = await startHouse({
        clock: false,
        configure: (settings) => {
          settings.policy.caps = [];
          settings.policy.quiet_hours = {};
          if (workers > 1) Object.assign(settings, { workers, counters: redis.url });
        },
      });
      ({ postern } = house);
      for (const fake of [house.mail, house.sms]) fake.when('mark-', behave.late(() => random() * 12));
      people = await Promise.all(Array.from({ length: PEOPLE }, () => postern.subscriber()));
    });
    after(async () => {
      await house?.end();
      await redis?.stop();
    });

    /** One of the things that clients do; a dead server is a wait, not an error. */
    async function once(n) {
      const person = people[Math.floor(random() * people.length)];
      const mark = `mark-${SEED}-${marks.length}-${n}.`;
      const kind = ['sms', 'mail', 'later', 'offer', 'opt-out'][Math.floor(random() * (marks.length % 8 === 0 ? 5 : 4))];
      if (kind === 'opt-out') {
        await postern.optOut(person.email, { scope: 'category', category: 'newsletter' });
        person.optedOut = true; // from here on it is acknowledged
        return;
      }
      const one = { kind, mark, late: kind === 'offer' && person.optedOut };
      marks.push(one);
      if (kind === 'sms') one.answer = await postern.sms({ to: person.phone, body: mark }, { key: 'billing-sms' });
      else if (kind === 'offer') one.answer = await postern.mail({ to: person.email, text: mark });
      else one.answer = await postern.mail({ to: person.email, text: mark, ...(kind === 'later' ? { sendAt: Math.floor(Date.now() / 1000) + 3600 } : {}) }, { key: 'billing' });
      const { status } = one.answer;
      if (status < 300) told.push(one);
      else assert.ok(status >= 500 || status === 429 || (kind === 'offer' && status === 403), `unexpected answer ${status} ${header(one.answer, 'X-Postern-Code')}`);
    }

    async function sender(n, running) {
      while (running.on) {
        try {
          await once(n);
        } catch (error) {
          if (error.code === 'ERR_ASSERTION' && !/PUT|POST/.test(error.message)) throw error;
          await postern.idle(5); // the server died under this request: its client knows nothing
        }
      }
    }

    function killWorker(pid) {
      try {
        return process.kill(pid, 'SIGKILL');
      } catch {
        return false; // dead already, and not yet started again
      }
    }

    /** Workers, as long as some live, and each fourth time the whole; returns how long it took to be ready again. */
    async function kill(i) {
      const from = Math.floor(random() * workers);
      const pids = i % 4 === 3 ? [] : [...postern.workers.slice(from), ...postern.workers.slice(0, from)];
      if (pids.some(killWorker)) return undefined;
      await postern.kill();
      return launched();
    }

    /** Milliseconds until it was ready, less those in which it had no processor. */
    async function launched() {
      return (await postern.launch()) - (await stoodMs(postern));
    }

    it(`is ready again within ${readyMs / 1000} seconds each time`, async () => {
      const running = { on: true };
      const senders = Array.from({ length: SENDERS }, (_, n) => sender(n, running));
      const took = [];
      try {
        for (let i = 0; i < kills; i++) {
          await postern.idle(15 + random() * (workers > 1 ? 110 : 250));
          took.push(await kill(i));
        }
        await postern.kill();
        took.push(await launched());
      } finally {
        running.on = false;
        await Promise.all(senders);
      }
      const starts = took.filter((ms) => ms !== undefined).sort((a, b) => a - b);
      console.log(`# ready after ${starts[0].toFixed(0)} to ${starts.at(-1).toFixed(0)} ms, median ${starts[starts.length >> 1].toFixed(0)}; ${marks.length} tried, ${told.length} acknowledged`);
      assert.ok(starts.at(-1) < readyMs, `slowest start ${starts.at(-1).toFixed(0)} ms`);
      assert.ok(told.length > kills, 'the load was real');
    });

    /** What the providers received, by the mark in it. */
    const received = new Map();
    const seenOf = (mark) => received.get(mark) ?? [];

    it('nothing reached the provider twice, and nothing that was to wait, or was opted out of, reached it at all', () => {
      for (const request of [...house.mail.requests, ...house.sms.requests]) {
        const [mark] = /mark-\d+-\d+-\d+\./.exec(request.text) ?? assert.fail(`not of this test: ${request.text}`);
        received.set(mark, [...seenOf(mark), request]);
      }
      assert.deepEqual(marks.filter((one) => seenOf(one.mark).length > (one.kind === 'later' || one.late ? 0 : 1)), []);
      assert.ok(marks.some((one) => one.late), 'somebody had opted out');
    });

    async function agrees({ kind, mark, answer }, results) {
      const decision = await postern.decision(decisionIds(answer)[0]);
      results[decision.result] = (results[decision.result] ?? 0) + 1;
      const seen = seenOf(mark);
      const what = `${mark} (${kind}): result ${decision.result}, seen ${seen.length} times, outcome ${header(answer, 'X-Postern-Outcome')}`;
      assert.ok(['forwarded', 'deferred', 'unknown'].includes(decision.result) || (kind === 'offer' && seen.length === 0), what);
      if (kind === 'later') assert.equal(decision.result, 'deferred', what);
      if (decision.result === 'deferred') assert.equal(seen.length, 0, what);
      if (decision.result === 'forwarded') {
        assert.equal(seen.length, 1, what);
        assert.equal(decision.provider_id, seen[0].answer.headers['X-Message-Id'] ?? JSON.parse(seen[0].answer.body).sid, what);
      }
      if (header(answer, 'X-Postern-Outcome') === 'forwarded') assert.equal(seen.length, 1, what);
    }

    it('every 2xx that a client saw is on record, and the record agrees with what the provider saw', async () => {
      const results = {};
      for (let i = 0; i < told.length; i += AT_A_TIME) await Promise.all(told.slice(i, i + AT_A_TIME).map((one) => agrees(one, results)));
      console.log(`# results of what was acknowledged: ${JSON.stringify(results)}`);
    });

    it('what was kept is still there, each once', async () => {
      const kept = told.filter(({ kind }) => kind === 'later');
      const rows = (await Promise.all(people.map((one) => postern.deferred(one.id)))).flat();
      const ids = new Set(rows.map((row) => row.decision_id));
      for (const { mark, answer } of kept) assert.ok(ids.has(decisionIds(answer)[0]), mark);
      assert.equal(ids.size, rows.length);
    });

    it('the audit chain holds', () => postern.assertAuditHolds());
  });
