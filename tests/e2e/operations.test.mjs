// What an operator relies on: metrics, alerts, dashboard, units, containers, backups.  Each is checked by the tool that
// will read it (promtool, systemd-analyze, sqlite3), against a daemon that has done a mixed load.  The one idea: no
// file in deploy/ may name what the daemon does not have.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { behave } from '../fakes/server.mjs';
import { KEYS, POSTERND, Postern, sqlite, startHouse, waitFor } from './harness.mjs';
import { RedisServer } from './redis.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const POSTERNCTL = path.join(path.dirname(POSTERND), 'posternctl');
const read = (file) => readFile(path.join(ROOT, file), 'utf8');

/** A program to its end: { code, output }, both streams in one. */
function run(program, args, { input, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.once('error', reject).once('close', (code) => resolve({ code, output }));
    child.stdin.end(input ?? '');
  });
}

async function succeeds(program, args, options) {
  const { code, output } = await run(program, args, options);
  assert.equal(code, 0, `${program} ${args.join(' ')}: ${output}`);
  return output;
}

const alerts = parse(await read('deploy/prometheus/alerts.yml')).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(await read('deploy/prometheus/dashboard.json'));
const targets = dashboard.panels.flatMap((panel) => (panel.targets ?? []).map((target) => ({ panel: panel.title, ...target })));

describe('a daemon that has done a mixed load', () => {
  let house, postern, page, textfile;
  before(async () => {
    house = await startHouse({ configure: (settings) => { settings.policy.packs = ['us-federal']; } });
    ({ postern } = house);
    const ada = await postern.subscriber({ preferences: { 'frequency.max_per_day': 3, language: 'de' } });
    for (let i = 0; i < 5; i++) await postern.mail({ to: ada.email, subject: `number ${i}` });
    await postern.mail({ to: postern.stranger().email });
    await postern.mail({ to: ada.email }, { key: 'desk' });
    await postern.mail({ to: ada.email }, { key: 'nobody' });
    await postern.raw('POST', '/v3/mail/send', '{"to":1,"to":2}');
    house.mail.when('/v3/mail/send', behave.close(), 1);
    await postern.mail({ to: ada.email, subject: 'lost' }, { key: 'billing' });
    await postern.optOut(ada.email);
    await postern.newDay('22:00', 'tue');
    await postern.sms({ to: (await postern.subscriber()).phone });
    textfile = path.join(postern.dir, 'audit.prom');
    const { code, stderr } = await postern.ctl('audit', 'verify', '--textfile', textfile);
    assert.equal(code, 0, stderr);
    page = await (await fetch(`${postern.url}/metrics`)).text();
  });
  after(() => house.end());

  const families = (text) => new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]));
  const known = async () => new Map([...families(page), ...families(await readFile(textfile, 'utf8'))]);

  /** Names in an expression that are no family of the daemon's; `up` is Prometheus's own. */
  function unknown(expression, names) {
    const bare = expression.replaceAll(/"[^"]*"/g, '""');
    return [...bare.matchAll(/\bpostern_\w+/g)].map(([name]) => name).filter((name) => !names.has(name) && !names.has(name.replace(/_(bucket|sum|count)$/, '')));
  }

  it('shows metrics of which promtool has nothing to say', async () => {
    for (const text of [page, await readFile(textfile, 'utf8')]) assert.equal(await succeeds('promtool', ['check', 'metrics'], { input: text }), '');
  });

  it('explains each family, and names counters _total', () => {
    for (const [name, type] of families(page)) {
      assert.match(page, new RegExp(`^# HELP ${name} \\S.*[.]$`, 'm'), name);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
    }
  });

  it('shows no family without a sample, but those that count by words which did not come up yet', () => {
    const empty = [...families(page)].filter(([name]) => !new RegExp(`^${name}(_bucket)?[ {]`, 'm').test(page)).map(([name]) => name);
    const byWords = ['postern_http_faults_total', 'postern_released_total', 'postern_shadow_total'];
    assert.deepEqual(empty.filter((name) => !byWords.includes(name)), []);
  });

  it('has what the alerts read', async () => {
    const names = await known();
    for (const { alert, expr } of alerts) assert.deepEqual(unknown(expr, names), [], alert);
  });

  it('has what the dashboard shows', async () => {
    const names = await known();
    for (const { panel, expr } of targets) assert.deepEqual(unknown(expr, names), [], panel);
  });

  it('is shown whole: every family is in the dashboard or in an alert', async () => {
    const all = [...targets, ...alerts].map(({ expr }) => expr).join('\n');
    const unseen = [...(await known()).keys()].filter((name) => !all.includes(name));
    assert.deepEqual(unseen.filter((name) => !['postern_audit_rows', 'postern_counters_contacts', 'postern_cache_entries'].includes(name)), []);
  });

  it('is backed up while it works, and restored, by the commands of docs/OPERATIONS.md', async () => {
    const commands = [...(await read('docs/OPERATIONS.md')).matchAll(/```sh\n(# (?:back up|restore):[^`]*)```/g)].map(([, text]) => text);
    assert.equal(commands.length, 2, 'the commands are there');
    const backup = await mkdtemp(path.join(tmpdir(), 'postern-backup-'));
    const state = path.join(backup, 'restored');
    await mkdir(state);
    const before = await postern.person({ account: 'before' });
    let busy = true;
    const load = (async () => { while (busy) await postern.mail({ to: before.email }, { key: 'billing' }); })();
    await succeeds('sh', ['-euc', commands[0]], { env: { ...process.env, state: postern.dir, backup } });
    busy = false;
    await load;
    const later = await postern.person();
    await succeeds('sh', ['-euc', commands[1]], { env: { ...process.env, state, backup } });
    await copyFile(postern.file, path.join(state, 'postern.yaml'));
    const ctl = (...args) => run(POSTERNCTL, ['-c', 'postern.yaml', ...args], { cwd: state, env: postern.env });
    const verdict = await ctl('audit', 'verify');
    assert.equal(verdict.code, 0, verdict.output);
    const spoilt = path.join(backup, 'spoilt.prom');
    await promisify(execFile)('cp', ['-r', state, `${state}-spoilt`]);
    await sqlite(path.join(`${state}-spoilt`, 'postern.db'), 'UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 2');
    assert.equal((await run(POSTERNCTL, ['-c', path.join(state, 'postern.yaml'), 'audit', 'verify', '--textfile', spoilt], { cwd: `${state}-spoilt`, env: postern.env })).code, 1);
    assert.match(await readFile(spoilt, 'utf8'), /^postern_audit_holds 0$/m);
    const nowhere = await ctl('audit', 'verify', '--textfile', path.join(backup, 'nowhere', 'audit.prom'));
    assert.equal(nowhere.code, 2);
    assert.match(nowhere.output, /nowhere/);
    await postern.terminate();
    const settings = await readFile(postern.file, 'utf8');
    await rm(postern.dir, { recursive: true });
    await mkdir(postern.dir);
    for (const file of await readdir(state)) await copyFile(path.join(state, file), path.join(postern.dir, file));
    await writeFile(postern.file, settings);
    await postern.launch();
    assert.equal((await postern.api('GET', `/postern/v1/contacts/${before.id}`)).account, 'before');
    assert.equal((await postern.call('GET', `/postern/v1/contacts/${later.id}`)).status, 404, 'what came after the backup is not in it');
    await postern.assertAuditHolds();
    await rm(backup, { recursive: true });
  });
});

describe('alerts', () => {
  const dir = path.join(ROOT, 'deploy/prometheus');

  it('are what promtool accepts', async () => {
    await succeeds('promtool', ['check', 'rules', 'alerts.yml'], { cwd: dir });
    await succeeds('promtool', ['check', 'config', 'prometheus.yml'], { cwd: dir });
  });

  it('fire on what they are for, and not on what is like it', () => succeeds('promtool', ['test', 'rules', 'alerts.test.yml'], { cwd: dir }));

  it('have such a test each, of both', async () => {
    const { tests } = parse(await read('deploy/prometheus/alerts.test.yml'));
    assert.deepEqual(tests.map((test) => test.name).sort(), alerts.flatMap(({ alert }) => [`${alert} fires`, `${alert} does not`]).sort());
    for (const { name, promql_expr_test: [{ exp_samples: samples }] } of tests) assert.equal(samples.length, name.endsWith(' fires') ? 1 : 0, name);
  });

  it('say what to do next, and lead to their section', async () => {
    const headings = [...(await read('docs/OPERATIONS.md')).matchAll(/^#+ (.+)$/gm)].map(([, title]) => title);
    for (const { alert, labels, annotations } of alerts) {
      assert.match(labels.severity, /^(critical|warning)$/, alert);
      assert.ok(annotations.summary && annotations.action, alert);
      assert.equal(annotations.runbook, `docs/OPERATIONS.md#${alert.toLowerCase()}`);
      assert.ok(headings.includes(alert), `docs/OPERATIONS.md has a section ${alert}`);
    }
  });
});

describe('the dashboard', () => {
  it('has only expressions that Prometheus can read', async () => {
    const file = path.join(await mkdtemp(path.join(tmpdir(), 'postern-dashboard-')), 'rules.yml');
    const rules = targets.map(({ expr }, i) => ({ record: `panel:${i}`, expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*') }));
    await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
    await succeeds('promtool', ['check', 'rules', file]);
    await rm(path.dirname(file), { recursive: true });
  });

  it('has panels that do not lie on each other, each with a number of its own', () => {
    const cells = new Set();
    for (const { gridPos: { x, y, w, h } } of dashboard.panels)
      for (let i = 0; i < w * h; i++) {
        const cell = `${x + (i % w)},${y + Math.floor(i / w)}`;
        assert.ok(x + w <= 24 && !cells.has(cell), cell);
        cells.add(cell);
      }
    assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  });
});

describe('the systemd units', () => {
  const units = ['posternd.service', 'postern-audit.service', 'postern-audit.timer'];
  let dir;
  before(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'postern-units-'));
    for (const unit of units) await writeFile(path.join(dir, unit), (await read(`deploy/${unit}`)).replaceAll('/usr/bin/postern', path.join(path.dirname(POSTERND), 'postern')));
  });
  after(() => rm(dir, { recursive: true }));

  it('have directives that systemd knows', async () => {
    assert.equal(await succeeds('systemd-analyze', ['verify', '--man=no', ...units.map((unit) => path.join(dir, unit))]), '');
  });

  for (const unit of units.slice(0, 2))
    it(`${unit} is exposed less than 2.0`, async () => {
      const output = await succeeds('systemd-analyze', ['security', '--no-pager', '--offline=true', path.join(dir, unit)]);
      const [, level] = /Overall exposure level for \S+: ([0-9.]+)/.exec(output);
      assert.ok(Number(level) < 2.0, `${level}`);
    });

  const reload = async (postern) => {
    postern.signal('SIGHUP');
    await waitFor('the reload', async () => (await postern.metric('postern_reload_total')) > 0);
  };

  /** The system calls of one life of posternd, with Redis: a start, a message, what is asked for, an end. */
  async function callsOf(settings, act) {
    const trace = path.join(dir, 'calls');
    const redis = await RedisServer.start();
    const configure = (all) => Object.assign(all, { counters: redis.url, ...settings });
    const postern = await Postern.start({ configure, wrap: ['strace', '-D', '-f', '-qq', '-c', '-o', trace], env: { ASAN_OPTIONS: 'detect_leaks=0' } });
    await postern.mail({ to: postern.stranger().email }, { key: 'billing' });
    await act(postern);
    await postern.terminate();
    await redis.stop();
    const table = await waitFor('the table of strace', async () => { const text = await readFile(trace, 'utf8').catch(() => ''); return text.includes(' total') && text; });
    await rm(trace);
    await rm(postern.dir, { recursive: true });
    return table.split('\n').slice(2).map((line) => line.trim().split(/\s+/)).filter((words) => words.length >= 5 && /^[a-z]/.test(words.at(-1)) && words.at(-1) !== 'total').map((words) => words.at(-1));
  }

  it('allow each system call that posternd makes', async () => {
    const sets = new Map();
    for (const block of (await succeeds('systemd-analyze', ['syscall-filter', '--no-pager'])).split(/\n\n/)) {
      const lines = block.split('\n').map((line) => line.replace(/\x1b\[[0-9;]*m/g, '').trim()).filter((line) => line && !line.startsWith('#'));
      if (lines[0]?.startsWith('@')) sets.set(lines[0], lines.slice(1));
    }
    const calls = (name) => (name.startsWith('@') ? [...(sets.get(name) ?? assert.fail(name))].flatMap(calls) : [name]);
    const allowed = new Set();
    for (const [, not, names] of (await read('deploy/posternd.service')).matchAll(/^SystemCallFilter=(~?)(.*)$/gm))
      for (const name of names.split(' ').flatMap(calls)) not ? allowed.delete(name) : allowed.add(name);
    // Those that a thread makes at its birth and death stand in @default, which is always allowed.
    for (const name of calls('@default')) allowed.add(name);

    const made = new Set([...(await callsOf({}, reload)), ...(await callsOf({ workers: 2 }, async () => {}))]);
    assert.ok([...made].some((name) => name.startsWith('epoll_')), [...made].join(' '));
    // SQLite calls fchown only as root, whom the tests may be and the service is not.
    assert.deepEqual([...made].filter((name) => !allowed.has(name) && name !== 'fchown'), []);
  });
});

describe('the container', () => {
  it('has the libraries that posternd is linked to', async () => {
    const dockerfile = await read('deploy/Dockerfile');
    const { stdout } = await promisify(execFile)('sh', ['-c', `readelf -d '${POSTERND}' | sed -n 's/.*NEEDED.*\\[\\(.*\\)\\]/\\1/p'`]);
    // What every image has, what sanitizers bring, and libevent's old name for what core and extra hold.
    const libraries = stdout.trim().split('\n').filter((name) => !/^(libevent|libc|libm|ld-linux|libasan|libubsan|libgcc_s)[.-]/.test(name));
    assert.ok(libraries.length >= 8, stdout);
    const { stdout: owners } = await promisify(execFile)('sh', ['-c', 'LC_ALL=C grep -HF .so. /var/lib/dpkg/info/*.list'], { maxBuffer: 64 << 20 });
    for (const name of libraries) {
      const owner = owners.split('\n').find((line) => line.endsWith(`/${name}`))?.replace(/^.*\/info\/([^:]+?)(:\w+)?\.list:.*$/, '$1') ?? assert.fail(name);
      assert.match(dockerfile, new RegExp(`[ \\n]${owner.replaceAll('+', '\\+')}[ \\n]`), `${name} is in ${owner}`);
    }
  });

  it('runs beside a Redis that neither evicts nor forgets', async () => {
    const { services, volumes } = parse(await read('deploy/compose.yaml'));
    const command = services.redis.command.join(' ');
    assert.match(command, /--appendonly yes/);
    assert.match(command, /--maxmemory-policy noeviction/);
    assert.equal(services.posternd.depends_on.redis.condition, 'service_healthy');
    assert.ok(parseInt(services.posternd.stop_grace_period) > 30, 'longer than the drain');
    for (const [name, service] of Object.entries(services))
      for (const one of service.volumes) if (!one.startsWith('./')) assert.ok(one.split(':')[0] in volumes, `${name}: ${one}`);
    await readFile(path.resolve(ROOT, 'deploy', services.posternd.build.context, services.posternd.build.dockerfile));
  });

  it('needs no secret in its files', async () => {
    for (const file of ['deploy/compose.yaml', 'deploy/Dockerfile', 'deploy/posternd.service'])
      for (const { secret } of Object.values(KEYS)) assert.ok(!(await read(file)).includes(secret), file);
  });
});
