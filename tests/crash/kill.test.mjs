// kill -9 at random moments under load, again and again on one store.  What holds after each start, and at the end:
// ready within two seconds; everything that a client was told was accepted is on record as forwarded, deferred or
// unknown; no SMS reaches the provider twice; what the provider saw and what Postern says it did agree; the chain holds.
// The moments come from a seeded generator; the seed is printed, and CRASH_SEED repeats a run.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decisionIds, header } from '../e2e/expect.mjs';
import { startHouse } from '../e2e/harness.mjs';
import { behave } from '../fakes/server.mjs';

const KILLS = Number(process.env.CRASH_KILLS ?? 50);
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 2 ** 31);
const SENDERS = 6;
const PEOPLE = 60;
const READY_MS = 2000;

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

describe(`kill -9, ${KILLS} times (CRASH_SEED=${SEED})`, { timeout: 170_000 }, () => {
  const random = generator(SEED);
  const told = []; // { kind, mark, answer }: each 2xx that a client saw
  const marks = []; // every message that was tried: { kind, mark }
  let house, postern, people;

  before(async () => {
    console.log(`# CRASH_SEED=${SEED}`);
    house = await startHouse({
      clock: false,
      configure: (settings) => {
        settings.policy.caps = [];
        settings.policy.quiet_hours = {};
      },
    });
    ({ postern } = house);
    for (const fake of [house.mail, house.sms]) fake.when('mark-', behave.late(() => random() * 12));
    people = await Promise.all(Array.from({ length: PEOPLE }, () => postern.person()));
  });
  after(() => house.end());

  /** One sender: sends mails, SMS and scheduled mails in turn until told to stop; a dead server is a wait, not an error. */
  async function sender(n, running) {
    while (running.on) {
      const person = people[Math.floor(random() * people.length)];
      const mark = `mark-${SEED}-${marks.length}-${n}`;
      const kind = ['sms', 'mail', 'later'][Math.floor(random() * 3)];
      marks.push({ kind, mark });
      try {
        const answer =
          kind === 'sms'
            ? await postern.sms({ to: person.phone, body: mark }, { key: 'billing-sms' })
            : await postern.mail(
                { to: person.email, text: mark, ...(kind === 'later' ? { sendAt: Math.floor(Date.now() / 1000) + 3600 } : {}) },
                { key: 'billing' },
              );
        if (answer.status < 300) told.push({ kind, mark, answer });
        else assert.ok(answer.status >= 500, `unexpected answer ${answer.status} ${header(answer, 'X-Postern-Code')}`);
      } catch (error) {
        if (error.code === 'ERR_ASSERTION') throw error;
        await postern.idle(5); // the server died under this request: its client knows nothing
      }
    }
  }

  it('is ready again within two seconds each time', async () => {
    const running = { on: true };
    const senders = Array.from({ length: SENDERS }, (_, n) => sender(n, running));
    const took = [];
    try {
      for (let i = 0; i < KILLS; i++) {
        await postern.idle(20 + random() * 250);
        await postern.kill();
        took.push(await postern.launch());
      }
    } finally {
      running.on = false;
      await Promise.all(senders);
    }
    took.sort((a, b) => a - b);
    console.log(`# ready after ${took[0].toFixed(0)} to ${took.at(-1).toFixed(0)} ms, median ${took[KILLS >> 1].toFixed(0)}; ${marks.length} tried, ${told.length} acknowledged`);
    assert.ok(took.at(-1) < READY_MS, `slowest start ${took.at(-1).toFixed(0)} ms`);
    assert.ok(told.length > KILLS, 'the load was real');
  });

  it('nothing reached the provider twice, and nothing that was to wait reached it at all', () => {
    const seen = ({ kind, mark }) => (kind === 'sms' ? house.sms : house.mail).seen(mark).length;
    assert.deepEqual(marks.filter((one) => seen(one) > (one.kind === 'later' ? 0 : 1)), []);
  });

  it('every 2xx that a client saw is on record, and the record agrees with what the provider saw', async () => {
    const results = {};
    for (const { kind, mark, answer } of told) {
      const decision = await postern.decision(decisionIds(answer)[0]);
      results[decision.result] = (results[decision.result] ?? 0) + 1;
      const seen = (kind === 'sms' ? house.sms : house.mail).seen(mark);
      const what = `${mark}: result ${decision.result}, seen ${seen.length} times, outcome ${header(answer, 'X-Postern-Outcome')}`;
      assert.ok(['forwarded', 'deferred', 'unknown'].includes(decision.result), what);
      if (kind === 'later') {
        assert.equal(decision.result, 'deferred', what);
        assert.equal(seen.length, 0, what);
        continue;
      }
      if (decision.result === 'forwarded') {
        assert.equal(seen.length, 1, what);
        assert.equal(decision.provider_id, seen[0].answer.headers['X-Message-Id'] ?? JSON.parse(seen[0].answer.body).sid, what);
      }
      if (header(answer, 'X-Postern-Outcome') === 'forwarded') assert.equal(seen.length, 1, what);
    }
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
