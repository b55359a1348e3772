// Clients that take and do not give: slow in each of four ways, and by SMTP in two; more connections than descriptors, more bodies than
// memory.  Who behaves is served as before, and operations can be asked all the while.  Time and memory are judged, so
// this wants a build without sanitizers.  CI is bounded; SLOW_CLIENTS=5000 STORM=5000 BODIES=1000 for a long run.
// How slow clients delay others is judged by what they make the loop do, in CPU time: that is the same on a busy machine.
// SLOW_P99=1 judges the wait itself, 10 % at most, on a machine of its own.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import http from 'node:http';
import net from 'node:net';
import { FakeRelay } from '../fakes/relay.mjs';
import { KEYS, startHouse, waitFor } from '../e2e/harness.mjs';
import { Raw, latencies, leastCpuUs, median, memoryMib, percentile, withClients } from '../e2e/load.mjs';
import { SmtpClient } from '../e2e/smtp_client.mjs';

const SLOW_CLIENTS = Number(process.env.SLOW_CLIENTS ?? 1000);
const STORM = Number(process.env.STORM ?? 3000);
const BODIES = Number(process.env.BODIES ?? 60);
const MIB = 1 << 20;
const BODY = 30 * MIB;
const SENDS = 50; // of those who behave, in each round
const ROUNDS = 5;
/** CPU time of a mail beside them, at most so many times what it is alone: caches are shared by all that run. */
const DEARER = 1.25;
const P99 = process.env.SLOW_P99 === '1';

/**
 * What clients that drip cost those who send.  send(n) makes so many mails go and returns their milliseconds; attach(run)
 * brings the clients for as long as run takes; drip(turn) writes a byte for each of a tenth of them and says for how many;
 * whole() brings new ones for those whose time was up, and whole({ now: true }) says whether nine in ten are there.
 * Judged: that they are there makes no mail dearer, and a byte of theirs costs a small part of a mail; so what a thousand
 * of them take from the others is a few percent of the loop, in turns that are short.
 */
async function judge(t, postern, { send, attach, drip, whole = () => true, turnMs = 20 }) {
  const took = { alone: [], beside: [] };
  const mails = (where) => async () => {
    if (where === 'beside') await whole();
    const all = await send(SENDS);
    took[where].push(...all);
    return where === 'alone' || whole({ now: true }) ? all.length : 0;
  };
  await send(SENDS); // its caches and connections are warm
  const alone = await leastCpuUs(postern, ROUNDS, mails('alone'));
  const [there, byte, more] = await attach(async () => {
    const quiet = await leastCpuUs(postern, ROUNDS, mails('beside'), DEARER * alone);
    if (!drip) return [quiet, 0, 0];
    let turn = 0;
    const bytes = await leastCpuUs(postern, ROUNDS, async () => {
      let n = 0;
      await whole();
      for (let i = 0; i < 4; i++) {
        n += drip(turn++);
        await postern.idle(50);
      }
      return n;
    });
    const timer = setInterval(() => drip(turn++), 100);
    const loud = await leastCpuUs(postern, ROUNDS, mails('beside'));
    clearInterval(timer);
    return [quiet, bytes, loud];
  });
  const turn = 1000 * (await postern.metric('postern_loop_turn_cpu_seconds_max'));
  const [quiet, loud] = [took.alone, took.beside].map((all) => ({ p50: median(all), p99: percentile(all, 0.99) }));
  t.diagnostic(`the loop works ${alone.toFixed(0)} us for a mail alone, ${there.toFixed(0)} with them there, ${byte.toFixed(1)} for a byte of theirs, ${more.toFixed(0)} for a mail and what comes of theirs meanwhile; costliest turn ${turn.toFixed(1)} ms`);
  t.diagnostic(`waited: p50 ${quiet.p50.toFixed(1)} ms alone, ${loud.p50.toFixed(1)} beside; p99 ${quiet.p99.toFixed(1)} and ${loud.p99.toFixed(1)}`);
  assert.ok(there < DEARER * alone, `a mail costs ${there} us beside clients that only are there, ${alone} alone`);
  assert.ok(byte < alone / 5, `a byte of a slow client costs ${byte} us, a mail ${alone}`);
  assert.ok(turn < turnMs, `a turn of the loop took ${turn} ms of CPU time`);
  if (P99) assert.ok(loud.p99 < 1.1 * quiet.p99, `p99 ${loud.p99} ms, ${quiet.p99} alone`);
}

/** A tenth of the clients at a time, so that 100 ms a turn are a byte a second for each; how many were written to. */
function tenth(clients, turn, write) {
  let n = 0;
  for (let i = turn % 10; i < clients.length; i += 10) {
    if (clients[i].closed) continue;
    write(clients[i], Math.floor(turn / 10));
    n += 1;
  }
  return n;
}

const head = (length) => `POST /v3/mail/send HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer ${KEYS.billing.secret}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;

async function withHouse(use, options = {}) {
  const house = await startHouse(options);
  try {
    return await use(house);
  } finally {
    await house.end();
  }
}

/** What slow clients do at first, and what each does once a second. */
const modes = {
  'a head, byte by byte': { begin: (one) => one.write('P'), drip: (one, n) => one.write(head(1000)[1 + n] ?? 'X') },
  'a body, byte by byte': { begin: (one) => one.write(head(1000)), drip: (one) => one.write(' ') },
  'answers that are not read': {
    begin(one) {
      one.socket.pause();
      one.write('GET /metrics HTTP/1.1\r\nHost: p\r\n\r\n'.repeat(20));
    },
    turnMs: 250, // docs/FAULTS.md, "What is not so"
  },
  'nothing at all': { begin() {} },
};

describe('slow clients', { timeout: 120_000 + SLOW_CLIENTS * 20 }, () => {
  for (const [name, { begin, drip, turnMs }] of Object.entries(modes))
    it(`${SLOW_CLIENTS} that give ${name}: the others do not wait`, (t) =>
      withHouse(async ({ postern }) => {
        let slow;
        const person = await postern.person();
        const some = async (clients) => {
          for (let i = 0; i < clients.length; i += 100) {
            clients.slice(i, i + 100).forEach(begin);
            await postern.idle(20);
          }
        };
        const whole = async () => {
          const fresh = [];
          for (const [i, one] of slow.entries()) if (one.closed) fresh.push((slow[i] = new Raw(postern.port)));
          await Promise.all(fresh.map((one) => one.connected));
          await some(fresh);
        };
        await judge(t, postern, {
          turnMs,
          send: (n) => latencies(postern, n, { person }),
          attach: (run) =>
            withClients(postern, SLOW_CLIENTS, async (clients) => {
              slow = clients;
              await some(slow);
              return run();
            }),
          drip: drip && ((turn) => tenth(slow, turn, drip)),
          whole: ({ now } = {}) => (now ? slow.filter((one) => !one.closed).length > SLOW_CLIENTS * 0.9 : whole()),
        });
      }));
});

/** Milliseconds of so many mails by SMTP, over a few sessions. */
async function smtpLatencies(sessions, n, to) {
  const took = [];
  const lane = async (client) => {
    while (took.length < n) {
      const began = performance.now();
      const { end } = await client.send({ to, content: 'Subject: s\r\n\r\nv\r\n' });
      took.push(performance.now() - began);
      assert.equal(end.code, 250, end.text);
    }
  };
  await Promise.all(sessions.map(lane));
  return took;
}

/** Slow clients of the SMTP port, from as many addresses as it takes. */
async function withSmtpClients(postern, n, use) {
  const clients = Array.from({ length: n }, (_, i) => {
    const one = { closed: false, socket: net.connect({ port: postern.smtpPort, host: '127.0.0.1', localAddress: `127.0.1.${i % 200}` }) };
    one.connected = new Promise((resolve) => one.socket.once('data', resolve).once('close', resolve));
    one.socket.on('data', () => {}).on('error', () => {}).on('close', () => (one.closed = true));
    return one;
  });
  try {
    await Promise.all(clients.map((one) => one.connected));
    return await use(clients);
  } finally {
    for (const { socket } of clients) socket.destroy();
  }
}

/** As many as leave a port's cap room for those who behave. */
const SLOW_BY_SMTP = Math.min(SLOW_CLIENTS, 2000);
const smtpModes = {
  'a command': 'EHLO ',
  'a login': 'EHLO x\r\n',
};

describe('slow clients by SMTP', { timeout: 120_000 + SLOW_CLIENTS * 20 }, () => {
  for (const [name, first] of Object.entries(smtpModes))
    it(`${SLOW_BY_SMTP} that give ${name}, a byte a second: the others do not wait`, (t) =>
      withHouse(
        async ({ postern }) => {
          let slow;
          const { email } = await postern.person();
          const sessions = await Promise.all(Array.from({ length: 4 }, () => SmtpClient.start(postern.smtpPort, { from: '127.0.0.1' })));
          for (const client of sessions) assert.equal((await client.login(KEYS.billing)).code, 235);
          const before = await memoryMib(postern);
          await judge(t, postern, {
            send: (n) => smtpLatencies(sessions, n, email),
            attach: (run) =>
              withSmtpClients(postern, SLOW_BY_SMTP, async (clients) => {
                slow = clients;
                for (const { socket } of slow) socket.write(first);
                const found = await run();
                t.diagnostic(`${((await memoryMib(postern)) - before).toFixed(1)} MiB for them`);
                return found;
              }),
            drip: (turn) => tenth(slow, turn, (one) => one.socket.write('x')),
            whole: () => slow.filter((one) => !one.closed).length > SLOW_BY_SMTP * 0.9,
          });
          for (const client of sessions) client.end();
        },
        {
          relay: new FakeRelay(),
          configure(settings) {
            settings.providers = settings.providers.filter(({ name: provider }) => provider !== 'relay');
            settings.routes.smtp = 'sandbox';
          },
        },
      ));
});

/** One request on a connection of its own or of the agent: its status, 0 when there is no answer, and the milliseconds. */
async function ask(postern, target, { agent, body, headers = {} } = {}) {
  const began = performance.now();
  const status = await new Promise((resolve) => {
    const call = http.request(`${postern.url}${target}`, { agent, method: body ? 'POST' : 'GET', headers }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode)));
    call.on('error', () => resolve(0)).end(body);
  });
  return { status, ms: performance.now() - began };
}

describe('descriptors', { timeout: 60_000 }, () => {
  it(`1,024 of them and a storm of ${STORM} connections: operations answer, and mail goes on`, (t) =>
    withHouse(
      async ({ postern, mail }) => {
        const ada = await postern.person();
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
        await ask(postern, '/readyz', { agent }); // who was there before the storm
        const during = [];
        await withClients(postern, STORM, async (clients) => {
          for (const one of clients) one.write('GET /healthz HTTP/1.1\r\n');
          const until = performance.now() + 300;
          while (performance.now() < until) during.push(await ask(postern, '/readyz', { agent }));
          const body = JSON.stringify({ personalizations: [{ to: [{ email: ada.email }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] });
          const { status } = await ask(postern, '/v3/mail/send', { agent, body, headers: { Authorization: `Bearer ${KEYS.billing.secret}`, 'Content-Type': 'application/json' } });
          assert.equal(status, 202, 'descriptors for providers and the store are kept back');
        });
        assert.equal(mail.sends(ada.email).length, 1);
        const unanswered = during.filter(({ status }) => status !== 200).length;
        const served = during.map(({ ms }) => ms);
        // Idle connections give way to new ones.
        const late = await withClients(postern, STORM, async () => {
          await postern.idle(1300);
          const { status, ms } = await ask(postern, '/readyz');
          assert.equal(status, 200);
          return ms;
        });
        agent.destroy();
        const told = await postern.metric('postern_http_faults_total', { reason: 'too_many_connections' });
        t.diagnostic(`${served.length} answers in the storm, median ${median(served).toFixed(1)} ms, p99 ${percentile(served, 0.99).toFixed(0)}; ${told} refused with 503; a new connection after it ${late.toFixed(1)} ms`);
        assert.equal(unanswered, 0, 'a connection from before the storm is kept');
        assert.ok(median(served) < 100, `${median(served)} ms`);
        assert.ok(late < 100, `a new connection beside idle ones: ${late} ms`);
        assert.ok(told > 0, 'there were more than fit');
      },
      { wrap: ['bash', '-c', 'ulimit -n 1024; exec "$0" "$@"'] },
    ));
});

describe('memory', { timeout: 120_000 + BODIES * 200 }, () => {
  it(`${BODIES} bodies of 30 MiB in a process that may have 512 MiB: it lives, and small requests go on`, (t) =>
    withHouse(
      async ({ postern, mail }) => {
        const { pid } = postern;
        const person = await postern.person();
        const alone = await latencies(postern, 250, { person });
        const piece = Buffer.alloc(MIB, ' ');
        const statuses = {};
        const took = [];
        let sending = true;
        t.after(() => (sending = false));
        const small = (async () => {
          const body = JSON.stringify({ personalizations: [{ to: [{ email: person.email }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] });
          while (sending) {
            const began = performance.now();
            const { status } = await postern.raw('POST', '/v3/mail/send', body, { key: 'billing' });
            took.push(performance.now() - began);
            statuses[status] = (statuses[status] ?? 0) + 1;
          }
        })();
        const big = {};
        for (let left = BODIES; left > 0; left -= 60)
          await withClients(postern, Math.min(60, left), (clients) =>
            Promise.all(
              clients.map(async (one) => {
                one.write(head(BODY));
                for (let i = 0; i < 30 && !one.status && !one.closed; i++) await one.push(piece);
                await waitFor('an answer', () => one.status || one.closed, { deadline: 60_000 });
                big[one.status || 'closed'] = (big[one.status || 'closed'] ?? 0) + 1;
              }),
            ),
          );
        sending = false;
        await small;
        const [size, rss] = [await memoryMib(postern, 'VmPeak'), await memoryMib(postern, 'VmHWM')];
        t.diagnostic(`big: ${JSON.stringify(big)}, small: ${JSON.stringify(statuses)}; at most ${size.toFixed(0)} MiB of addresses, ${rss.toFixed(0)} resident`);
        t.diagnostic(`a small mail alone p50 ${median(alone).toFixed(1)} ms, p99 ${percentile(alone, 0.99).toFixed(1)}; beside p50 ${median(took).toFixed(1)}, p99 ${percentile(took, 0.99).toFixed(1)}`);
        assert.equal(postern.pid, pid);
        assert.equal((await fetch(`${postern.url}/readyz`)).status, 200);
        assert.deepEqual(Object.keys(statuses), ['202'], 'every small mail was taken');
        assert.ok(big[503] > 0 && big[400] > 0, 'as many as fit were read, the others told to come back');
        assert.equal(mail.sends(person.email).length, alone.length + statuses[202]);
      },
      { wrap: ['bash', '-c', `ulimit -v ${512 * 1024}; exec "$0" "$@"`] },
    ));
});
