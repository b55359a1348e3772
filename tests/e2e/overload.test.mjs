// A store whose commits lag: what comes in meanwhile is told to slow down, in each provider's own words, at once; what
// came in before is answered when the disk is back.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FakeRelay } from '../fakes/relay.mjs';
import { header } from './expect.mjs';
import { compiled, startHouse, waitFor } from './harness.mjs';
import { FROM, QUEUED, hearsAtOnce, loggedIn, timed } from './smtp.mjs';
import { SmtpClient } from './smtp_client.mjs';

const LAG_MS = 2000;

describe('overloaded', { timeout: 30_000 }, () => {
  let house, postern, control;

  before(async () => {
    const shim = await compiled('faulty_disk.c', { shared: true, libraries: ['-ldl'] });
    control = path.join(await mkdtemp(path.join(tmpdir(), 'postern-slow-')), 'control');
    const link = `${process.env.ASAN_OPTIONS ? `${process.env.ASAN_OPTIONS}:` : ''}verify_asan_link_order=0`;
    house = await startHouse({ relay: new FakeRelay(), env: { LD_PRELOAD: shim, FAULTY_DISK: control, ASAN_OPTIONS: link } });
    ({ postern } = house);
  });
  after(async () => {
    await house.end();
    await rm(path.dirname(control), { recursive: true });
  });

  it("is the provider's own 429, with a time to come back, and nothing is accepted", async () => {
    const [ada, bob] = [await postern.person(), await postern.person()];
    await writeFile(control, 'slow');
    const early = postern.mail({ to: ada.email }, { key: 'billing' });
    await postern.idle(LAG_MS + 200);
    const mail = await postern.mail({ to: bob.email }, { key: 'billing' });
    const sms = await postern.sms({ to: bob.phone }, { key: 'billing-sms' });
    await rm(control);

    assert.equal(mail.status, 429);
    assert.deepEqual(mail.body, {
      errors: [{ message: 'too many requests', field: null, help: null }],
      postern: { outcome: 'refused', code: 'PST-OVERLOAD' },
    });
    assert.equal(header(mail, 'X-RateLimit-Limit'), '150');
    assert.equal(header(mail, 'X-RateLimit-Remaining'), '0');
    const reset = Number(header(mail, 'X-RateLimit-Reset')) * 1000 - postern.now;
    assert.ok(reset > 0 && reset < 15_000, `the reset is ${reset} ms after the clock was set`);
    assert.equal(sms.status, 429);
    assert.equal(sms.error.code, 20429);
    assert.equal(sms.error.message, 'Too Many Requests');
    assert.deepEqual(sms.error.details, { outcome: 'refused', code: 'PST-OVERLOAD' });
    for (const answer of [mail, sms]) {
      assert.equal(header(answer, 'Retry-After'), '2');
      assert.equal(header(answer, 'X-Postern-Code'), 'PST-OVERLOAD');
      assert.equal(header(answer, 'X-Postern-Outcome'), 'refused');
    }
    assert.equal((await early).status, 202);
    await waitFor('the mail that came in before', () => house.mail.sends(ada.email).length === 1);
    assert.deepEqual([...house.mail.sends(bob.email), ...house.sms.sends(bob.phone)], []);
    assert.equal((await postern.mail({ to: bob.email }, { key: 'billing' })).status, 202);
  });

  it('by SMTP is 421 to who comes, 451 to who is there, at once; then 250', async () => {
    const [ada, bob] = [await postern.person(), await postern.person()];
    const client = await loggedIn(house);
    await writeFile(control, 'slow');
    const early = postern.mail({ to: ada.email }, { key: 'billing' });
    await postern.idle(LAG_MS + 200);
    await hearsAtOnce(/^421 4\.3\.2 Service not available: gateway overloaded$/, async () => {
      const one = await SmtpClient.open(postern.smtpPort);
      const answer = await timed(one);
      await one.gone();
      return answer;
    });
    await hearsAtOnce(/^451 4\.3\.2 System not accepting messages: gateway overloaded, try again later$/, () => timed(client, `MAIL FROM:<${FROM}>`));
    await rm(control);
    assert.equal((await early).status, 202);
    const { end } = await client.send({ to: bob.email, content: 'Subject: s\r\n\r\nHello\r\n' });
    assert.match(end.text, QUEUED);
    client.end();
  });
});
