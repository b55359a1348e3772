// The wall clock jumps while messages wait for the morning: back and forth by hours and days, past 2038, by a leap
// second.  Nothing leaves while nobody knows the time, nothing leaves at night, and each goes once in the end.
// CLOCK_JUMPS=200 for the number that is promised.
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { header } from '../e2e/expect.mjs';
import { startHouse, waitFor } from '../e2e/harness.mjs';

const JUMPS = Number(process.env.CLOCK_JUMPS ?? 24);
const SEED = Number(process.env.CLOCK_SEED ?? Date.now() % 2 ** 31);
const PEOPLE = 12;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let seed = SEED >>> 0;
const below = (n) => Math.floor(((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);

let house;
after(() => house?.end());

it(`${JUMPS} jumps: nothing early, nothing twice`, { timeout: 60_000 + JUMPS * 2000 }, async (t) => {
  console.log(`# CLOCK_SEED=${SEED}`);
  house = await startHouse({ configure: (settings) => (settings.policy.caps = []) });
  const { postern, sms } = house;
  await postern.newDay('22:00', 'tue');
  const people = await Promise.all(Array.from({ length: PEOPLE }, () => postern.subscriber()));
  for (const person of people) assert.equal(header(await postern.sms({ to: person.phone }), 'X-Postern-Outcome'), 'deferred');
  const night = postern.now.getTime();
  const rows = await postern.deferred();
  const due = Math.max(...rows.map((row) => Date.parse(row.release_at)));
  const jump = (instant) => postern.api('PUT', '/postern/v1/test/clock', { now: new Date(instant).toISOString(), jump: true });
  const moves = [
    () => night + HOUR,
    () => night - HOUR,
    () => night + DAY,
    () => night - DAY,
    () => due + below(12) * HOUR,
    () => Date.UTC(2038, 0, 19, 3, 14, 7) + below(2) * 1000,
    () => Date.UTC(2106, 1, 7, 6, 28, 15) + below(2) * 1000,
    () => night - 1000, // a leap second is no jump: the night goes on
  ];
  for (let i = 0; i < JUMPS; i++) {
    await jump(moves[i < moves.length ? i : below(moves.length)]());
    await postern.idle(260); // longer than between two looks at the clock and the queue
    assert.deepEqual(sms.requests.length, 0, `something left after jump ${i}`);
  }
  const jumps = await postern.metric('postern_clock_jumps_total');
  assert.ok(jumps > JUMPS / 2, `${jumps} jumps seen`);
  await jump(due + HOUR);
  await waitFor('the hold', async () => (await postern.metric('postern_releases_held')) === 1);
  await postern.restart(); // a start trusts its clock, and harness puts it back to the night
  await postern.idle(300);
  assert.equal(sms.requests.length, 0, 'it is night');
  await postern.setClock(due + HOUR);
  for (const person of people) await waitFor('the message', () => sms.sends(person.phone).length > 0);
  await postern.idle(300);
  for (const person of people) assert.equal(sms.sends(person.phone).length, 1);
  assert.deepEqual(await postern.deferred(), []);
  await postern.assertAuditHolds();
  t.diagnostic(`${jumps} of ${JUMPS + 1} moves were jumps; ${PEOPLE} messages, each sent once, after ${new Date(due).toISOString()}`);
});
