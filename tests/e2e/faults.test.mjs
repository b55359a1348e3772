// What is under Postern breaks: the disk is full or lies, the store is of another time or in use, the process is
// signalled.  The one idea: whatever was answered 2xx is there afterwards, and nothing else was sent.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { behave } from '../fakes/server.mjs';
import { configuration, environment, yaml } from './config.mjs';
import { decisionIds, header } from './expect.mjs';
import { compiled, freePort, runToEnd, sqlite, startHouse, waitFor } from './harness.mjs';

const MIB = 1 << 20;

const readiness = async (postern) => {
  const answer = await fetch(`${postern.url}/readyz`);
  return { status: answer.status, text: await answer.text() };
};

/** Both dialects refuse with 503 and a time to come back, and no provider sees anything. */
async function assertRefusesAll({ postern, mail, sms }, person) {
  const [seenMail, seenSms] = [mail.requests.length, sms.requests.length];
  const one = await postern.mail({ to: person.email }, { key: 'billing' });
  assert.equal(one.status, 503);
  assert.ok(Array.isArray(one.body.errors), JSON.stringify(one.body));
  const two = await postern.sms({ to: person.phone }, { key: 'billing-sms' });
  assert.equal(two.status, 503);
  assert.equal(two.error.status, 503);
  for (const answer of [one, two]) assert.match(header(answer, 'Retry-After'), /^\d+$/);
  assert.equal(mail.requests.length, seenMail, 'nothing reached SendGrid');
  assert.equal(sms.requests.length, seenSms, 'nothing reached Twilio');
}

/** Mails one after the other until told to stop; the answers. */
function sendOn(postern, person) {
  let going = true;
  const answers = [];
  const done = (async () => {
    while (going) answers.push(await postern.mail({ to: person.email }, { key: 'billing' }));
  })();
  return async () => {
    going = false;
    await done;
    return answers;
  };
}

/** Every mail that was accepted has a decision with a result, and the provider saw it once. */
async function assertNothingLost({ postern, mail }, answers, person, results = ['forwarded']) {
  const accepted = answers.filter((one) => one.status === 202);
  for (const one of answers) assert.ok([202, 503].includes(one.status), `${one.status}`);
  for (const one of accepted) for (const id of decisionIds(one)) assert.ok(results.includes((await postern.decision(id)).result));
  assert.equal(mail.sends(person.email).length, accepted.length);
  return accepted.length;
}

// --- a full disk ------------------------------------------------------------------------------------------------

function mountable() {
  const probe = path.join(tmpdir(), `postern-mount-${process.pid}`);
  try {
    execFileSync('mkdir', ['-p', probe]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', probe], { stdio: 'ignore' });
    execFileSync('umount', [probe]);
    return false;
  } catch {
    return 'a tmpfs cannot be mounted here: that needs root';
  } finally {
    execFileSync('rm', ['-rf', probe]);
  }
}

describe('a disk that is full', { skip: mountable(), timeout: 30_000 }, () => {
  let house, postern, disk, ballast;

  before(async () => {
    disk = await mkdtemp(path.join(tmpdir(), 'postern-disk-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'none', disk]);
    ballast = path.join(disk, 'ballast');
    house = await startHouse({
      configure: (settings) => {
        settings.store = `sqlite:${path.join(disk, 'postern.db')}`;
        settings.limits = { body_bytes: 2 * MIB };
      },
    });
    ({ postern } = house);
  });
  after(async () => {
    await house.end();
    execFileSync('umount', ['-l', disk]);
    await rm(disk, { recursive: true });
  });
  afterEach(() => rm(ballast, { force: true }));

  /** Leave so many bytes free; 0: fill to the last one. */
  async function fill(leave) {
    const { bavail, bsize } = await statfs(disk);
    const script = leave === 0 ? 'cat /dev/zero > "$0" 2>/dev/null; true' : `head -c ${Math.max(0, bavail * bsize - leave)} /dev/zero > "$0"`;
    execFileSync('bash', ['-c', script, ballast]);
  }
  const isReady = async () => (await readiness(postern)).status === 200;
  const isFull = async () => (await readiness(postern)).status === 503;

  it('accepts nothing, says why, and goes on by itself when there is space', async () => {
    const [ada, gone] = [await postern.person(), await postern.person()];
    await fill(MIB); // less than 1.5 times the largest body
    await waitFor('readiness to end without any traffic', isFull, { deadline: 2000 });
    assert.match((await readiness(postern)).text, /disk/);
    assert.equal(await postern.metric('postern_store_healthy'), 0);
    await assertRefusesAll(house, ada);
    await postern.optOut(gone.email, { scope: 'global' });
    await rm(ballast);
    await waitFor('readiness', isReady, { deadline: 3000 });
    assert.equal((await postern.mail({ to: ada.email }, { key: 'billing' })).status, 202);
    assert.equal((await postern.mail({ to: gone.email }, { key: 'promo' })).status, 403, 'the opt-out of meanwhile holds');
    await postern.assertAuditHolds();
  });

  it('to the last byte, under load: nothing that was accepted is lost', async () => {
    const [ada, gone] = [await postern.person(), await postern.person()];
    const stop = sendOn(postern, ada);
    await postern.idle(200);
    await fill(0);
    await waitFor('readiness to end', isFull, { deadline: 3000 });
    const optOut = await postern.call('POST', '/postern/v1/opt-outs', { address: gone.email, scope: 'global', source: 'customer', reason: 'asked' });
    assert.ok(optOut.status < 300 || optOut.status === 503, `${optOut.status}`);
    await assertRefusesAll({ postern, mail: { requests: [] }, sms: house.sms }, await postern.stranger());
    await rm(ballast);
    await waitFor('readiness', isReady, { deadline: 3000 });
    const answers = await stop();
    assert.ok((await assertNothingLost(house, answers, ada)) > 0);
    assert.ok(answers.some((one) => one.status === 503));
    const decided = (await postern.mail({ to: gone.email }, { key: 'promo' })).status;
    if (optOut.status < 300) assert.equal(decided, 403, 'an acknowledged opt-out holds');
    await postern.restart();
    await postern.assertAuditHolds();
  });
});

// --- a disk that fails --------------------------------------------------------------------------------------------

for (const what of ['sync', 'write'])
  describe(`a disk whose ${what} fails`, { timeout: 30_000 }, () => {
    let house, postern, control;

    before(async () => {
      const shim = await compiled('faulty_disk.c', { shared: true, libraries: ['-ldl'] });
      control = path.join(await mkdtemp(path.join(tmpdir(), 'postern-faulty-')), 'control');
      const link = `${process.env.ASAN_OPTIONS ? `${process.env.ASAN_OPTIONS}:` : ''}verify_asan_link_order=0`;
      house = await startHouse({ env: { LD_PRELOAD: shim, FAULTY_DISK: control, ASAN_OPTIONS: link } });
      ({ postern } = house);
    });
    after(async () => {
      await house.end();
      await rm(path.dirname(control), { recursive: true });
    });

    it('takes nothing more until it is started again, and loses nothing', async () => {
      const [ada, gone] = [await postern.person(), await postern.person()];
      const stop = sendOn(postern, ada);
      await postern.idle(200);
      await writeFile(control, what);
      await waitFor('readiness to end', async () => (await readiness(postern)).status === 503, { deadline: 1000 });
      await postern.idle(100);
      const answers = await stop();
      const tries = (await readFile(`${control}.log`)).length;
      assert.equal(tries, 1, 'what failed was not tried again');
      assert.match((await readiness(postern)).text, /postern\.db|disk|I\/O/);
      await rm(control);
      await postern.idle(300);
      assert.equal((await readiness(postern)).status, 503, 'a disk that is well again is not believed');
      await assertRefusesAll(house, await postern.stranger());
      assert.equal((await postern.call('POST', '/postern/v1/opt-outs', { address: gone.email, scope: 'global', source: 'customer', reason: 'asked' })).status, 503);
      assert.equal((await readFile(`${control}.log`)).length, tries);
      await postern.restart();
      await postern.assertAuditHolds();
      // The result of a mail that was under way may be what could not be written: then it is unknown, and said so.
      assert.ok((await assertNothingLost(house, answers, ada, ['forwarded', 'unknown'])) > 0);
      assert.equal((await postern.mail({ to: ada.email }, { key: 'billing' })).status, 202);
    });
  });

// --- what cannot be opened ------------------------------------------------------------------------------------------

describe('a start that cannot work ends with status 1, and says what and what to do', { timeout: 30_000 }, () => {
  let dir;
  const providers = { mail: { url: 'http://127.0.0.1:9', apiKey: 'SG.x' }, sms: { url: 'http://127.0.0.1:9', account: `AC${'9'.repeat(32)}`, token: 'x' } };
  beforeEach(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'postern-start-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  async function start(change = () => {}) {
    const settings = configuration({ port: await freePort(), ...providers });
    await change(settings);
    await writeFile(path.join(dir, 'postern.yaml'), `${yaml(settings).trimStart()}\n`);
    const { code, signal, output } = await runToEnd(['-c', 'postern.yaml'], { cwd: dir, env: environment(providers), deadline: 5000 });
    assert.deepEqual({ code, signal }, { code: 1, signal: null }, output);
    return output.trim().split('\n').filter((line) => !line.startsWith('ts=')).join('\n');
  }

  it('a database of a newer schema, which stays as it is', async () => {
    await sqlite(path.join(dir, 'postern.db'), 'CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (9999);');
    const before = await readFile(path.join(dir, 'postern.db'));
    assert.match(await start(), /postern\.db.*9999.*newer/);
    assert.deepEqual(await readFile(path.join(dir, 'postern.db')), before);
  });

  it('a file that is no database, and one that is cut short', async () => {
    await writeFile(path.join(dir, 'postern.db'), 'no database\n'.repeat(1000));
    assert.match(await start(), /postern\.db.*not a database/);
    await rm(path.join(dir, 'postern.db'));
    await sqlite(path.join(dir, 'postern.db'), 'CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000));');
    const whole = await readFile(path.join(dir, 'postern.db'));
    await writeFile(path.join(dir, 'postern.db'), whole.subarray(0, 5000));
    assert.match(await start(), /postern\.db/);
  });

  it('a directory that is not there, or where the database should be', async () => {
    assert.match(await start((s) => (s.store = 'sqlite:nowhere/postern.db')), /nowhere\/postern\.db.*No such file/);
    await mkdir(path.join(dir, 'postern.db'));
    assert.match(await start(), /postern\.db.*[Dd]irectory/);
  });

  it('a certificate or key that cannot be read or used', async () => {
    assert.match(await start((s) => (s.listen.tls = { certificate: 'nowhere.crt', key: 'nowhere.key' })), /nowhere\.crt/);
    await writeFile(path.join(dir, 'a.pem'), 'no certificate');
    assert.match(await start((s) => (s.listen.tls = { certificate: 'a.pem', key: 'a.pem' })), /a\.pem/);
  });

  it('a secret in a file that others can read', async () => {
    await writeFile(path.join(dir, 'secret'), '0123456789abcdef0123456789abcdef', { mode: 0o644 });
    assert.match(await start((s) => (s.keys[0].secret = `file:${dir}/secret`)), /secret.*(0600|chmod)/);
  });

  it('a second posternd on the same store; the first is not disturbed', async () => {
    const house = await startHouse();
    const text = await readFile(house.postern.file, 'utf8');
    await writeFile(path.join(house.postern.dir, 'second.yaml'), text.replaceAll(`:${house.postern.port}"`, `:${await freePort()}"`));
    const { code, output } = await runToEnd(['-c', 'second.yaml'], { cwd: house.postern.dir, env: house.postern.env });
    assert.equal(code, 1, output);
    assert.match(output, /postern\.db.*another posternd.*stop it/);
    const ada = await house.postern.person();
    assert.equal((await house.postern.mail({ to: ada.email }, { key: 'billing' })).status, 202);
    await house.end();
  });
});

// --- signals ------------------------------------------------------------------------------------------------------

describe('signals', { timeout: 30_000 }, () => {
  it('SIGHUP and SIGPIPE change nothing', async () => {
    const house = await startHouse();
    const { postern } = house;
    for (const name of ['SIGHUP', 'SIGPIPE', 'SIGHUP']) postern.signal(name);
    await postern.idle(100);
    const ada = await postern.person();
    assert.equal((await postern.mail({ to: ada.email }, { key: 'billing' })).status, 202);
    await house.end();
  });

  it('a second SIGTERM ends it at once; what was under way is unknown, not lost', async () => {
    const house = await startHouse({ configure: (settings) => settings.providers.forEach((one) => one.kind === 'twilio' && (one.total_ms = 20_000)) });
    const { postern, sms } = house;
    const ada = await postern.person();
    sms.when('/Messages.json', behave.stall());
    const lost = postern.sms({ to: ada.phone }, { key: 'billing-sms' }).catch((error) => error);
    await waitFor('it at the provider', () => sms.sends(ada.phone).length === 1);
    postern.signal('SIGTERM');
    await postern.idle(100);
    const began = performance.now();
    const { signal } = await postern.terminate();
    assert.equal(signal, null, 'it ended by itself');
    assert.ok(performance.now() - began < 2000);
    await lost;
    sms.forget();
    await postern.launch();
    await postern.assertAuditHolds();
    assert.match(await sqlite(path.join(postern.dir, 'postern.db'), "SELECT body FROM audit WHERE body LIKE '%unknown%'"), /unknown/);
    await postern.idle();
    assert.equal(sms.sends(ada.phone).length, 1, 'never twice');
    await house.end();
  });

  it('a second SIGTERM in the middle of releases ends it as cleanly', async () => {
    const house = await startHouse({ configure: (settings) => settings.providers.forEach((one) => one.kind === 'twilio' && (one.total_ms = 20_000)) });
    const { postern, sms } = house;
    const ada = await postern.subscriber();
    await postern.newDay('22:00', 'tue');
    await postern.sms({ to: ada.phone });
    sms.when('/Messages.json', behave.stall());
    const [{ release_at: releaseAt }] = await postern.deferred(ada.id);
    await postern.passRelease(releaseAt);
    await waitFor('it at the provider', () => sms.sends(ada.phone).length === 1);
    postern.signal('SIGTERM');
    await waitFor('draining', () => /event=draining/.test(postern.log));
    assert.deepEqual(await postern.terminate(), { code: 1, signal: null }, postern.tail());
    sms.forget();
    await postern.launch();
    await postern.assertAuditHolds();
    assert.equal((await postern.deferred(ada.id)).length, 0, 'unknown: it may have arrived, and is not sent again');
    assert.equal(sms.sends(ada.phone).length, 1, 'never twice');
    await house.end();
  });
});
