// posternctl as an operator meets it: against a real posternd, against none, and against what only claims to be one.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { FakeServer, behave } from '../fakes/server.mjs';
import { KEYS, configuration, environment, yaml } from './config.mjs';
import { POSTERND, freePort, startHouse, waitFor } from './harness.mjs';

const POSTERNCTL = path.join(path.dirname(POSTERND), 'posternctl');

/** One line of a table or list that holds this text. */
const lineWith = (output, text) => output.split('\n').find((line) => line.includes(text)) ?? assert.fail(`no line with ${text} in:\n${output}`);

function assertPlain(output) {
  assert.doesNotMatch(output, /[\x00-\x09\x0b-\x1f\x7f]/, 'no control characters');
  for (const line of output.split('\n')) assert.doesNotMatch(line, / $/, `no blanks at the end: "${line}"`);
}

/** posternctl in a directory with a configuration of its own, without a daemon. */
class Desk {
  static async open(configure = () => {}) {
    const desk = new Desk();
    desk.dir = await mkdtemp(path.join(tmpdir(), 'postern-ctl-'));
    desk.port = await freePort();
    await desk.write(configure);
    return desk;
  }

  async write(configure) {
    const settings = configuration({ port: this.port });
    await configure(settings, this);
    await writeFile(path.join(this.dir, 'postern.yaml'), `${yaml(settings).trimStart()}\n`);
  }

  ctl(...args) {
    return new Promise((resolve) => {
      const env = { PATH: process.env.PATH, TZ: 'Pacific/Auckland', ...environment({}), http_proxy: 'http://127.0.0.1:9' };
      execFile(POSTERNCTL, args, { cwd: this.dir, env }, (error, stdout, stderr) =>
        resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr }),
      );
    });
  }

  close() {
    return rm(this.dir, { recursive: true, force: true });
  }
}

describe('packs', () => {
  let desk;
  before(async () => {
    desk = await Desk.open((settings) => {
      settings.policy.packs = ['us-federal', 'fr'];
      settings.policy.pack_rules = [{ rule: 'us-federal/written-consent', switch: 'on', reason: 'counsel, 2026-11-20' },
        { rule: 'fr/voice-cap', switch: 'off', reason: 'no calls' }];
    });
  });
  after(() => desk.close());

  it('says of every rule whether it is on, why, how old it is and when to read it again', async () => {
    const { code, stdout, stderr } = await desk.ctl('packs', '--at', '2026-12-02');
    assert.equal(code, 0, stderr);
    assertPlain(stdout);
    assert.match(lineWith(stdout, 'us-federal/hours '), / on +a page about it was read +B +10 d +2027-05-21, in 170 d +47 CFR 64\.1200/);
    assert.match(lineWith(stdout, 'us-federal/written-consent '), / on +switched on: counsel, 2026-11-20 +C /);
    assert.match(lineWith(stdout, 'fr/voice-cap '), / off +switched off: no calls +A /);
    assert.match(lineWith(stdout, 'fr/sms-hours '), / off +not verified +C /);
    assert.match(lineWith(stdout, 'holidays/fr '), / on +rules speak of it /);
    const is = stdout.split('\n').slice(1).map((line) => / (on|off) /.exec(line)?.[1]).filter(Boolean);
    assert.equal(is.lastIndexOf('on') + 1, is.indexOf('off'), 'what is on comes first');
    assert.match(stdout, /2 packs: \d+ rules and calendars on, \d+ off; nothing is due before 2027-05-21\n$/);
  });

  it('names a rule that begins later as on, with its day', async () => {
    const { stdout } = await desk.ctl('packs', '--at', '2026-08-10');
    assert.match(lineWith(stdout, 'fr/voice-consent '), / on +a page about it was read; begins 2026-08-11 /);
  });

  it('exits 1 with --due when something is, and lists only that', async () => {
    const early = await desk.ctl('packs', '--due', '--at', '2027-05-21');
    assert.equal(early.code, 0);
    assert.doesNotMatch(early.stdout, /us-federal\/hours/);
    const late = await desk.ctl('packs', '--due', '--at', '2027-05-22');
    assert.equal(late.code, 1);
    assert.match(lineWith(late.stdout, 'us-federal/hours '), /2027-05-21, 1 d ago/);
    assert.doesNotMatch(late.stdout, / off /);
    assert.match(late.stdout, /due for review\n$/);
    assert.equal((await desk.ctl('packs', '--at', '2027-05-22')).code, 0, 'a list is no alarm');
  });

  it('refuses a day that is none, and a configuration that is none', async () => {
    const day = await desk.ctl('packs', '--at', 'tomorrow');
    assert.equal(day.code, 2);
    assert.match(day.stderr, /YYYY-MM-DD/);
    await desk.write((settings) => (settings.policy.packs = ['us-fedral']));
    const conf = await desk.ctl('packs');
    assert.equal(conf.code, 2);
    assert.match(conf.stderr, /us-fedral/);
  });
});

describe('the command line', () => {
  let desk;
  before(async () => {
    desk = await Desk.open();
  });
  after(() => desk.close());

  it('--help names every command, and help of each names its options', async () => {
    const { code, stdout } = await desk.ctl('--help');
    assert.equal(code, 0);
    const names = [...stdout.matchAll(/^ {2}((?:explain|deferred \w+|audit \w+|packs|replay)) {2,}/gm)].map(([, name]) => name);
    assert.deepEqual(names, ['explain', 'deferred list', 'deferred release', 'deferred cancel', 'audit verify', 'replay', 'packs']);
    for (const name of names) {
      const help = await desk.ctl('help', ...name.split(' '));
      assert.equal(help.code, 0);
      assert.ok(help.stdout.startsWith(`usage: posternctl [-c FILE] ${name}`), help.stdout);
      assert.match(help.stdout, /Exit status: 0 /);
      assert.deepEqual(await desk.ctl(...name.split(' '), '--help'), help);
    }
    assert.match((await desk.ctl('help', 'explain')).stdout, /--to ADDRESS +\S.*\n.*--channel NAME +\S/);
  });

  it('--version', async () => {
    const { code, stdout } = await desk.ctl('--version');
    assert.equal(code, 0);
    assert.match(stdout, /^posternctl \d+\.\d+\.\d+\n$/);
  });

  const rows = [
    [[], /^usage: posternctl/],
    [['explian'], /did you mean "posternctl explain"\?/],
    [['deferred', 'lst'], /did you mean "posternctl deferred list"\?/],
    [['audit', 'verfy'], /did you mean "posternctl audit verify"\?/],
    [['deferred'], /deferred list.*\n.*deferred release.*\n.*deferred cancel/],
    [['frobnicate'], /unknown command "frobnicate".*--help/],
    [['help', 'frobnicate'], /unknown command "frobnicate"/],
    [['-c'], /-c FILE/],
    [['explain'], /--to ADDRESS is missing/],
    [['explain', '--to'], /--to needs a value: --to ADDRESS/],
    [['explain', '--to', 'bob'], /--to bob: /],
    [['explain', '--to', 'a@b.example', '--chanel', 'email'], /unknown option --chanel: did you mean --channel\?/],
    [['explain', '--to', 'a@b.example', '--to', 'c@d.example'], /--to is given twice/],
    [['explain', '--to', 'a@b.example', 'now'], /"now" is one word too many/],
    [['deferred', 'list', '--json=yes'], /--json takes no value/],
    [['deferred', 'cancel'], /ID\.\.\. is missing/],
    [['-c', 'nowhere.yaml', 'audit', 'verify'], /nowhere\.yaml/],
    [['audit', 'verify'], /postern\.db: .*\n.*run posternctl in the working directory of posternd/],
  ];
  for (const [args, says] of rows)
    it(`posternctl ${args.join(' ')}: exit status 2, and what would be right`, async () => {
      const { code, stdout, stderr } = await desk.ctl(...args);
      assert.equal(code, 2, stdout + stderr);
      assert.equal(stdout, '');
      assert.match(stderr, says);
    });

  it('tells how to start the daemon that does not answer', async () => {
    for (const args of [['explain', '--to', 'a@b.example'], ['deferred', 'list'], ['deferred', 'cancel', 'def_0000000000000001', 'def_0000000000000002']])
      assert.deepEqual(await desk.ctl(...args), {
        code: 2,
        stdout: '',
        stderr: `posternctl: posternd does not answer on 127.0.0.1:${desk.port}: start it with: posternd -c postern.yaml\n`,
      });
  });

  it('tells that a key with the role admin is needed', async () => {
    await desk.write((settings) => {
      settings.keys = settings.keys.filter((key) => key.name !== 'admin');
    });
    const { code, stderr } = await desk.ctl('deferred', 'list');
    assert.equal(code, 2);
    assert.match(stderr, /no key has the role admin.*roles: \[admin\]/);
    await desk.write(() => {});
  });
});

describe('beside a running posternd', () => {
  let house, postern, mail, sms;
  before(async () => {
    house = await startHouse();
    ({ postern, mail, sms } = house);
  });
  after(() => house.end());

  describe('explain', () => {
    const explain = (...args) => postern.ctl('explain', ...args);

    it('prints the decision, every rule and the facts, with the clock of the recipient', async () => {
      await postern.newDay('22:00', 'tue');
      const ada = await postern.subscriber();
      const { code, stdout, stderr } = await explain('--to', ada.phone, '--category', 'newsletter');
      assert.equal(code, 0, stderr);
      assertPlain(stdout);
      assert.match(stdout, /^decision +defer$/m);
      assert.match(stdout, /^code +PST-DEFER-QUIET$/m);
      assert.match(stdout, /^passes +\S+Z \(wed 08:\d\d America\/New_York\)$/m);
      assert.match(lineWith(stdout, 'hours_organisation'), /defer .*America\/New_York/);
      assert.match(lineWith(stdout, 'opt_out_global'), /pass/);
      const { rules } = await postern.api('POST', '/postern/v1/decisions', { to: ada.phone, channel: 'sms', category: 'newsletter' });
      for (const { rule } of rules) assert.match(stdout, new RegExp(`^ *${rule} `, 'm'));
      assert.match(stdout.slice(stdout.indexOf('\nFACTS\n')), /America\/New_York/);
    });

    it('says now, later or never', async () => {
      await postern.newDay('12:00', 'tue');
      const ada = await postern.subscriber();
      const question = ['--to', ada.phone, '--category', 'newsletter'];
      assert.match((await explain(...question)).stdout, /^decision +forward\n(?:.*\n)*passes +now$/m);
      assert.match((await explain(...question, '--at', postern.at('23:00').toISOString())).stdout, /^passes +\S+Z \(wed 08:\d\d America\/New_York\)$/m);
      await postern.optOut(ada.phone);
      const { code, stdout } = await explain(...question);
      assert.equal(code, 0, 'explained, whatever the decision is');
      assert.match(stdout, /^decision +block\n(?:.*\n)*passes +not by waiting$/m);
      assert.match(lineWith(stdout, 'opt_out_global'), /block .*hard .*customer/);
    });

    it('asks as an automated sender or as an agent', async () => {
      await postern.newDay('12:00', 'tue');
      const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-10:00' } } });
      const question = ['--to', ada.email, '--category', 'helpdesk'];
      assert.match((await explain(...question)).stdout, /^decision +defer$/m);
      assert.match((await explain(...question, '--sender', 'agent')).stdout, /^decision +soft_block$/m);
    });

    it('--json is the answer of the API', async () => {
      await postern.newDay('12:00');
      const ada = await postern.subscriber();
      const { code, stdout } = await explain('--json', `--to=${ada.email}`, '--category', 'newsletter', '--priority', 'P3');
      assert.equal(code, 0);
      const decision = JSON.parse(stdout);
      assert.equal(decision.outcome, 'forward');
      assert.ok(decision.rules.length >= 20);
    });

    it('sends nothing and counts nothing', async () => {
      await postern.newDay('12:00');
      const ada = await postern.subscriber();
      for (let i = 0; i < 4; i++) assert.match((await explain('--to', ada.email, '--category', 'newsletter')).stdout, /^decision +forward$/m);
      assert.deepEqual(mail.sends(ada.email), []);
    });

    for (const [args, says] of [
      [['--category', 'newslettre'], /newslettre.*newsletter/],
      [['--channel', 'pigeon'], /pigeon.*sms/],
      [['--at', 'tomorrow'], /tomorrow.*2026-/],
      [['--sender', 'robot'], /robot.*agent/],
      [['--priority', 'P9'], /P9.*P0/],
    ])
      it(`passes on what the daemon says of ${args.join(' ')}`, async () => {
        const { code, stdout, stderr } = await explain('--to', 'a@b.example', ...args);
        assert.equal(code, 2);
        assert.equal(stdout, '');
        assert.match(stderr, says);
      });
  });

  describe('deferred', () => {
    async function night(...people) {
      await postern.newDay('22:00', 'tue');
      const rows = [];
      for (const one of people) {
        Object.assign(one, await postern.subscriber());
        await postern.sms({ to: one.phone });
        rows.push(...(await postern.deferred(one.id)));
      }
      assert.equal(rows.length, people.length);
      return rows;
    }

    it('list says so when nothing waits', async () => {
      const { code, stdout } = await postern.ctl('deferred', 'list', '--contact', 'nobody');
      assert.equal(code, 0);
      assert.equal(stdout, 'nothing waits\n');
    });

    it('list shows for whom (masked), why, until when', async () => {
      const ada = {};
      const [row] = await night(ada);
      const { code, stdout, stderr } = await postern.ctl('deferred', 'list');
      assert.equal(code, 0, stderr);
      assertPlain(stdout);
      const line = lineWith(stdout, row.id);
      assert.match(line, /waiting .*newsletter .*in quiet hours .*Z \(wed 08:\d\d America\/New_York\) .*Z/);
      assert.ok(!stdout.includes(ada.phone), 'masked');
      assert.match(line, new RegExp(`${ada.phone.slice(-4)}`));
      assert.equal(line.indexOf('waiting'), stdout.split('\n')[0].indexOf('STATE'), 'aligned');
    });

    it('list narrows by contact, address and state', async () => {
      const ada = {}, bob = {};
      const [one, two] = await night(ada, bob);
      for (const args of [['--contact', ada.id], ['--address', ada.phone], ['--contact', ada.id, '--state', 'waiting']]) {
        const { stdout } = await postern.ctl('deferred', 'list', ...args);
        assert.ok(stdout.includes(one.id), args.join(' '));
        assert.ok(!stdout.includes(two.id), args.join(' '));
      }
      assert.equal((await postern.ctl('deferred', 'list', '--contact', ada.id, '--state', 'dead')).stdout, 'nothing waits\n');
      const asJson = JSON.parse((await postern.ctl('deferred', 'list', '--json', '--contact', bob.id)).stdout);
      assert.deepEqual(asJson.map((row) => row.id), [two.id]);
      const wrong = await postern.ctl('deferred', 'list', '--state', 'asleep');
      assert.equal(wrong.code, 2);
      assert.match(wrong.stderr, /asleep.*waiting/);
    });

    it('release has it decided again: what still must wait, waits', async () => {
      const ada = {};
      const [row] = await night(ada);
      const { code, stdout, stderr } = await postern.ctl('deferred', 'release', row.id);
      assert.equal(code, 0, stderr);
      assert.match(stdout, new RegExp(`^${row.id}: released`));
      await waitFor('the new decision', async () => (await postern.deferred(ada.id))[0]?.decision_id !== row.decision_id);
      assert.deepEqual(sms.sends(ada.phone), []);
    });

    it('cancel gives up those that it can, names those that it cannot, and exits 1', async () => {
      const ada = {}, bob = {};
      const [one, two] = await night(ada, bob);
      const { code, stdout, stderr } = await postern.ctl('deferred', 'cancel', one.id, 'def_ffffffffffffffff', two.id);
      assert.equal(code, 1);
      assert.equal(stdout, `${one.id}: cancelled\n${two.id}: cancelled\n`);
      assert.match(stderr, /^posternctl: def_ffffffffffffffff: \S/);
      assert.deepEqual(await postern.deferred(ada.id), []);
      const again = await postern.ctl('deferred', 'cancel', one.id);
      assert.equal(again.code, 1);
      assert.equal((await postern.ctl('deferred', 'release', '../../x y')).code, 1);
    });
  });

  it('a configuration with another key is told from a daemon that is down', async () => {
    const other = path.join(postern.dir, 'other.yaml');
    const text = await readFile(postern.file, 'utf8');
    await writeFile(other, text.replace(KEYS.admin.secret, 'adm_ffffffffffffffffffffffffffffffff'));
    const { code, stderr } = await postern.ctl('-c', 'other.yaml', 'deferred', 'list');
    assert.equal(code, 2);
    assert.match(stderr, /refuses the key "admin".*other\.yaml/);
  });

  describe('audit verify', () => {
    it('holds while the daemon works, and when it is gone', async () => {
      const atWork = await postern.ctl('audit', 'verify');
      assert.equal(atWork.code, 0, atWork.stderr);
      assert.match(atWork.stdout, /^audit: \d+ rows, chain holds\n$/);
      assert.equal(atWork.stderr, '');
      await postern.terminate();
      const gone = await postern.ctl('audit', 'verify');
      assert.equal(gone.code, 0, gone.stderr);
      await postern.launch();
    });

    it('names the row that was changed, with exit status 1', async () => {
      const ada = await postern.person();
      await postern.mail({ to: ada.email }, { key: 'billing' });
      await postern.terminate();
      const file = path.join(postern.dir, 'postern.db');
      const good = await readFile(file);
      const bad = Buffer.from(good);
      const at = bad.lastIndexOf('"outcome":"forward"');
      assert.notEqual(at, -1, 'a decision in the file');
      bad.write('"outcome":"digest!"', at);
      await writeFile(file, bad);
      const { code, stdout } = await postern.ctl('audit', 'verify');
      await writeFile(file, good);
      assert.equal(code, 1);
      assert.match(stdout, /^audit: row \d+: /);
      await postern.assertAuditHolds();
      await postern.launch();
    });

    it('without its key it cannot be asked: exit status 2', async () => {
      await postern.terminate();
      const key = path.join(postern.dir, 'postern.db.audit-key');
      const text = await readFile(key);
      await rm(key);
      const { code, stderr } = await postern.ctl('audit', 'verify');
      await writeFile(key, text, { mode: 0o600 });
      assert.equal(code, 2);
      assert.match(stderr, /postern\.db\.audit-key/);
      await postern.launch();
    });
  });
});

describe('what only claims to be posternd', () => {
  let desk, fake;
  before(async () => {
    fake = new (class extends FakeServer {
      answer() {
        return { status: 200, headers: { 'Content-Type': 'application/json' }, body: '{"deferred":[]}' };
      }
    })();
    await fake.start();
    desk = await Desk.open((settings) => {
      settings.listen.http = settings.listen.http.replace(/\d+$/, new URL(fake.url).port);
    });
  });
  after(() => Promise.all([fake.stop(), desk.close()]));

  const reply = (status, body, type = 'application/json') => behave.answer(status, { 'Content-Type': type }, body);
  const rows = [
    ['a page', reply(200, '<html>', 'text/html'), /is not posternd/],
    ['no object', reply(200, '[]'), /is not posternd/],
    ['a proxy’s refusal', reply(404, 'not found', 'text/plain'), /is not posternd/],
    ['a redirect', behave.answer(302, { Location: 'http://127.0.0.1:9/' }, ''), /is not posternd/],
    ['an outage', reply(503, '{"title":"Service Unavailable","detail":"store: disk is nearly full"}'), /cannot answer now \(503\): store: disk is nearly full/],
    ['half an answer', behave.half(), /is not posternd/],
    ['no answer at all', behave.close(), /no usable answer/],
  ];
  for (const [name, how, says] of rows)
    it(`${name}: exit status 2`, async () => {
      fake.forget();
      fake.when('/postern/v1/deferred', how);
      const { code, stdout, stderr } = await desk.ctl('deferred', 'list');
      assert.equal(code, 2);
      assert.equal(stdout, '');
      assert.match(stderr, says);
    });

  it('cannot steer the terminal', async () => {
    const row = { id: 'def_1', to: '+12125550101', category: '\u001b[2Jnews\u0007', reason: '\u009b31m', local_rule: 'x \u202edcba', state: 'waiting' };
    fake.forget();
    fake.when('/postern/v1/deferred', reply(200, JSON.stringify({ deferred: [row] })));
    const { code, stdout } = await desk.ctl('deferred', 'list');
    assert.equal(code, 0);
    assertPlain(stdout);
    assert.match(stdout, /\?\[2Jnews\?/);
    assert.doesNotMatch(stdout, /[\u0080-\u009f\u202e]/);
  });

  it('is sent the admin key and nothing of the environment’s proxies', async () => {
    fake.forget();
    await desk.ctl('deferred', 'list');
    assert.equal(fake.requests.at(-1).headers.authorization, `Bearer ${KEYS.admin.secret}`);
  });
});

describe('over TLS', () => {
  let desk, server;
  const openssl = (dir, name) =>
    promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', '/CN=postern.example', '-keyout', `${name}.key`, '-out', `${name}.crt`], { cwd: dir });
  const secure = (name) => (settings, { dir }) => {
    settings.listen.tls = { certificate: path.join(dir, `${name}.crt`), key: path.join(dir, `${name}.key`) };
  };
  before(async () => {
    desk = await Desk.open();
    await Promise.all([openssl(desk.dir, 'ours'), openssl(desk.dir, 'another')]);
    const [key, cert] = await Promise.all(['ours.key', 'ours.crt'].map((name) => readFile(path.join(desk.dir, name))));
    server = https.createServer({ key, cert }, (request, response) => response.writeHead(200).end('{"deferred":[]}')).listen(desk.port, '127.0.0.1');
    await once(server, 'listening');
  });
  after(async () => {
    server.close();
    await desk.close();
  });

  it('speaks to the server that has the configured certificate', async () => {
    await desk.write(secure('ours'));
    assert.deepEqual(await desk.ctl('deferred', 'list'), { code: 0, stdout: 'nothing waits\n', stderr: '' });
  });

  it('keeps the key from a server that has another', async () => {
    await desk.write(secure('another'));
    const { code, stderr } = await desk.ctl('deferred', 'list');
    assert.equal(code, 2);
    assert.match(stderr, /does not show the certificate of .*another\.crt/);
  });
});
