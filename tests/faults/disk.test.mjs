// The store's ground gives way: no space at any of many moments, a file that cannot be written or that another process
// holds, bits that turned.  The one idea is the same as in faults.test.mjs: what was answered 2xx is there afterwards,
// nothing else was sent, and what is wrong is said.
// CI takes few moments and bits; DISK_OFFSETS=500 DISK_FLIPS=1000 for a long run (STORE_FLIPS for unit_store_faults).
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { KEYS, POSTERND, freePort, runToEnd, startHouse, waitFor } from '../e2e/harness.mjs';
import { decisionIds } from '../e2e/expect.mjs';
import { FROM, QUEUED, content, deliver, hearsAtOnce, loggedIn, startMailHouse, timed } from '../e2e/smtp.mjs';
import { relaySays } from '../fakes/relay.mjs';

const OFFSETS = Number(process.env.DISK_OFFSETS ?? 16);
const FLIPS = Number(process.env.DISK_FLIPS ?? 32);
const SEED = Number(process.env.DISK_SEED ?? Date.now() % 2 ** 31);
const KIB = 1024;
const BODY = 64 * KIB; // the largest: the disk is called full below 96 KiB

let seed = SEED >>> 0;
const below = (n) => Math.floor(((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);
const isRoot = process.getuid() === 0;
const mount = (dir, size) => execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', dir]);
const ready = async (postern) => (await fetch(`${postern.url}/readyz`)).status === 200;
const ledger = (file, sql) => promisify(execFile)('sqlite3', [file, sql], { maxBuffer: 1 << 28 }).then(({ stdout }) => stdout);

describe('space that ends', { skip: isRoot ? false : 'a tmpfs needs root', timeout: 60_000 + OFFSETS * 5000 }, () => {
  let house, postern, disk;
  before(async () => {
    console.log(`# DISK_SEED=${SEED}`);
    disk = await mkdtemp(path.join(tmpdir(), 'postern-space-'));
    mount(disk, '64m');
    house = await startMailHouse({
      configure: (settings) => {
        settings.store = `sqlite:${path.join(disk, 'postern.db')}`;
        settings.limits = { body_bytes: BODY };
      },
    });
    ({ postern } = house);
  });
  after(async () => {
    await house?.end();
    execFileSync('umount', ['-l', disk]);
    await rm(disk, { recursive: true });
  });

  it(`at ${OFFSETS} moments under load: nothing accepted is lost, no row is torn, and it goes on when there is space`, async (t) => {
    const ballast = path.join(disk, 'ballast');
    const answers = [];
    let full = 0;
    const person = await postern.person();
    for (let i = 0; i < OFFSETS; i++) {
      let going = true;
      const senders = Array.from({ length: 3 }, async () => {
        while (going) answers.push(await postern.mail({ to: person.email, text: 'x'.repeat(below(40_000)) }, { key: 'billing' }));
      });
      await postern.idle(10 + below(60));
      const { bavail, bsize } = await statfs(disk);
      const leave = Math.floor((i / OFFSETS) * 256) * KIB;
      await promisify(execFile)('bash', ['-c', `head -c ${Math.max(0, bavail * bsize - leave)} /dev/zero > "$0" 2>/dev/null; true`, ballast]);
      await postern.idle(60);
      full += (await ready(postern)) ? 0 : 1;
      await rm(ballast);
      await waitFor('service to go on', () => ready(postern), { deadline: 3000 });
      going = false;
      await Promise.all(senders);
    }
    const accepted = answers.filter((one) => one.status === 202);
    for (const one of answers) assert.ok([202, 429, 503].includes(one.status), `${one.status}`);
    await postern.restart();
    const body = await ledger(path.join(disk, 'postern.db'), "SELECT body FROM audit WHERE kind = 'result'");
    const results = new Map(body.split('\n').filter(Boolean).map((line) => JSON.parse(line)).map((one) => [one.decision, one.result]));
    for (const one of accepted) assert.ok(['forwarded', 'unknown'].includes(results.get(decisionIds(one)[0])), 'an accepted mail has its result');
    assert.equal(house.mail.sends(person.email).length, accepted.length, 'what was accepted was sent, and nothing else');
    await postern.assertAuditHolds();
    t.diagnostic(`${accepted.length} accepted, ${answers.length - accepted.length} refused, none lost; full at ${full} of ${OFFSETS} moments`);
    assert.ok(full > 0 && accepted.length > OFFSETS);
  });

  it('by SMTP: 452 4.3.1 while there is none, and 250 again without a restart', async () => {
    const ballast = path.join(disk, 'ballast');
    const { email } = await postern.person();
    const mail = () => deliver(postern.smtpPort, KEYS.billing, { from: FROM, to: [email], bytes: content({ to: email }) });
    await promisify(execFile)('bash', ['-c', 'cat /dev/zero > "$0" 2>/dev/null; true', ballast]);
    await waitFor('the disk to be full', async () => !(await ready(postern)));
    const { status, text } = await mail();
    assert.deepEqual([status, text.slice(0, 9)], [452, '452 4.3.1']);
    const client = await loggedIn(house);
    await hearsAtOnce(/^452 4\.3\.1 Mail system full$/, () => timed(client, `MAIL FROM:<${FROM}>`));
    client.end();
    await rm(ballast);
    await waitFor('service to go on', () => ready(postern), { deadline: 3000 });
    assert.match((await mail()).text, QUEUED);
    assert.equal(house.relay.accepted(email).length, 1);
  });
});

describe('a store that cannot be written', { timeout: 60_000 }, () => {
  it('another process holds it: sends wait or are refused, none is lost, and it goes on', async (t) => {
    const house = await startHouse();
    const { postern } = house;
    const [ada, bob] = [await postern.person(), await postern.person()];
    const holder = spawn('sqlite3', [path.join(postern.dir, 'postern.db')], { stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [holder.stdout, holder.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
    holder.stdin.write("BEGIN IMMEDIATE;\nSELECT 'held';\n");
    await waitFor('the lock, or a refusal', () => said);
    const pending = postern.mail({ to: ada.email }, { key: 'billing' });
    await postern.idle(1500);
    const [health, unready] = [await postern.metric('postern_store_healthy'), !(await ready(postern))];
    holder.stdin.end('ROLLBACK;\n');
    const { status } = await pending;
    t.diagnostic(`${said.trim()}; the mail meanwhile was answered ${status}; store healthy ${health}, unready ${unready}`);
    assert.ok([202, 429, 503].includes(status), `${status}`);
    assert.equal(house.mail.sends(ada.email).length, status === 202 ? 1 : 0);
    if (!(await ready(postern))) await postern.restart();
    assert.equal((await postern.mail({ to: bob.email }, { key: 'billing' })).status, 202);
    await postern.assertAuditHolds();
    await house.end();
  });

  it('a file system that is read-only: it does not start, and says why', { skip: isRoot ? false : 'a mount needs root' }, async () => {
    const house = await startHouse();
    const { postern } = house;
    await postern.terminate();
    const disk = await mkdtemp(path.join(tmpdir(), 'postern-ro-'));
    mount(disk, '16m');
    try {
      for (const name of ['postern.db', 'postern.db.audit-key']) await copyFile(path.join(postern.dir, name), path.join(disk, name));
      execFileSync('mount', ['-o', 'remount,ro', disk]);
      const text = await readFile(postern.file, 'utf8');
      await writeFile(path.join(postern.dir, 'ro.yaml'), text.replace('sqlite:postern.db', `sqlite:${disk}/postern.db`));
      const { code, output } = await runToEnd(['-c', 'ro.yaml'], { cwd: postern.dir, env: postern.env });
      assert.equal(code, 1, output);
      assert.match(output, /postern\.db.*(read-?only|readonly)/i);
    } finally {
      execFileSync('umount', ['-l', disk]);
      await rm(disk, { recursive: true });
      await house.end();
    }
  });
});

/** Another process holds the store until the returned function is called. */
async function hold(postern) {
  const holder = spawn('sqlite3', [path.join(postern.dir, 'postern.db')], { stdio: ['pipe', 'pipe', 'inherit'] });
  const held = new Promise((resolve) => holder.stdout.once('data', resolve));
  holder.stdin.write(".timeout 2000\nBEGIN IMMEDIATE;\nSELECT 'held';\n");
  await held;
  return () => holder.stdin.end('ROLLBACK;\n');
}

describe('a store that cannot be written while a relay answers', { timeout: 60_000 }, () => {
  let house, postern, relay, mails = 0;
  before(async () => {
    house = await startMailHouse({
      configure: (settings) => {
        settings.policy.caps = [];
        Object.assign(settings.providers.find((one) => one.kind === 'smtp'), { total_ms: 10_000 });
      },
    });
    ({ postern, relay } = house);
  });
  after(() => house?.end());

  /** One mail to both, during which the store is held from the relay's last word until the client has heard. */
  async function interrupted(to, key, fields) {
    const mail = { to: to.map((one) => one.email), content: content({ fields: [...fields, `Message-ID: <held.${mails++}@shop.example>`] }) };
    relay.when('END', relaySays.late(500), { times: 1 });
    const client = await loggedIn(house, key);
    const pending = client.send(mail);
    await waitFor('the relay to have it', () => relay.seen(to[0].email).length > 0);
    const release = await hold(postern);
    const first = (await pending).end;
    release();
    await waitFor('the store', () => ready(postern), { deadline: 5000 });
    await waitFor('it to be accepted', async () => (first.code === 250 ? first : (await client.send(mail)).end).code === 250);
    client.end();
    return first;
  }
  const reports = (about) => relay.accepted(`Final-Recipient: rfc822; ${about}`).length;

  it('some were blocked: who sent it hears of them, or that it was not accepted', async () => {
    const to = [await postern.person(), await postern.person()];
    await postern.optOut(to[1].email);
    const { code, text } = await interrupted(to, 'shop', ['X-Postern-Category: promo-out']);
    assert.equal(code, 451, text);
    await waitFor('the report', () => reports(to[1].email) > 0);
    await postern.idle(400);
    assert.equal(reports(to[1].email), 1);
  });

  it('some are to be tried again: they are, once the client has sent it again', async () => {
    const to = [await postern.person(), await postern.person()];
    relay.when('RCPT', relaySays.reply('451 4.2.1 Later'), { match: to[1].email, times: 1 });
    const { code, text } = await interrupted(to, 'billing', []);
    assert.equal(code, 451, text);
    await postern.setClock(postern.now.getTime() + 3_600_000);
    await waitFor('both to have it', () => to.every((one) => relay.accepted().some((mail) => mail.to.includes(one.email))));
    await postern.assertAuditHolds();
  });
});

describe(`a file in which bits turned, ${FLIPS} times`, { timeout: 60_000 + FLIPS * 3000 }, () => {
  let house, postern, image;
  const at = (name) => path.join(postern.dir, name);
  before(async () => {
    house = await startHouse();
    ({ postern } = house);
    for (let i = 0; i < 20; i++) {
      const person = await postern.subscriber();
      await postern.mail({ to: person.email });
      await postern.sms({ to: person.phone });
    }
    await postern.idle(200);
    await postern.terminate();
    image = await readFile(at('postern.db'));
    await copyFile(at('postern.db.audit-key'), at('turned.db.audit-key'));
    const port = await freePort();
    const text = await readFile(postern.file, 'utf8');
    await writeFile(at('turned.yaml'), text.replaceAll(`:${postern.port}"`, `:${port}"`).replace('sqlite:postern.db', 'sqlite:turned.db'));
    postern.turnedUrl = `http://127.0.0.1:${port}`;
  });
  after(() => house?.end());

  /** The image with some bits turned at random. */
  async function turn(bits) {
    const bytes = Buffer.from(image);
    for (let i = 0; i < bits; i++) bytes[below(bytes.length)] ^= 1 << below(8);
    await writeFile(at('turned.db'), bytes);
    for (const end of ['-wal', '-shm']) await rm(at(`turned.db${end}`), { force: true });
  }

  it('posternctl audit verify never crashes, and never calls a changed audit whole', async (t) => {
    const select = 'SELECT seq, at_ms, kind, ref, body, personal, hex(personal_digest), hex(hash) FROM audit';
    await writeFile(at('turned.db'), image);
    const whole = await ledger(at('turned.db'), select);
    const ends = { 0: 0, 1: 0, 2: 0 };
    for (let i = 0; i < FLIPS; i++) {
      await turn(8);
      const rows = await ledger(`file:${at('turned.db')}?immutable=1`, select).catch(() => 'unreadable');
      const { code, stdout, stderr } = await postern.ctl('-c', 'turned.yaml', 'audit', 'verify');
      assert.ok([0, 1, 2].includes(code), `posternctl ended with ${code}\n${stdout}${stderr}`);
      ends[code] += 1;
      if (rows !== whole) assert.notEqual(code, 0, `the audit was changed: ${stdout}`);
    }
    t.diagnostic(`holds ${ends[0]} (other pages), broken ${ends[1]}, unreadable ${ends[2]}`);
    assert.ok(ends[1] > 0);
  });

  it('posternd refuses such a file or serves from it, and never crashes', async (t) => {
    const ends = { refused: 0, served: 0 };
    for (let i = 0; i < Math.ceil(FLIPS / 4); i++) {
      await turn(1 + (i % 3));
      const child = spawn(POSTERND, ['-c', 'turned.yaml'], { cwd: postern.dir, env: postern.env, stdio: ['ignore', 'pipe', 'pipe'] });
      let log = '';
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (log += text));
      const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
      let over;
      ended.then((how) => (over = how));
      await waitFor('readiness or an end', async () => over || (await fetch(`${postern.turnedUrl}/healthz`).then((a) => a.status === 200, () => false)));
      const refused = over !== undefined;
      if (!refused) {
        const send = { personalizations: [{ to: [{ email: `p${i}@mail.example` }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'v' }] };
        const answer = await fetch(`${postern.turnedUrl}/v3/mail/send`, { method: 'POST', headers: { Authorization: 'Bearer SG.billing.0123456789abcdef0123456789abcdef', 'Content-Type': 'application/json' }, body: JSON.stringify(send) });
        assert.ok([202, 503].includes(answer.status), `${answer.status}\n${log}`);
        child.kill('SIGTERM');
      }
      const { code, signal } = await ended;
      assert.equal(signal, null, `it crashed:\n${log}`);
      assert.ok(refused ? code === 1 && /turned\.db/.test(log) : code === 0, `${code}\n${log}`);
      ends[refused ? 'refused' : 'served'] += 1;
    }
    t.diagnostic(JSON.stringify(ends));
  });
});
