// SIGHUP: a configuration takes the place of another whole or not at all, while clients send; zone data changes under
// waiting messages; the wall clock jumps.  POSTERN_RELOADS says how many reloads the run under load makes (a third of
// them broken); CI makes fewer than the 1,000 that the promise is about.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { FakeSendGrid } from '../fakes/sendgrid.mjs';
import { behave } from '../fakes/server.mjs';
import { decisionIds, header } from './expect.mjs';
import { sqlite, startHouse, waitFor } from './harness.mjs';
import { RedisServer } from './redis.mjs';

const RELOADS = Number(process.env.POSTERN_RELOADS ?? 150);
const outcome = async (answer) => header(await answer, 'X-Postern-Outcome');

describe('a configuration while posternd runs', () => {
  let house, postern, mail, sms;
  const versions = [];

  before(async () => {
    house = await startHouse();
    ({ postern, mail, sms } = house);
  });
  after(() => house.end());

  it('changes keys, categories, caps and mappings', async () => {
    const ada = await postern.subscriber();
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
    const secret = 'SG.fresh.0123456789abcdef0123456789abcdef';
    await postern.reconfigure((settings) => {
      settings.categories.push({ name: 'tips', class: 'transactional' });
      settings.keys = settings.keys.filter((key) => key.name !== 'promo');
      settings.keys.push({ name: 'fresh', secret, roles: ['sender'], default_category: 'tips' });
      settings.policy.caps[0].limit = 1;
      settings.mappings = [{ label: 'receipts', category: 'invoice' }];
    });
    assert.equal((await postern.mail({ to: ada.email }, { key: 'promo' })).status, 401, 'its key is gone');
    assert.equal(await outcome(postern.mail({ to: ada.email, text: 'tip' }, { key: secret })), 'forwarded');
    assert.notEqual(await outcome(postern.mail({ to: ada.email, text: 'second' })), 'forwarded', 'one a day now');
    assert.equal(await outcome(postern.mail({ to: ada.email, text: 'paid', categories: ['receipts'] })), 'forwarded', 'mapped to invoices');
    await postern.reconfigure((settings) => {
      settings.keys.find((key) => key.name === 'fresh').roles = ['agent'];
      settings.policy.caps[0].limit = 3;
    });
    assert.equal((await postern.mail({ to: ada.email, text: 'tip' }, { key: secret })).status, 401, 'no sender any more');
    assert.equal(await outcome(postern.mail({ to: ada.email, text: 'second' })), 'forwarded');
  });

  it('is noted in the audit under the version that decisions carry', async () => {
    const ada = await postern.subscriber();
    await postern.reconfigure((settings) => (settings.policy.margin_s = 60));
    const answer = await postern.mail({ to: ada.email });
    const { policy_version: number } = await postern.decision(decisionIds(answer)[0]);
    const version = number.toString(16).padStart(8, '0');
    const info = (await postern.metrics()).find((sample) => sample.name === 'postern_policy_info');
    assert.equal(info.labels.version, version);
    versions.push(version);
  });

  it('stays as it was when the file is bad; log and metrics say so', async () => {
    const ada = await postern.subscriber();
    const applied = await postern.metric('postern_configuration_reloaded_seconds');
    await postern.writeConfiguration('listen:\n  http: 127.0.0.1:1\nkeys: [\n');
    assert.equal(await postern.reload(), 'refused');
    assert.match(postern.log, /module=reload event=refused why="postern\.yaml:4: .*" then="the configuration before it stays in force"/);
    assert.equal(await postern.metric('postern_reload_last_successful'), 0);
    assert.equal(await postern.metric('postern_configuration_reloaded_seconds'), applied);
    assert.equal(await outcome(postern.mail({ to: ada.email })), 'forwarded');
    await postern.writeConfiguration();
    assert.equal(await postern.reload(), 'applied');
    assert.equal(await postern.metric('postern_reload_last_successful'), 1);
    assert.ok((await postern.metric('postern_configuration_reloaded_seconds')) >= applied);
  });

  it('names what only a restart changes, by line and key', async () => {
    const rows = [
      ['listen.http', (s) => (s.listen.http = '127.0.0.1:1')],
      ['store', (s) => (s.store = 'sqlite:other.db')],
      ['clock', (s) => (s.clock = 'system')],
      ['audit_key', (s) => (s.audit_key = '0123456789abcdef0123456789abcdef')],
    ];
    for (const [key, change] of rows) {
      const kept = structuredClone(postern.settings);
      change(postern.settings);
      await postern.writeConfiguration();
      const lines = (await readFile(postern.file, 'utf8')).split('\n');
      const line = 1 + lines.findIndex((text) => text.trim().startsWith(`${key.split('.').at(-1)}:`));
      assert.equal(await postern.reload(), 'refused', key);
      const said = postern.log.split('\n').findLast((text) => text.includes('module=reload event=refused'));
      assert.ok(said.includes(`postern.yaml:${line}: ${key}: `) && said.includes('restart to change it'), said);
      postern.settings = kept;
    }
    await postern.writeConfiguration();
    assert.equal(await postern.reload(), 'applied');
  });

  it('lets a call end with the provider that it began with, and sends the next to the new one', async () => {
    const ada = await postern.subscriber();
    const other = await new FakeSendGrid().start();
    const kept = structuredClone(postern.settings.providers);
    try {
      mail.when(ada.email, behave.late(900));
      const first = postern.mail({ to: ada.email, text: 'slow' });
      await waitFor('the first call at its provider', () => mail.sends(ada.email).length === 1);
      await postern.reconfigure((settings) => (settings.providers[0].url = other.url));
      assert.equal(await postern.metric('postern_configurations_in_use'), 2);
      assert.equal(await outcome(postern.mail({ to: ada.email, text: 'next' })), 'forwarded');
      assert.equal(other.sends(ada.email).length, 1);
      assert.equal(await outcome(first), 'forwarded');
      await waitFor('the end of the old configuration', async () => (await postern.metric('postern_configurations_in_use')) === 1);
    } finally {
      mail.forget();
      await postern.reconfigure((settings) => (settings.providers = kept));
      await other.stop();
    }
  });

  it('keeps the connections of a provider that did not change', async () => {
    const ada = await postern.subscriber({ consent: {} });
    const send = (n) => outcome(postern.mail({ to: ada.email, text: `invoice ${n}` }, { key: 'billing' }));
    assert.equal(await send(0), 'forwarded');
    const before = mail.connections;
    for (let i = 1; i <= 5; i++) {
      await postern.reconfigure((settings) => (settings.policy.margin_s = 60 + i));
      assert.equal(await send(i), 'forwarded');
    }
    assert.equal(mail.connections, before, 'no new connection');
  });

  it('a due message is decided by the rules of the day on which it is due', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'deferred');
    await postern.reconfigure((settings) => (settings.policy.quiet_hours.marketing.sms = '21:00-10:00'));
    const [{ id, release_at }] = await postern.deferred(ada.id);
    await postern.passRelease(release_at);
    await waitFor('deferred again, to 10:00', async () => {
      const [row] = (await postern.api('GET', `/postern/v1/deferred?id=${id}`)).deferred;
      return row.deferrals === 2 && row.local_rule;
    });
    assert.deepEqual(sms.sends(ada.phone), []);
    await postern.reconfigure((settings) => (settings.policy.quiet_hours.marketing.sms = '21:00-08:00'));
  });

  it('leaves a trace of each policy that was in force', async () => {
    await postern.assertAuditHolds();
    assert.deepEqual(await postern.terminate(), { code: 0, signal: null });
    const rows = await sqlite(path.join(postern.dir, 'postern.db'), "SELECT body FROM audit WHERE kind = 'policy'");
    for (const version of versions) assert.match(rows, new RegExp(`"policy_version":"${version}","digest":"sha256:${version}[0-9a-f]{56}"`));
  });
});

describe(`${RELOADS} reloads under load`, () => {
  it('fail no request and grow nothing', { timeout: 600_000 }, async () => {
    const house = await startHouse({ configure: (settings) => (settings.policy.caps = []) });
    const { postern } = house;
    try {
      const people = await Promise.all(Array.from({ length: 20 }, () => postern.subscriber()));
      const mailer = postern.sendgrid('billing');
      const texter = postern.twilio('billing-sms');
      const failed = [];
      let sent = 0;
      let running = true;
      const client = async (n) => {
        while (running) {
          const person = people[(n + sent) % people.length];
          const text = `invoice ${sent++}`;
          try {
            if (n % 2) await mailer.send({ to: person.email, from: 'shop@shop.example', subject: 'Invoice', text });
            else await texter.messages.create({ to: person.phone, from: '+12125550199', body: text });
          } catch (error) {
            failed.push(error.message);
          }
        }
      };
      const clients = Array.from({ length: 8 }, (_, n) => client(n));
      const good = await readFile(postern.file, 'utf8');
      const broken = ['keys: [', good.replace('class: "marketing"', 'class: "markting"'), good.replace(/http: .*/, 'http: "127.0.0.1:1"')];
      const rounds = async (n) => {
        for (let i = 0; i < n; i++) {
          const bad = i % 10 < 3;
          await postern.writeConfiguration(bad ? broken[i % 3] : `${good}# ${i}\n`);
          assert.equal(await postern.reload(), bad ? 'refused' : 'applied', postern.tail(5));
        }
      };
      const began = performance.now();
      await rounds(RELOADS);
      const took = performance.now() - began;
      running = false;
      await Promise.all(clients);
      const stall = await postern.metric('postern_loop_stall_seconds_max');
      // What clients send fills caches of a bounded size; what reloads cost is what they cost without them.
      await rounds(40);
      const before = await rss(postern.pid);
      await rounds(RELOADS);
      const grown = (await rss(postern.pid)) / before - 1;
      console.log(`# ${RELOADS} reloads in ${(took / 1000).toFixed(1)} s, ${sent} requests, ${failed.length} failed, longest turn ${stall * 1000} ms; RSS ${(before / 1024).toFixed(1)} MiB grew ${(grown * 100).toFixed(2)} %`);
      assert.deepEqual(failed, []);
      assert.ok(sent > RELOADS, `${sent} requests`);
      assert.equal(await postern.metric('postern_configurations_in_use'), 1);
      if (!process.env.ASAN_OPTIONS) assert.ok(grown < 0.01, `RSS grew by ${(grown * 100).toFixed(2)} %`);
    } finally {
      await house.end();
    }
  });
});

/** KiB. */
async function rss(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))[1]);
}

describe('zone data', () => {
  let house, postern, zones;

  before(async () => {
    zones = await mkdtemp(path.join(tmpdir(), 'postern-zones-'));
    await cp('/usr/share/zoneinfo', zones, { recursive: true, dereference: true });
    await law('0001a', 'Zone America/Vancouver -8:00 - PST\n');
    house = await startHouse({ env: { TZDIR: zones }, configure: (settings) => (settings.policy.caps = []) });
    ({ postern } = house);
  });
  after(async () => {
    await house?.end();
    await rm(zones, { recursive: true, force: true });
  });

  /** Another version of tzdata, put in place as a package manager does: each file by a rename. */
  async function law(version, source) {
    const fresh = path.join(zones, '.fresh');
    await mkdir(fresh, { recursive: true });
    await writeFile(path.join(fresh, 'source'), source);
    await promisify(execFile)('/usr/sbin/zic', ['-d', fresh, path.join(fresh, 'source')]);
    const names = await readFile(path.join(zones, 'tzdata.zi'), 'utf8');
    await writeFile(path.join(fresh, 'tzdata.zi'), names.replace(/^# version .*$/m, `# version ${version}`));
    await rename(path.join(fresh, 'America/Vancouver'), path.join(zones, 'America/Vancouver'));
    await rename(path.join(fresh, 'tzdata.zi'), path.join(zones, 'tzdata.zi'));
  }

  it('changes without a restart, and what waits for a local time waits for it by the new law', async () => {
    await postern.setClock('2031-01-14T06:00:00Z'); // 22:00 in Vancouver
    const ada = await postern.subscriber({ zone: 'America/Vancouver' });
    const bob = await postern.subscriber({ zone: 'America/Los_Angeles' });
    for (const person of [ada, bob]) assert.equal(await outcome(postern.sms({ to: person.phone })), 'deferred');
    const [was] = await postern.deferred(ada.id);
    const [other] = await postern.deferred(bob.id);
    assert.equal(was.release_at, '2031-01-14T16:00:00Z');
    assert.equal(was.local_rule, '2031-01-14T08:00 America/Vancouver');
    await law('0002b', 'Zone America/Vancouver -7:00 - MST\n');
    assert.equal(await postern.reload(), 'applied');
    const [now] = await waitFor('another instant', async () => {
      const rows = await postern.deferred(ada.id);
      return rows[0].release_at !== was.release_at && rows;
    });
    assert.equal(now.release_at, '2031-01-14T15:00:00Z');
    assert.equal(now.local_rule, was.local_rule);
    assert.equal((await postern.deferred(bob.id))[0].release_at, other.release_at);
    assert.equal(await postern.metric('postern_zone_reloads_total'), 1);
    assert.equal(await postern.metric('postern_deferred_recomputed_total'), 1);
    assert.equal((await postern.metrics()).find((sample) => sample.name === 'postern_tzdata_info').labels.version, '0002b');
    await postern.passRelease(now.release_at, 3);
    await postern.decision((await waitFor('released', async () => house.sms.sends(ada.phone).length === 1 && [now]))[0].decision_id);
  });

  it('of another law at the next start moves what waited meanwhile', async () => {
    await postern.setClock('2031-01-16T06:00:00Z');
    const ada = await postern.subscriber({ zone: 'America/Vancouver' });
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'deferred');
    assert.equal((await postern.deferred(ada.id))[0].release_at, '2031-01-16T15:00:00Z');
    await law('0003c', 'Zone America/Vancouver -8:00 - PST\n');
    await postern.restart();
    await waitFor('another instant', async () => (await postern.deferred(ada.id))[0].release_at === '2031-01-16T16:00:00Z');
  });

  it("of a contact changes, and what waits moves with the person", async () => {
    await postern.setClock('2031-01-20T06:00:00Z');
    const ada = await postern.subscriber({ zone: 'America/Los_Angeles' });
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'deferred');
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, { zone: 'Europe/Berlin' });
    const row = await waitFor('another zone', async () => {
      const [one] = await postern.deferred(ada.id);
      return one.local_rule.endsWith('Europe/Berlin') && one;
    });
    assert.equal(row.local_rule, '2031-01-20T08:00 Europe/Berlin');
    assert.equal(row.release_at, '2031-01-20T07:00:00Z');
  });
});

describe('jumps of the wall clock', () => {
  let house, postern, sms;
  const jump = (instant) => postern.api('PUT', '/postern/v1/test/clock', { now: new Date(instant).toISOString(), jump: true });

  before(async () => {
    house = await startHouse({ configure: (settings) => (settings.policy.caps = []) });
    ({ postern, sms } = house);
  });
  after(() => house.end());

  it('hold releases, say so, and release nothing early or twice', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'deferred');
    const [{ release_at }] = await postern.deferred(ada.id);
    const night = postern.now.getTime();
    const due = Date.parse(release_at);
    const steps = [due + 3_600_000, night, due + 86_400_000, night - 86_400_000, Date.UTC(2038, 0, 19, 3, 14, 8), night];
    for (const [n, to] of steps.entries()) {
      await jump(to);
      await waitFor('the alarm', async () => (await postern.metric('postern_clock_jumps_total')) + (to === night ? 1 : 0) > n / 2);
      await postern.idle(250); // more than a look of the queue
      assert.deepEqual(sms.sends(ada.phone), [], `after jump ${n}`);
    }
    await waitFor('the end of the hold: the clock is back', async () => (await postern.metric('postern_releases_held')) === 0);
    assert.match(postern.log, /module=release event=clock_jumped by_ms=\d+ then="releases are held for 300 s"/);
    assert.match(postern.log, /module=release event=clock_settled/);
    await jump(due + 3_600_000);
    await waitFor('the hold', async () => (await postern.metric('postern_releases_held')) === 1);
    await postern.setClock(due + 3_600_000);
    await waitFor('the release', () => sms.sends(ada.phone).length > 0);
    await postern.idle(300);
    assert.equal(sms.sends(ada.phone).length, 1);
  });
});

describe('workers behind one parent', () => {
  let house, postern, redis;

  before(async () => {
    redis = await RedisServer.start();
    house = await startHouse({ configure: (settings) => Object.assign(settings, { workers: 3, counters: redis.url }) });
    ({ postern } = house);
  });
  after(async () => {
    await house?.end();
    await redis.stop();
  });

  /** New connections until each worker has answered: who knows the key. */
  const knows = async (secret) => {
    const answers = [];
    for (let i = 0; i < 24; i++) {
      const answer = await fetch(`${postern.url}/postern/v1/deferred`, { headers: { Authorization: `Bearer ${secret}`, Connection: 'close' } });
      await answer.arrayBuffer();
      answers.push(answer.status === 200);
    }
    return answers;
  };

  it('change together, or none of them does', async () => {
    const secret = 'SG.fresh.0123456789abcdef0123456789abcdef';
    assert.ok((await knows(secret)).every((known) => !known));
    await postern.reconfigure((settings) => settings.keys.push({ name: 'fresh', secret, roles: ['sender'] }));
    assert.ok((await knows(secret)).every(Boolean));
    await postern.writeConfiguration('keys: [');
    assert.equal(await postern.reload(), 'refused');
    assert.match(postern.log, /module=workers event=reload_refused why="postern\.yaml:\d: not YAML/);
    assert.ok((await knows(secret)).every(Boolean));
    assert.equal(await postern.metric('postern_reload_last_successful'), 0);
    await postern.writeConfiguration();
    assert.equal(await postern.reload(), 'applied');
  });

  it('one that dies comes back with the configuration in force', async () => {
    const secret = 'SG.later.0123456789abcdef0123456789abcdef';
    await postern.reconfigure((settings) => settings.keys.push({ name: 'later', secret, roles: ['sender'] }));
    const victim = Number(/event=worker_ready worker=1 pid=(\d+)/.exec(postern.log)[1]);
    process.kill(victim, 'SIGKILL');
    await waitFor('the next worker', () => postern.metrics().then((all) => all.some((one) => one.name === 'postern_worker_restarts_total' && one.value > 0) && all.filter((one) => one.name === 'postern_worker_up').every((one) => one.value === 1), () => false));
    assert.ok((await knows(secret)).every(Boolean));
    await postern.reconfigure((settings) => (settings.keys = settings.keys.filter((key) => key.name !== 'later')));
    assert.ok((await knows(secret)).every((known) => !known));
  });
});
