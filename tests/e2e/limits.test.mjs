// Too much: connections, bytes, slowness, descriptors.  Each test prints what it measured; the one idea is that the
// caps are met with the answer that clients understand, and that nobody else pays for it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { KEYS, POSTERND, startHouse, waitFor } from './harness.mjs';
import { Raw, memoryMib, withClients } from './load.mjs';

const MIB = 1 << 20;
const BODY_MAX = 30 * MIB;
/** A sanitizer keeps freed memory back and takes several times as long: its figures are printed, not judged. */
const SANITIZED = readFileSync(POSTERND).includes('__asan_init');

const MAIL = (length, more = '') =>
  `POST /v3/mail/send HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer ${KEYS.billing.secret}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n${more}\r\n`;
const SMS = (length) =>
  `POST /2010-04-01/Accounts/${KEYS['billing-sms'].account}/Messages.json HTTP/1.1\r\nHost: p\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${length}\r\n\r\n`;

/** Seconds of processor time that the process has used. */
async function cpuSeconds(postern) {
  const fields = (await readFile(`/proc/${postern.pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function withHouse(limits, use, options = {}) {
  const house = await startHouse({ configure: (settings) => (settings.limits = limits), ...options });
  try {
    return await use(house);
  } finally {
    await house.end();
  }
}

describe('slow clients', { timeout: 40_000 }, () => {
  it('have an absolute deadline for the head, and a least rate for the body', (t) =>
    withHouse({ head_ms: 500 }, async ({ postern }) => {
      await withClients(postern, 1, async ([slow]) => {
        const began = performance.now();
        const timer = setInterval(() => slow.write('X'), 50);
        slow.write('POST /v3/mail/send HTTP/1.1\r\n');
        await waitFor('the end', () => slow.closed || slow.status);
        clearInterval(timer);
        const took = performance.now() - began;
        t.diagnostic(`head given up after ${took.toFixed(0)} ms of 500`);
        assert.equal(slow.status, 408);
        assert.ok(took > 450 && took < 1500);
      });
      assert.equal(await postern.metric('postern_http_faults_total', { reason: 'head_timeout' }), 1);
    }));
});

describe('caps', { timeout: 40_000 }, () => {
  it('connections beyond the cap hear 503; an idle one gives way', () =>
    withHouse({ connections: 8 }, async ({ postern }) => {
      await withClients(postern, 12, async (clients) => {
        clients.forEach((one) => one.write('GET /healthz HTTP/1.1\r\n'));
        await waitFor('four to be told', () => clients.filter((one) => one.closed).length >= 4);
        const [late, busy] = [clients.filter((one) => one.closed), clients.filter((one) => !one.closed)];
        for (const one of late) {
          assert.equal(one.status, 503);
          assert.match(one.text, /^Retry-After: \d+\r$/m);
        }
        busy.forEach((one) => one.write('Host: p\r\n\r\n'));
        await waitFor('all answers', () => busy.every((one) => one.status === 200));
        await postern.idle(1200); // longer than an idle connection is kept from a new one
        const next = new Raw(postern.port);
        next.write('GET /readyz HTTP/1.1\r\nHost: p\r\n\r\n');
        await waitFor('an answer', () => next.status === 200);
        next.end();
      });
    }));

  it('a body of 30 MiB and one byte is 413 in the dialect of its path', () =>
    withHouse({}, async ({ postern }) => {
      await withClients(postern, 3, async ([mail, sms, chunked]) => {
        mail.write(MAIL(BODY_MAX + 1));
        await waitFor('an answer', () => mail.closed);
        assert.equal(mail.status, 413);
        assert.ok(Array.isArray(mail.body.errors));
        sms.write(SMS(BODY_MAX + 1));
        await waitFor('an answer', () => sms.closed);
        assert.equal(sms.status, 413);
        assert.equal(sms.body.status, 413);
        assert.equal(typeof sms.body.code, 'number');
        chunked.write(MAIL(0).replace('Content-Length: 0', 'Transfer-Encoding: chunked'));
        const piece = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MIB, 'x'), Buffer.from('\r\n')]);
        for (let i = 0; i < 31; i++) chunked.write(piece);
        await waitFor('an answer', () => chunked.status);
        assert.equal(chunked.status, 413);
      });
      const whole = await postern.raw('POST', '/v3/mail/send', Buffer.alloc(BODY_MAX, ' '), { key: 'billing' });
      assert.equal(whole.status, 400, 'at the limit it is read, and is no JSON');
    }));

  it('64 bodies of 30 MiB at once: as many as fit, 503 for the rest, memory bounded', (t) =>
    withHouse({ inflight_bytes: 4 * BODY_MAX + MIB }, async ({ postern }) => {
      const before = await memoryMib(postern);
      await withClients(postern, 64, async (clients) => {
        const piece = Buffer.alloc(MIB, ' ');
        const send = async (one) => {
          one.write(MAIL(BODY_MAX));
          for (let i = 0; i < 30 && !one.status && !one.closed; i++) {
            // The last byte stays behind: what is held is held until all have been told.
            const last = i === 29 ? piece.subarray(1) : piece;
            await one.push(last);
          }
          one.sent = !one.status && !one.closed;
        };
        await Promise.all(clients.map(send));
        await waitFor('an answer to those that do not fit', () => clients.every((one) => one.sent || one.status === 503 || one.closed));
        const held = clients.filter((one) => !one.status && !one.closed);
        const peak = await memoryMib(postern, 'VmHWM');
        const refused = clients.filter((one) => one.status === 503);
        t.diagnostic(`held ${held.length}, refused ${refused.length}; RSS ${before.toFixed(0)} MiB before, at most ${peak.toFixed(0)} MiB for ${4 * 30 + 1} MiB of bodies`);
        assert.ok(held.length >= 1 && held.length <= 4, `${held.length} held`);
        assert.equal(held.length + refused.length, 64, 'each is held, or told 503');
        for (const one of refused) assert.match(one.text, /^Retry-After: \d+\r$/m);
        if (!SANITIZED) assert.ok(peak - before < 4 * 30 * 1.5 + 64, `${peak} MiB`);
        assert.equal((await fetch(`${postern.url}/readyz`)).status, 200);
        held.forEach((one) => one.write(' '));
        await waitFor('answers to those that were held', () => held.every((one) => one.status === 400));
      });
      await waitFor('the budget to be free again', async () => (await postern.metric('postern_http_inflight_bytes')) === 0);
    }));

  it('with 64 open files and 200 idle connections, sends and operations go on, and nothing spins', (t) =>
    withHouse(
      {},
      async ({ postern, mail }) => {
        assert.match(postern.log, /event=connections_lowered from=10000 to=\d+/);
        const ada = await postern.person();
        await withClients(postern, 200, async () => {
          await postern.idle(1200);
          const began = performance.now();
          assert.equal((await fetch(`${postern.url}/readyz`)).status, 200);
          const ready = performance.now() - began;
          assert.equal((await postern.mail({ to: ada.email }, { key: 'billing' })).status, 202);
          assert.equal(mail.sends(ada.email).length, 1);
          const cpu = await cpuSeconds(postern);
          await postern.idle(1000);
          const used = (await cpuSeconds(postern)) - cpu;
          t.diagnostic(`readyz in ${ready.toFixed(1)} ms; ${(used * 100).toFixed(0)} % of a processor while waiting`);
          if (!SANITIZED) assert.ok(ready < 200, `${ready} ms`);
          assert.ok(used < 0.3, `${used} s of processor time in a second`);
        });
      },
      { wrap: ['bash', '-c', 'ulimit -n 64; exec "$0" "$@"'] },
    ));
});
