// kill -9 at random moments while mails come in by SMTP and leave by SMTP, again and again on one store: of one process,
// and, with workers, of a worker or of the whole.  What holds at the end: each 250 that a client heard is accounted for
// (at the relay, kept, or unknown in the audit), no mail is at the relay twice, nothing that was to wait has left, and
// the chain holds.
// CRASH_SEED repeats a run; CRASH_KILLS counts for kill.test.mjs, a fifth of them happens here, and half as many with workers;
// CRASH_SMTP_KILLS=200.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { KEYS, sqlite, waitFor } from '../e2e/harness.mjs';
import { RedisServer } from '../e2e/redis.mjs';
import { FROM, NOTHING_ILLEGAL, content, decisionIn, startMailHouse } from '../e2e/smtp.mjs';
import { SmtpClient } from '../e2e/smtp_client.mjs';
import { relaySays } from '../fakes/relay.mjs';

const KILLS = Number(process.env.CRASH_SMTP_KILLS ?? Math.ceil(Number(process.env.CRASH_KILLS ?? 200) / 5));
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 2 ** 31);
const SENDERS = 6;

/** kill -9; false when it is dead already, and the next one not yet there. */
function killed(pid) {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}

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

for (const { workers, kills } of [{ workers: 1, kills: KILLS }, { workers: 2, kills: Math.ceil(KILLS / 2) }])
  describe(`kill -9 under SMTP, ${kills} times, ${workers === 1 ? 'one process' : `${workers} workers`} (CRASH_SEED=${SEED})`, { timeout: 60_000 + kills * 1000 }, () => {
    const random = generator(SEED);
    const marks = []; // every mail that was tried: { mark, kind, reply: undefined when none came whole }
    let house, postern, relay, redis, awake, leavers, asleep, never;

    before(async () => {
      console.log(`# CRASH_SEED=${SEED}`);
      redis = workers > 1 ? await RedisServer.start() : undefined;
      house = await startMailHouse({
        clock: false,
        configure(settings) {
          settings.policy.caps = [];
          if (redis) Object.assign(settings, { workers, counters: redis.url });
        },
      });
      ({ postern, relay } = house);
      relay.when('END', relaySays.late(() => random() * 12));
      awake = await Promise.all(Array.from({ length: 30 }, () => postern.person()));
      leavers = await Promise.all(Array.from({ length: 20 }, () => postern.person()));
      const inTwoDays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'][(new Date().getUTCDay() + 2) % 7];
      asleep = await postern.person({ preferences: { hours: { [inTwoDays]: '08:00-18:00' } } });
      never = await postern.person();
      await postern.optOut(never.email);
    });
    after(async () => {
      await house?.end();
      await redis?.stop();
    });

    const keyOf = (n) => ['billing', 'bot', 'shop'][n % 3];
    const kindsOf = { billing: ['now', 'several'], bot: ['later'], shop: ['partial', 'offer'] };

    async function sender(n, running) {
      while (running.on) {
        let client;
        try {
          client = await SmtpClient.open(postern.smtpPort);
          await client.reply();
          await client.command('EHLO crash.example');
          if ((await client.login(KEYS[keyOf(n)]))?.code !== 235) throw new Error('no login');
          while (running.on && !client.closed) await one(client, n);
        } catch (error) {
          if (error.code === 'ERR_ASSERTION') throw error;
          await postern.idle(5); // the server died: its client knows nothing
        } finally {
          client?.end();
        }
      }
    }

    /** One mail, and what was heard. */
    async function one(client, n) {
      const kinds = kindsOf[keyOf(n)];
      const kind = kinds[Math.floor(random() * kinds.length)];
      const mail = { kind, mark: `mark-${SEED}-${marks.length}-${n}.` };
      const leaver = leavers[Math.floor(random() * leavers.length)];
      if (kind === 'offer') {
        const leaves = random() < 0.1 && (await postern.call('POST', '/postern/v1/opt-outs', { address: leaver.email, scope: 'global', source: 'customer' }));
        leaver.gone ||= leaves && leaves.status === 201; // from here on it is acknowledged
        mail.late = leaver.gone;
      }
      const pick = () => awake[Math.floor(random() * awake.length)].email;
      const to = { offer: [leaver.email], now: [pick()], several: [...new Set([pick(), pick(), pick()])], later: [asleep.email], partial: [pick(), never.email] }[kind];
      marks.push(mail);
      const fields = [`Message-ID: <${mail.mark}crash@shop.example>`, ...(['partial', 'offer'].includes(kind) ? ['X-Postern-Category: promo-out'] : [])];
      const { end } = await client.send({ to, content: content({ to: to[0], fields, body: mail.mark }) });
      mail.reply = end;
    }

    /** One that lives of the workers, or (each fourth time, and when none does) the whole; how long the whole was away. */
    async function kill(i) {
      const from = Math.floor(random() * workers);
      if (workers > 1 && i % 4 !== 3 && [...postern.workers.slice(from), ...postern.workers.slice(0, from)].some(killed)) return [];
      await postern.kill();
      return [await postern.launch()];
    }

    it('starts again each time', async () => {
      const running = { on: true };
      const senders = Array.from({ length: SENDERS }, (_, n) => sender(n, running));
      const took = [];
      try {
        for (let i = 0; i < kills; i++) {
          await postern.idle(15 + random() * 120);
          took.push(...(await kill(i)));
        }
      } finally {
        running.on = false;
        await Promise.all(senders);
      }
      await waitFor('what is still to leave', async () => (await postern.deferred(never.id)).length === 0 && (await postern.metric('postern_upstream_in_flight')) === 0);
      const told = marks.filter((mail) => mail.reply?.code === 250);
      took.sort((a, b) => a - b);
      console.log(`# ready after ${took[0].toFixed(0)} to ${took.at(-1).toFixed(0)} ms; ${marks.length} tried, ${told.length} acknowledged`);
      assert.ok(told.length > kills, 'the load was real');
    });

    /** Was it told to wait, as what counts against a cap is while a new worker has not yet found Redis? */
    const putOff = (mail) => /\(deferred until |\(partial: [^;)]*\bdeferred\b/.test(mail.reply.text);
    /** Transactions at the relay by the mark in them. */
    const received = new Map();
    const seen = (mail) => received.get(mail.mark) ?? [];

    it('nothing is at the relay twice, and nothing that was to wait, or was opted out of, is there', () => {
      for (const transaction of relay.accepted()) {
        const [mark] = /mark-\d+-\d+-\d+\./.exec(transaction.text) ?? assert.fail(`not of this test: ${transaction.text}`);
        if (transaction.mail.path !== '') received.set(mark, [...(received.get(mark) ?? []), transaction]); // else a report
      }
      assert.deepEqual(marks.filter((mail) => seen(mail).length > (mail.kind === 'later' || mail.late ? 0 : 1)), []);
      assert.ok(marks.some((mail) => mail.late), 'somebody had opted out');
      assert.ok(!relay.transactions.some((transaction) => transaction.to.includes(never.email)), 'who opted out got nothing');
    });

    it('each 250 is accounted for', async () => {
      const fates = {};
      for (const mail of marks.filter(({ reply }) => reply?.code === 250)) {
        const id = decisionIn(mail.reply.text);
        const fate = mail.kind === 'later' || putOff(mail) ? 'kept' : seen(mail).length === 1 ? 'forwarded' : id ? (await postern.decision(id)).result : 'lost';
        fates[fate] = (fates[fate] ?? 0) + 1;
        assert.ok(['forwarded', 'kept', 'unknown', 'deferred'].includes(fate), `${mail.mark} (${mail.kind}): ${fate}; it was told ${mail.reply.text}`);
      }
      console.log(`# ${JSON.stringify(fates)}`);
    });

    it('what was promised to be kept is kept; each sender who is owed a report got one, and twice only where the first is on record as unknown', async () => {
      const owed = marks.filter(({ kind, reply }) => kind === 'partial' && reply?.code === 250);
      const of = (mail) => relay.accepted(mail.mark).filter((one) => one.mail.path === '').length;
      const rows = async (category, where) => Number(await sqlite(path.join(postern.dir, 'postern.db'), `SELECT count(*) FROM deferred WHERE category = '${category}' AND ${where}`));
      assert.deepEqual(await postern.terminate(), { code: 0, signal: null });
      const waiting = await rows('delivery-report', 'state = 0');
      const unknown = Number(await sqlite(path.join(postern.dir, 'postern.db'), "SELECT count(*) FROM audit WHERE kind = 'result' AND body LIKE '%interrupted%'"));
      const promised = marks.filter(({ kind, reply }) => kind === 'later' && reply?.code === 250).length;
      const kept = await rows('helpdesk', 'state = 0');
      assert.ok(kept >= promised && promised > 0, `${kept} are kept of ${promised} that were promised`);
      const unsent = marks.filter((mail) => ['offer', 'partial'].includes(mail.kind) && mail.reply?.code === 250 && putOff(mail) && seen(mail).length === 0).length;
      const offers = await rows('promo-out', 'state = 0');
      assert.ok(unsent <= offers + unknown, `${unsent} were put off and not sent since; ${offers} wait`);
      const missing = owed.filter((mail) => of(mail) === 0);
      const again = owed.reduce((n, mail) => n + Math.max(0, of(mail) - 1), 0);
      console.log(`# ${owed.length} reports owed: ${again} came again, ${waiting} wait; ${unknown} messages were interrupted`);
      assert.ok(again <= unknown, `${again} reports came again, and ${unknown} are on record as interrupted`);
      assert.ok(missing.length <= waiting, `${missing.length} have none, of which ${waiting} wait: ${missing[0]?.reply.text}`);
      await postern.launch();
    });

    it('nothing illegal, and the audit chain holds', async () => {
      assert.deepEqual([relay.illegal, relay.violations], [NOTHING_ILLEGAL, []]);
      await postern.assertAuditHolds();
    });
  });
