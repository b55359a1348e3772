// The listener as clients on raw sockets see it, and the pages of operations.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { KEYS, startHouse, waitFor } from './harness.mjs';

let house, postern, mail;

before(async () => {
  house = await startHouse();
  ({ postern, mail } = house);
});
after(() => house.end());

/** A raw connection that splits what it receives into whole HTTP answers. */
class Wire {
  #bytes = Buffer.alloc(0);
  closed = false;
  constructor(port) {
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.on('data', (chunk) => (this.#bytes = Buffer.concat([this.#bytes, chunk])));
    this.socket.on('close', () => (this.closed = true));
    this.socket.on('error', () => {});
  }

  write(text) {
    this.socket.write(text);
  }

  /** The next answer: { status, head, body }. */
  answer() {
    return waitFor('an answer on the wire', () => {
      const end = this.#bytes.indexOf('\r\n\r\n');
      if (end === -1) return undefined;
      const head = this.#bytes.subarray(0, end).toString('latin1');
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)[1]);
      const length = status < 200 || status === 204 ? 0 : Number(/^content-length: *(\d+)$/im.exec(head)[1]);
      if (this.#bytes.length < end + 4 + length) return undefined;
      const body = this.#bytes.subarray(end + 4, end + 4 + length).toString();
      this.#bytes = this.#bytes.subarray(end + 4 + length);
      return { status, head, body };
    });
  }

  end() {
    this.socket.destroy();
  }
}

async function withWire(use) {
  const wire = new Wire(postern.port);
  try {
    return await use(wire);
  } finally {
    wire.end();
  }
}

const json = (to) => JSON.stringify({ personalizations: [{ to: [{ email: to }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] });
function send(to, { headers = '', bytes = json(to), length = `Content-Length: ${Buffer.byteLength(bytes)}\r\n` } = {}) {
  return `POST /v3/mail/send HTTP/1.1\r\nHost: postern\r\nAuthorization: Bearer ${KEYS.billing.secret}\r\nContent-Type: application/json\r\n${length}${headers}\r\n${bytes}`;
}

describe('the listener', () => {
  it('answers pipelined requests in order, on one connection', async () => {
    const people = await Promise.all(Array.from({ length: 12 }, () => postern.person()));
    await postern.optOut(people[3].email, { scope: 'channel', channel: 'email' });
    await withWire(async (wire) => {
      wire.write(people.map((one) => send(one.email)).join('') + 'GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n');
      const statuses = [];
      for (let i = 0; i <= people.length; i++) statuses.push((await wire.answer()).status);
      assert.deepEqual(statuses, people.map((_, i) => (i === 3 ? 403 : 202)).concat(200));
      assert.equal(wire.closed, false);
    });
    for (const [i, one] of people.entries()) assert.equal(mail.sends(one.email).length, i === 3 ? 0 : 1);
  });

  it('keeps a connection for one request after the other, each in pieces', async () => {
    await withWire(async (wire) => {
      for (let i = 0; i < 5; i++) {
        const ada = await postern.person();
        const text = send(ada.email);
        for (const at of [10, 60, 200]) wire.write(text.slice(at === 10 ? 0 : at === 60 ? 10 : 60, at));
        wire.write(text.slice(200));
        assert.equal((await wire.answer()).status, 202);
        assert.equal(mail.sends(ada.email).length, 1);
      }
    });
  });

  it('reads a chunked body, and forwards its content with a length', async () => {
    const ada = await postern.person();
    const text = json(ada.email);
    const chunks = [text.slice(0, 7), text.slice(7, 50), text.slice(50)].map((c) => `${Buffer.byteLength(c).toString(16)}\r\n${c}\r\n`).join('');
    await withWire(async (wire) => {
      wire.write(send(ada.email, { length: 'Transfer-Encoding: chunked\r\n', bytes: `${chunks}0\r\n\r\n` }));
      assert.equal((await wire.answer()).status, 202);
    });
    const [request] = mail.sends(ada.email);
    assert.equal(request.text, text);
    assert.equal(request.headers['content-length'], String(Buffer.byteLength(text)));
  });

  it('says 100 Continue to who waits for it', async () => {
    const ada = await postern.person();
    const text = json(ada.email);
    await withWire(async (wire) => {
      wire.write(send(ada.email, { headers: 'Expect: 100-continue\r\n' }).slice(0, -Buffer.byteLength(text)));
      assert.equal((await wire.answer()).status, 100);
      wire.write(text);
      assert.equal((await wire.answer()).status, 202);
    });
  });

  const ambiguous = {
    'Content-Length with Transfer-Encoding': (to) => send(to, { headers: 'Transfer-Encoding: chunked\r\n' }),
    'two Content-Length': (to) => send(to, { headers: 'Content-Length: 3\r\n' }),
    'a blank before the colon': (to) => send(to, { headers: 'X-A : b\r\n' }),
    'a folded header': (to) => send(to, { headers: 'X-A: b\r\n c\r\n' }),
    'a bare LF': (to) => send(to, { headers: 'X-A: b\n' }),
    'a NUL in a header': (to) => send(to, { headers: 'X-A: b\0c\r\n' }),
    'no Host': (to) => send(to).replace('Host: postern\r\n', ''),
    'two Hosts': (to) => send(to, { headers: 'Host: other\r\n' }),
    'a signed length': (to) => send(to).replace('Content-Length: ', 'Content-Length: +'),
    'another transfer coding': (to) => send(to, { length: 'Transfer-Encoding: gzip, chunked\r\n', bytes: '0\r\n\r\n' }),
  };
  for (const [name, bytes] of Object.entries(ambiguous))
    it(`refuses ${name} with 400 and closes; nothing is sent`, async () => {
      const ada = await postern.person();
      await withWire(async (wire) => {
        wire.write(bytes(ada.email) + 'GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n');
        assert.equal((await wire.answer()).status, 400);
        await waitFor('the connection to close', () => wire.closed);
      });
      assert.deepEqual(mail.sends(ada.email), []);
    });

  it('refuses a body over the limit with 413 in the words of the dialect, and is well afterwards', async () => {
    const answer = await withWire(async (wire) => {
      wire.write(send('a@b.example', { length: `Content-Length: ${40 * 1024 * 1024}\r\n`, bytes: '' }));
      return wire.answer();
    });
    assert.equal(answer.status, 413);
    assert.ok(Array.isArray(JSON.parse(answer.body).errors));
    assert.equal((await fetch(`${postern.url}/healthz`)).status, 200);
  });

  it('takes a large mail whole', async () => {
    const ada = await postern.person();
    const content = Buffer.alloc(6 * 1024 * 1024, 'QUJD').toString('base64');
    const answer = await postern.mail({ to: ada.email, attachments: [{ content, filename: 'a.txt', type: 'text/plain' }] }, { key: 'billing' });
    assert.equal(answer.status, 202);
    assert.equal(mail.sends(ada.email)[0].json.attachments[0].content, content);
  });

  it('does not send for a client that is gone before its request is whole', async () => {
    const ada = await postern.person();
    await withWire(async (wire) => {
      wire.write(send(ada.email).slice(0, -5));
      await postern.idle(100);
    });
    await postern.idle(200);
    assert.deepEqual(mail.sends(ada.email), []);
  });
});

describe('operations', () => {
  it('healthz and readyz, by GET and HEAD', async () => {
    for (const path of ['/healthz', '/readyz']) {
      for (const method of ['GET', 'HEAD']) {
        const answer = await fetch(postern.url + path, { method });
        assert.equal(answer.status, 200);
        if (method === 'HEAD') assert.equal(await answer.text(), '');
      }
    }
  });

  it('unknown paths are 404, other methods 405', async () => {
    assert.equal((await fetch(`${postern.url}/nothing/here`)).status, 404);
    assert.equal((await fetch(`${postern.url}/metrics`, { method: 'POST' })).status, 405);
  });

  it('metrics count decisions by outcome, class and channel, results by provider, and what waits', async () => {
    await postern.newDay('22:00', 'tue');
    const labels = (outcome) => ({ outcome, class: 'marketing', channel: 'sms' });
    const read = async () => ({
      forward: await postern.metric('postern_decisions_total', { outcome: 'forward', class: 'transactional', channel: 'email' }),
      defer: await postern.metric('postern_decisions_total', labels('defer')),
      block: await postern.metric('postern_decisions_total', labels('block')),
      forwarded: await postern.metric('postern_provider_results_total', { provider: 'main-mail', result: 'forwarded' }),
      waiting: await postern.metric('postern_deferred_messages', { state: 'waiting' }),
    });
    const before = await read();
    const [ada, gone] = [await postern.subscriber(), await postern.subscriber()];
    await postern.optOut(gone.phone);
    await postern.mail({ to: ada.email }, { key: 'billing' });
    await postern.sms({ to: ada.phone });
    await postern.sms({ to: gone.phone });
    const expected = { forward: 1, defer: 1, block: 1, forwarded: 1, waiting: 1 };
    await waitFor('the counters to rise by what was done', async () => {
      const now = await read();
      return Object.entries(expected).every(([name, n]) => now[name] - before[name] === n);
    });
    for (const stage of ['read', 'gather', 'decide', 'reserve', 'record', 'act', 'reply', 'total'])
      assert.ok((await postern.metric('postern_stage_seconds_count', { stage })) > 0, `latency of ${stage}`);
    const page = await (await fetch(`${postern.url}/metrics`)).text();
    assert.match(page, /^# HELP postern_decisions_total /m);
    assert.match(page, /^# TYPE postern_decisions_total counter$/m);
    assert.ok(!page.includes(ada.phone) && !page.includes(ada.email), 'no addresses');
  });

  it('bad input and refusals are in the log without addresses, bodies or keys', async () => {
    const ada = await postern.subscriber();
    await postern.raw('POST', '/v3/mail/send', json(ada.email).slice(0, -3));
    await postern.mail({ to: ada.email }, { key: postern.keepSecret('SG.wrong.0123456789abcdef0123456789abcdef') });
    await postern.mail({ to: ada.email, headers: { 'X-Postern-Category': 'no\u001b[31m' } }).catch(() => undefined);
    postern.assertCleanLog();
    assert.ok(postern.log.length > 0);
    assert.doesNotMatch(postern.log, /\u001b/);
  });
});
