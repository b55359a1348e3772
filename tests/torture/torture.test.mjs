// Torture: over each flow, the n-th call to the heap, read, write, fsync, connect or open fails, once and from then
// on.  What must hold after each is in torment.mjs, the flows in flows.mjs.  A counting run says how many calls of
// each kind a flow makes; then so many of them fail, one a trial.
//   TORTURE_SHALLOW=2   trials a kind and flow (the default; heap calls, which are most, get three times as many, and of the large ones 8 fail)
//   TORTURE=full        every call, once and for ever: minutes a flow
//   TORTURE_FLOWS=a,b   only these flows;  TORTURE_KINDS=alloc,read  only these kinds;  TORTURE_NTH=57,58  only these
//   TORTURE_SEED        other samples (a run without it makes the same trials each time);  TORTURE_TRACE=file  whose call failed;  TORTURE_VERBOSE=1  the log's end, too
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FLOWS } from './flows.mjs';
import { KINDS, Torment } from './torment.mjs';

const FULL = process.env.TORTURE === 'full';
const SHALLOW = Number(process.env.TORTURE_SHALLOW ?? 2);
const SEED = Number(process.env.TORTURE_SEED ?? 1);
const NTH = (process.env.TORTURE_NTH ?? '').split(',').filter(Boolean).map(Number);
const only = (list) => (one) => !list || list.split(',').includes(one);
const flows = FLOWS.filter((flow) => only(process.env.TORTURE_FLOWS)(flow.name));
const LARGE = KINDS.indexOf('large'); // they are few, and each size is a peer's
const wanted = only(process.env.TORTURE_KINDS);

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

/** The trials of one flow: [kind, nth, for ever]; sampled ones one from each of as many equal parts of the run. */
function* trials(calls, random) {
  for (const [kind, n] of calls.entries()) {
    if (n === 0 || !wanted(KINDS[kind])) continue;
    if (NTH.length > 0) {
      for (const nth of NTH) yield* [[kind, nth, false], [kind, nth, true]];
      continue;
    }
    const samples = FULL ? n : Math.min(n, kind === LARGE ? 8 : SHALLOW * (kind === 0 ? 3 : 1));
    for (let i = 0; i < samples; i++) {
      const nth = FULL ? i + 1 : 1 + Math.floor(((i + random()) * n) / samples);
      for (const forEver of FULL ? [false, true] : [random() < 0.5]) yield [kind, nth, forEver];
    }
  }
}

describe(`torture (TORTURE_SEED=${SEED})`, { concurrency: 3 }, () => {
  for (const flow of flows)
    it(flow.name, { timeout: FULL ? 3_600_000 : 300_000 }, async () => {
      const began = performance.now();
      const random = generator(SEED + FLOWS.indexOf(flow));
      const house = (await flow.house?.()) ?? {};
      const t = await Torment.start(flow, house);
      let tried = 0;
      let fired = 0;
      const faults = [];
      try {
        await t.count(flow); // what is only done once is done
        const calls = await t.count(flow);
        for (const [kind, nth, forEver] of trials(calls, random)) {
          if (flow.kinds && !flow.kinds.includes(KINDS[kind])) continue;
          tried++;
          try {
            if (await t.trial(flow, kind, nth, forEver)) fired++;
          } catch (error) {
            const what = `${KINDS[kind]} ${nth} of ${calls[kind]} ${forEver ? 'for ever' : 'once'}`;
            faults.push(`${what}: ${error.message}`);
            if (process.env.TORTURE_VERBOSE) console.log(`# ${flow.name}: ${what}: ${error.stack}\n${t.postern.tail(15)}`);
            if (faults.length >= 20) break;
            await t.recover();
          }
        }
        console.log(`# ${flow.name}: calls ${KINDS.map((kind, i) => `${kind} ${calls[i]}`).join(', ')}; ${tried} trials, ${fired} failed a call, ${t.restarts} restarts, ${((performance.now() - began) / 1000).toFixed(1)} s`);
      } finally {
        try {
          await t.end();
        } catch (error) {
          faults.push(`at the end: ${error.message}`);
        }
        await house.end?.();
      }
      assert.deepEqual(faults, []);
      assert.ok(fired > 0, 'something failed');
    });
});
