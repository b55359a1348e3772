// Several processes behind one address, with one store and a real Redis.  What is proved is what one process promises,
// with the messages of one person in many of them: an opt-out that one worker acknowledged binds all, also one that
// was stopped meanwhile; the death of a worker loses nothing, sends nothing twice and says what it does not know.
// Which worker decided a message is read from the log, whose lines say "worker=1".
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, afterEach, before, describe, it } from 'node:test';
import { behave } from '../fakes/server.mjs';
import { decisionIds, header } from './expect.mjs';
import { KEYS, startHouse, waitFor } from './harness.mjs';
import { RedisServer } from './redis.mjs';

const WORKERS = 3;
const LATENCY_MS = 20;
/** A request that was written before the acknowledgement is noted this much after it at the latest. */
const ON_THE_WIRE_MS = 3 * LATENCY_MS;
const ACK_MS = 250;
const FENCE_MS = 2500; /* 1.8 s of lease, from a ping of a moment before; and what a busy machine adds */
let redis, house, postern, mail, sms;

before(async () => {
  redis = await RedisServer.start();
  house = await startHouse({
    configure: (settings) => {
      Object.assign(settings, { workers: WORKERS, counters: redis.url, redis: { deadline_ms: 500 } });
      settings.policy.caps = [];
      /* Of each worker one call at a time: what is sent waits inside Postern, decided and recorded. */
      for (const provider of settings.providers) if (provider.kind !== 'sandbox') Object.assign(provider, { max_concurrency: WORKERS, total_ms: 50_000 });
    },
  });
  ({ postern, mail, sms } = house);
  await counting();
});
after(async () => {
  await house?.end();
  await redis?.stop();
});
afterEach(() => {
  for (const fake of [mail, sms]) {
    fake.forget();
    fake.requests.length = 0;
  }
});

const outcomeOf = (answer) => header(answer, 'X-Postern-Outcome');
const slow = () => [mail, sms].forEach((fake) => fake.when(() => true, behave.late(LATENCY_MS)));
const people = (n) => Promise.all(Array.from({ length: n }, () => postern.subscriber()));
const arrived = (fake, address) => fake.requests.filter((one) => one.holds(address));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Every worker has found Redis: before that, what is capped waits. */
const counting = () => waitFor('the counters', async () => (await postern.metric('postern_counters_up')) === 1);
/** Which worker decided it; the log comes by a pipe, a moment later. */
const workerOf = async (id) => Number((await waitFor('the log line', () => new RegExp(`worker=(\\d+) .*decision=${id}`).exec(postern.log)))[1]);
const workersOf = async (answers) => [...new Set(await Promise.all(answers.map((answer) => workerOf(decisionIds(answer)[0]))))].sort();
/** Not a process that ended and that nobody asked how. */
const isAlive = (pid) => {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

/** A connection that one of the workers accepted: POST by it, and ask for the decision that came of it. */
class Lane {
  #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  static async to(wanted) {
    for (;;) {
      const lane = new Lane();
      const probe = await lane.post('/v3/mail/send', { personalizations: [{ to: [{ email: postern.stranger().email }] }], from: { email: 'news@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'x' }] }, 'shop');
      if (wanted(await workerOf(probe.headers['x-postern-decision-id']))) return lane;
      lane.#agent.destroy();
    }
  }

  post(target, body, key = 'admin') {
    return new Promise((resolve, reject) => {
      const headers = { Authorization: `Bearer ${KEYS[key].secret}`, 'Content-Type': 'application/json' };
      const request = http.request(postern.url + target, { method: 'POST', agent: this.#agent, headers }, (response) => {
        response.resume().on('end', () => resolve({ status: response.statusCode, headers: response.headers }));
      });
      request.on('error', reject).end(JSON.stringify(body));
    });
  }

  end() {
    this.#agent.destroy();
  }
}
const readyTimes = () => postern.log.match(/event=worker_ready/g).length;

async function killed(worker) {
  const before = readyTimes();
  process.kill(postern.workers[worker], 'SIGKILL');
  await waitFor('the next one in its place', () => readyTimes() > before);
}

describe('three workers', () => {
  it('share the work; their decisions have ids of their own, and /metrics shows all as one', async () => {
    const [ada] = await people(1);
    const sent = 60;
    const already = await postern.metric('postern_decisions_total');
    const answers = await Promise.all(Array.from({ length: sent }, (_, n) => postern.mail({ to: ada.email, text: `offer ${n}` }, { key: 'billing' })));
    const ids = answers.map((answer) => decisionIds(answer)[0]);
    for (const answer of answers) assert.equal(answer.status, 202);
    assert.equal(new Set(ids).size, sent);
    assert.deepEqual(await workersOf(answers), [0, 1, 2]);
    assert.equal((await postern.metric('postern_decisions_total')) - already, sent);
    for (let worker = 0; worker < WORKERS; worker++) assert.equal(await postern.metric('postern_worker_up', { worker: String(worker) }), 1);
    /* Figures that a worker publishes each second. */
    await waitFor('all requests', async () => (await postern.metric('postern_http_requests_total')) >= sent);
    for (const id of ids) assert.equal((await postern.decision(id)).result, 'forwarded');
  });

  it('know at once what one of them was told of a contact', async () => {
    for (let i = 0; i < 10; i++) {
      const person = await postern.stranger();
      const refused = await Promise.all(Array.from({ length: 6 }, () => postern.mail({ to: person.email })));
      for (const answer of refused) assert.equal(outcomeOf(answer), 'blocked');
      await postern.api('PUT', `/postern/v1/contacts/${person.id}`, { addresses: { email: [person.email] } });
      await postern.consent(person, { channel: 'email', category: 'newsletter' });
      const passed = await Promise.all(Array.from({ length: 6 }, () => postern.mail({ to: person.email })));
      for (const answer of passed) assert.equal(outcomeOf(answer), 'forwarded');
    }
  });

  it('keep messages that the first of them releases, each once', async () => {
    await postern.newDay('22:00', 'tue');
    const all = [], answers = [];
    do {
      /* which worker a connection meets is the kernel's choice, once for each */
      http.globalAgent.destroy();
      const more = await people(12);
      answers.push(...(await Promise.all(more.map((person) => postern.sms({ to: person.phone })))));
      all.push(...more);
    } while ((await workersOf(answers)).length < 2 && all.length < 120);
    for (const answer of answers) assert.equal(outcomeOf(answer), 'deferred');
    assert.ok((await workersOf(answers)).length > 1, 'kept by several');
    await postern.passRelease(postern.at('08:00', 1));
    await waitFor('the queue to empty', async () => (await postern.deferred()).length === 0);
    await waitFor('all at the provider', () => sms.requests.length >= all.length);
    for (const person of all) assert.equal(arrived(sms, person.phone).length, 1);
    await postern.newDay('12:00');
  });

  it('tell the first what is due now', async () => {
    await postern.newDay('22:00');
    const all = await people(6);
    await Promise.all(all.map((person) => postern.sms({ to: person.phone })));
    await postern.setClock(postern.at('09:00', 1)); /* allowed again; spread over minutes, so that most still wait */
    for (const row of await postern.deferred()) await postern.call('POST', `/postern/v1/deferred/${row.id}/release`);
    await waitFor('all at the provider', () => sms.requests.length >= all.length, { deadline: 3000 });
    await postern.newDay('12:00');
  });
});

describe('an opt-out', () => {
  it('that one worker acknowledged binds all, with 300 sends in flight', async () => {
    const all = await people(20);
    slow();
    const sends = all.flatMap((person) => Array.from({ length: 15 }, (_, n) => postern.mail({ to: person.email, text: `offer ${n}` }).then((answer) => ({ person, answer }))));
    await waitFor('calls at the provider', () => mail.requests.length >= 5, { every: 2 });
    const acks = new Map(), took = [];
    for (const person of all.filter((_, i) => i % 2 === 0)) {
      const began = performance.now();
      await postern.optOut(person.email);
      took.push(performance.now() - began);
      acks.set(person, Date.now());
    }
    const results = await Promise.all(sends);
    assert.deepEqual(await workersOf(results.map(({ answer }) => answer)), [0, 1, 2]);
    for (const [person, ack] of acks) {
      const late = arrived(mail, person.email).map((one) => one.at - ack).filter((ms) => ms > ON_THE_WIRE_MS);
      assert.deepEqual(late, [], 'ms after the acknowledgement');
    }
    for (const { person, answer } of results) {
      if (!acks.has(person)) assert.equal(outcomeOf(answer), 'forwarded', 'nobody else is touched');
      else if (outcomeOf(answer) !== 'forwarded') assert.equal(header(answer, 'X-Postern-Code'), 'PST-HARD-OPTOUT');
    }
    for (const person of all) {
      const forwarded = results.filter((one) => one.person === person && outcomeOf(one.answer) === 'forwarded').length;
      assert.equal(arrived(mail, person.email).length, forwarded, 'the provider and the callers agree');
    }
    console.log(`# acknowledged under load after ${Math.max(...took).toFixed(0)} ms at most`);
  });

  it('is acknowledged within 250 ms when all is well', async () => {
    const took = [];
    for (let i = 0; i < 100; i++) {
      const began = performance.now();
      await postern.optOut(postern.stranger().email);
      took.push(performance.now() - began);
    }
    took.sort((a, b) => a - b);
    console.log(`# acknowledged after ${took[50].toFixed(1)} ms (median), ${took[98].toFixed(1)} ms (p99)`);
    assert.ok(took[98] < ACK_MS, `${took[98]} ms`);
  });

  it('is acknowledged with a worker stopped, which sends nothing of it when it goes on', async () => {
    const all = await people(8);
    slow();
    const sends = all.flatMap((person) => Array.from({ length: 30 }, (_, n) => postern.mail({ to: person.email, text: `offer ${n}` }).catch((error) => error)));
    await waitFor('calls at the provider', () => mail.requests.length >= 6, { every: 2 });
    const stopped = postern.workers[1];
    const lane = await Lane.to((worker) => worker !== 1);
    process.kill(stopped, 'SIGSTOP');
    try {
      await sleep(2 * LATENCY_MS); /* what it had written has arrived */
      const began = performance.now();
      const acks = await Promise.all(all.map((person) => lane.post('/postern/v1/opt-outs', { address: person.email, scope: 'global', source: 'customer' })));
      const took = performance.now() - began;
      for (const ack of acks) assert.equal(ack.status, 201);
      console.log(`# acknowledged after ${took.toFixed(0)} ms with a worker stopped`);
      assert.ok(took < FENCE_MS, `${took} ms`);
    } finally {
      await sleep(ON_THE_WIRE_MS);
      mail.requests.length = 0;
      if (isAlive(stopped)) process.kill(stopped, 'SIGCONT');
      lane.end();
    }
    await Promise.all(sends);
    assert.deepEqual(mail.requests.map((one) => one.text), [], 'after SIGCONT');
    await waitFor('the worker to answer again, or its successor', async () => (await postern.metric('postern_worker_up')) === WORKERS);
  });

  it('outlives the worker that made it durable', async () => {
    const [ada] = await people(1);
    await Promise.all(Array.from({ length: 12 }, () => postern.mail({ to: ada.email }))); /* everybody has her in its cache */
    await postern.optOut(ada.email);
    await killed(2);
    const answers = await Promise.all(Array.from({ length: 12 }, () => postern.mail({ to: ada.email })));
    for (const answer of answers) assert.equal(header(answer, 'X-Postern-Code'), 'PST-HARD-OPTOUT');
  });
});

describe('kill -9 of workers under load', () => {
  const KILLS = 6;
  const told = [], marks = [];

  it('each is started again, and the others go on', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => postern.person()));
    for (const fake of [mail, sms]) fake.when('mark-', behave.late(() => Math.random() * 12));
    const running = { on: true };
    const restarts = await postern.metric('postern_worker_restarts_total');
    const senders = Array.from({ length: 8 }, async (_, n) => {
      while (running.on) {
        const person = all[marks.length % all.length];
        const one = { kind: marks.length % 2 === 0 ? 'sms' : 'mail', mark: `mark-${marks.length}-${n}.` };
        marks.push(one);
        try {
          one.answer =
            one.kind === 'sms'
              ? await postern.sms({ to: person.phone, body: one.mark }, { key: 'billing-sms' })
              : await postern.mail({ to: person.email, text: one.mark }, { key: 'billing' });
          if (one.answer.status < 300) told.push(one);
          else assert.ok(one.answer.status >= 500 || one.answer.status === 429, `${one.answer.status}`);
        } catch (error) {
          if (error.code === 'ERR_ASSERTION') throw error; /* else the worker died under this request */
        }
      }
    });
    try {
      for (let i = 0; i < KILLS; i++) {
        await sleep(50 + Math.random() * 100);
        await killed(i % WORKERS);
      }
    } finally {
      running.on = false;
      await Promise.all(senders);
    }
    assert.ok(told.length > KILLS * 2, `the load was real: ${told.length} acknowledged of ${marks.length}`);
    assert.ok((await postern.metric('postern_worker_restarts_total')) - restarts >= KILLS);
    assert.equal(await postern.metric('postern_worker_up'), WORKERS);
    assert.match(postern.log, /event=worker_ended worker=0 pid=\d+ signal=9/);
    const seen = ({ kind, mark }) => (kind === 'sms' ? sms : mail).seen(mark).length;
    assert.deepEqual(marks.filter((one) => seen(one) > 1), [], 'nothing is sent twice');
    const results = {};
    for (let i = 0; i < told.length; i += 50)
      await Promise.all(
        told.slice(i, i + 50).map(async (one) => {
          const decision = await postern.decision(decisionIds(one.answer)[0]);
          results[decision.result] = (results[decision.result] ?? 0) + 1;
          assert.ok(['forwarded', 'unknown', 'deferred'].includes(decision.result), `${one.mark}: ${decision.result}`);
          if (decision.result === 'forwarded') assert.equal(seen(one), 1, one.mark);
        }),
      );
    console.log(`# ${marks.length} tried, ${told.length} acknowledged: ${JSON.stringify(results)}`);
  });

  it('leaves no message without a word, and no gap in the chain', async () => {
    /* Whatever no client heard of: each intent has its result. */
    await waitFor('nothing under way', async () => (await postern.metric('postern_submissions_in_progress')) === 0);
    await postern.assertAuditHolds();
  });
});

describe('the whole', () => {
  it('ends with its parent, and starts again at once', async () => {
    const before = postern.workers;
    await postern.kill();
    await waitFor('the workers to end', () => !before.some(isAlive), { deadline: 1000 });
    await postern.launch();
    await postern.assertAuditHolds();
  });

  it('while a worker that keeps dying is not started, no connection waits for it', async () => {
    await killed(1);
    const ends = () => postern.log.match(/event=worker_ended worker=1/g).length;
    const before = ends();
    process.kill(postern.workers[1], 'SIGKILL'); /* it lived for less than 5 s: the next one comes after a second or two */
    await waitFor('its end', () => ends() > before, { every: 2 });
    const asked = Array.from({ length: 40 }, () => fetch(`${postern.url}/healthz`, { headers: { Connection: 'close' }, signal: AbortSignal.timeout(700) }));
    const answers = await Promise.allSettled(asked);
    assert.deepEqual(answers.filter((one) => one.value?.status !== 200).map((one) => `${one.reason}`), []);
    assert.equal(await postern.metric('postern_worker_up'), WORKERS - 1, 'it is still away');
    await waitFor('the next one in its place', async () => (await postern.metric('postern_worker_up')) === WORKERS);
    const lanes = await Promise.all([0, 1, 2].map((n) => Lane.to((worker) => worker === n))); /* and all take connections again */
    for (const lane of lanes) lane.end();
  });

  it('drains: what was begun is finished', async () => {
    const person = await postern.person();
    mail.when(() => true, behave.late(500));
    const sends = Array.from({ length: 6 }, () => postern.mail({ to: person.email }, { key: 'billing' }));
    await waitFor('calls at the provider', () => mail.requests.length >= 3, { every: 2 });
    const ended = postern.restart();
    const answers = await Promise.all(sends);
    for (const answer of answers) assert.equal(answer.status, 202);
    await ended;
    await postern.assertAuditHolds();
  });
});
