// posternctl replay: the decisions on record, made again.  With the same file nothing changes, however mixed the
// history; with another one exactly what should.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { sendgridSays } from '../fakes/sendgrid.mjs';
import { configuration, yaml } from './config.mjs';
import { decisionIds, header } from './expect.mjs';
import { startHouse, waitFor } from './harness.mjs';

const HOUR_MS = 3_600_000;
let house, postern, mail, start;
const sent = []; // { id, outcome, kind } of each decision of the history, in order

const CAPS = [
  { name: 'marketing-any', classes: ['marketing'], calendar: 'day', limit: 3 },
  { name: 'sms-rolling', classes: ['marketing'], channels: ['sms'], rolling: '4h', limit: 2 },
];
const QUIET = { marketing: { sms: '21:00-08:00', email: 'none' } };

before(async () => {
  house = await startHouse({
    configure: (settings) => {
      settings.policy.caps = CAPS;
      settings.policy.quiet_hours = QUIET;
    },
  });
  ({ postern, mail } = house);
  await postern.newDay('07:00');
  start = postern.now;
});
after(() => house.end());

/** Another configuration beside the running one: its file. */
async function policyFile(name, change = () => {}) {
  const settings = configuration({ port: postern.port, mail, sms: house.sms, callbacks: house.callbacks });
  settings.policy.caps = structuredClone(CAPS);
  settings.policy.quiet_hours = structuredClone(QUIET);
  change(settings);
  await writeFile(path.join(postern.dir, name), `${yaml(settings).trimStart()}\n`);
  return name;
}

async function replay(file, ...more) {
  const { code, stdout, stderr } = await postern.ctl('replay', '--policy', file, '--since', new Date(start.getTime() - HOUR_MS).toISOString(), '--json', ...more);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

/** { "forward>defer": 3, ... } without what stayed as it was. */
function changes(result) {
  return Object.fromEntries(result.outcomes.filter((row) => row.recorded !== row.replayed).map((row) => [`${row.recorded}>${row.replayed}`, row.decisions]));
}

async function one(kind, run) {
  const answer = await run();
  for (const id of decisionIds(answer)) sent.push({ id, kind, outcome: header(answer, 'X-Postern-Outcome') });
  return answer;
}

const news = (who, more = {}) => one('news', () => postern.mail({ to: who.email, ...more }, { key: 'shop' }));
const text = (who, more = {}) => one('text', () => postern.sms({ to: who.phone, ...more }, { key: 'shop-sms' }));
const bill = (who, more = {}) => one('bill', () => postern.mail({ to: who.email, ...more }, { key: 'billing' }));
const help = (who, more = {}) => one('help', () => postern.mail({ to: who.email, ...more }, { key: 'bot' }));
const desk = (who, more = {}) => one('desk', () => postern.mail({ to: who.email, ...more }, { key: 'desk' }));

/** Three days in the life of a few people. */
async function live() {
  const people = [
    await postern.subscriber(),
    await postern.subscriber({ zone: 'America/Los_Angeles', preferences: { 'frequency.max_per_day': 2 } }),
    await postern.subscriber({ preferences: { hours: { 'mon-fri': '09:00-17:00' } } }),
    await postern.subscriber({ zone: 'Europe/Paris', preferences: { 'channel.never': ['sms'], language: 'fr' } }),
    await postern.person(),
    postern.stranger(),
  ];
  for (let day = 0; day < 3; day++) {
    for (const [n, time] of ['07:30', '10:00', '10:01', '13:00', '16:59', '18:30', '22:00'].entries()) {
      await postern.setClock(postern.at(time, day));
      for (const who of people) {
        await news(who);
        if (n % 2 === 0) await text(who);
        if (n === 3) await bill(who);
        if (n === 4) await help(who);
        if (n === 5) await desk(who);
      }
      if (day === 0 && n === 2) await postern.optOut(people[0].phone, { scope: 'channel', channel: 'sms', sender: '+12125550199' });
      if (day === 1 && n === 1) await postern.consent(people[1], { channel: 'email', category: 'newsletter', state: 'revoked' });
      if (day === 1 && n === 3) await postern.api('PATCH', `/postern/v1/contacts/${people[2].id}`, { zone: 'America/Los_Angeles' }).catch(() => {});
      if (day === 2 && n === 1) await postern.optOut(people[3].email);
    }
    await postern.setClock(postern.at('20:00', day));
    // what several get in one request, a copy whose primary recipient is blocked among them
    const [a, b] = [await postern.subscriber(), await postern.stranger()];
    await one('several', () => postern.sendgrid('shop').send({ from: 'news@shop.example', subject: 'x', text: 'x', personalizations: [{ to: [{ email: b.email }], cc: [{ email: a.email }] }, { to: [{ email: a.email }] }] }).then(([answer]) => ({ ...answer, status: answer.statusCode })));
    // the provider says no, and asks to slow down: their slots are given back
    const c = await postern.subscriber();
    mail.when(c.email, sendgridSays.badRequest(), 2);
    for (let i = 0; i < 5; i++) await news(c);
    mail.forget();
  }
  // what waited is released by the clock
  await postern.setClock(postern.at('12:00', 3));
  await waitFor('the queue to be empty', async () => (await postern.deferred()).every((row) => row.state !== 'waiting' || Date.parse(row.release_at) > postern.now), { deadline: 20_000 });
  for (const { id } of sent) await postern.decision(id);
}

describe('posternctl replay', { timeout: 120_000 }, () => {
  before(live);

  it('the same policy: no decision changes, over a history of every outcome', async () => {
    const result = await replay(await policyFile('same.yaml'));
    assert.deepEqual(changes(result), {});
    assert.deepEqual([result.changed, result.not_asked, result.moved.decisions, result.rules], [0, 0, 0, []]);
    assert.ok(result.decisions > 250, `${result.decisions} decisions`);
    for (const outcome of ['forward', 'defer', 'soft_block', 'block'])
      assert.ok(result.outcomes.some((row) => row.recorded === outcome && row.decisions > 3), outcome);
    assert.deepEqual(Object.values(result.left_out), [0, 0, 0]);
  });
});

describe('posternctl replay of a changed policy', { timeout: 120_000 }, () => {
  let people, waiting, other, ran;

  // Four people, each: newsletters at 10:00, 14:00 and 22:00, then two more that the cap of 3 blocks; an SMS at 23:00
  // that waits for the morning; an invoice at noon.
  before(async () => {
    other = await startHouse({
      configure: (settings) => {
        settings.policy.caps = [CAPS[0]];
        settings.policy.quiet_hours = QUIET;
        settings.policy.levels = [{ rule: 'language', class: 'transactional', level: 'hard', shadow: true }];
      },
    });
    const { postern: one } = other;
    await one.newDay('07:00');
    people = await Promise.all([1, 2, 3, 4].map(() => one.subscriber({ preferences: { language: 'fr' } })));
    const each = async (time, run) => {
      await one.setClock(one.at(time));
      return Promise.all(people.map(run));
    };
    const news = (who) => one.mail({ to: who.email }, { key: 'shop' });
    ran = {};
    ran.ten = await each('10:00', news);
    ran.invoice = await each('12:00', (who) => one.mail({ to: who.email, headers: { 'X-Postern-Language': 'en' } }, { key: 'billing' }));
    ran.two = await each('14:00', news);
    ran.late = await each('22:00', news);
    ran.blocked = [...(await each('22:05', news)), ...(await each('22:10', news))];
    waiting = await each('23:00', (who) => one.sms({ to: who.phone }, { key: 'shop-sms' }));
    await one.passRelease(one.at('08:00', 1));
    for (const who of people) await waitFor('the release', () => other.sms.seen(who.phone).length === 1);
    for (const answer of [...Object.values(ran).flat()]) await one.decision(decisionIds(answer)[0]);
  });
  after(() => other.end());

  async function tryPolicy(name, change) {
    const { postern: one } = other;
    const settings = configuration({ port: one.port, mail: other.mail, sms: other.sms, callbacks: other.callbacks });
    settings.policy.caps = structuredClone([CAPS[0]]);
    settings.policy.quiet_hours = structuredClone(QUIET);
    settings.policy.levels = [{ rule: 'language', class: 'transactional', level: 'hard', shadow: true }];
    change(settings.policy);
    await writeFile(path.join(one.dir, name), `${yaml(settings).trimStart()}\n`);
    const { code, stdout, stderr } = await one.ctl('replay', '--policy', name, '--since', one.at('06:00').toISOString(), '--json');
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  }

  const rules = (result) => Object.fromEntries(result.rules.map((row) => [`${row.rule} ${row.change}`, row.decisions]));
  const firstIds = (answers) => answers.map((answer) => decisionIds(answer)[0]);

  it('nothing changed: nothing changes, releases included', async () => {
    const result = await tryPolicy('same.yaml', () => {});
    assert.deepEqual(changes(result), {});
    assert.equal(result.decisions, 4 * 8);
    assert.deepEqual(result.rules, []);
  });

  it('a smaller cap blocks what was the last of the day, and only that', async () => {
    const result = await tryPolicy('cap2.yaml', (policy) => (policy.caps[0].limit = 2));
    assert.deepEqual(changes(result), { 'forward>block': 4 });
    assert.deepEqual(rules(result), { 'cap_organisation fires': 4 });
    const [row] = result.outcomes.filter((one) => one.recorded === 'forward' && one.replayed === 'block');
    for (const id of row.examples) assert.ok(firstIds(ran.late).includes(id), id);
  });

  it('a larger cap lets through as many as it has slots, counting what it let through', async () => {
    const result = await tryPolicy('cap4.yaml', (policy) => (policy.caps[0].limit = 4));
    assert.deepEqual(changes(result), { 'block>forward': 4 });
    assert.deepEqual(rules(result), { 'cap_organisation ends': 4 });
    const [row] = result.outcomes.filter((one) => one.recorded === 'block' && one.replayed === 'forward');
    for (const id of row.examples) assert.ok(firstIds(ran.blocked.slice(0, 4)).includes(id), id);
  });

  it('quiet hours for mail keep what came in the evening, and free its slots', async () => {
    const result = await tryPolicy('quiet.yaml', (policy) => (policy.quiet_hours.marketing.email = '21:00-08:00'));
    // in the morning three of each go, and the SMS that waited finds the cap full
    assert.deepEqual(changes(result), { 'forward>defer': 4, 'block>defer': 8, 'forward>block': 4 });
    assert.deepEqual(rules(result), { 'hours_organisation fires': 12, 'cap_organisation ends': 8, 'cap_organisation fires': 4 });
    assert.deepEqual([result.newly_kept, result.newly_kept_waiting], [{ forward: 12 }, 0]);
    const noon = await tryPolicy('noon.yaml', (policy) => (policy.quiet_hours.marketing.email = '21:00-12:00'));
    // what came at 10:00 goes at noon
    assert.deepEqual(changes(noon), { 'forward>defer': 8, 'block>defer': 8 });
    assert.deepEqual([noon.newly_kept, noon.newly_kept_waiting], [{ forward: 4 }, 12]);
  });

  it('without quiet hours what waited would have gone at once, and its release would not have come about', async () => {
    const result = await tryPolicy('loud.yaml', (policy) => (policy.quiet_hours = {}));
    // at 23:00 the cap of the day, full by then, speaks
    assert.deepEqual(changes(result), { 'defer>block': 4 });
    assert.equal(result.not_asked, 4);
    const free = await tryPolicy('free.yaml', (policy) => {
      policy.quiet_hours = {};
      policy.caps[0].limit = 6;
    });
    assert.deepEqual(changes(free), { 'defer>forward': 4, 'block>forward': 8 });
    assert.equal(free.not_asked, 4);
    for (const id of free.outcomes.find((row) => row.recorded === 'defer').examples) assert.ok(firstIds(waiting).includes(id), id);
  });

  it('a rule in shadow changes nothing and says what it would have done; so do the metrics', async () => {
    const same = await tryPolicy('shadow0.yaml', () => {});
    assert.deepEqual(same.shadow.map(({ rule, outcome, decisions }) => [rule, outcome, decisions]), [['language', 'block', 4]]);
    assert.deepEqual(same.would_have, { block: 4 });
    assert.equal(await other.postern.metric('postern_shadow_total', { rule: 'language', outcome: 'block' }), 4);
    assert.equal(await other.postern.metric('postern_shadow_total'), 4);
    assert.equal(await other.postern.metric('postern_would_have_total', { outcome: 'block' }), 4);
    const shadow = await tryPolicy('shadow1.yaml', (policy) => policy.levels.push({ rule: 'cap_organisation', shadow: true }));
    assert.deepEqual(changes(shadow), { 'block>forward': 8 });
    assert.deepEqual(shadow.shadow.map(({ rule, outcome, decisions }) => [rule, outcome, decisions]).sort(), [['cap_organisation', 'block', 8], ['language', 'block', 4]]);
    const acts = await tryPolicy('acts.yaml', (policy) => (policy.levels[0].shadow = false));
    assert.deepEqual(changes(acts), { 'forward>block': 4 });
    assert.deepEqual(acts.shadow, []);
  });

  it('a category that is not configured any more is left out, and said', async () => {
    const { postern: one } = other;
    const settings = configuration({ port: one.port, mail: other.mail, sms: other.sms, callbacks: other.callbacks });
    settings.categories = settings.categories.filter((category) => category.name !== 'invoice');
    settings.keys = settings.keys.filter((key) => !key.categories?.includes('invoice'));
    await writeFile(path.join(one.dir, 'gone.yaml'), `${yaml(settings).trimStart()}\n`);
    const { code, stdout } = await one.ctl('replay', '--policy', 'gone.yaml', '--since', one.at('06:00').toISOString(), '--json');
    assert.equal(code, 0);
    assert.equal(JSON.parse(stdout).left_out.without_category, 4);
  });

  it('is read by people too, and beside a stopped posternd; nothing is written', async () => {
    const { postern: one } = other;
    const { code, stdout } = await one.ctl('replay', '--policy', 'cap2.yaml', '--since', one.at('06:00').toISOString());
    assert.equal(code, 0);
    assert.match(stdout, /^replay: 32 decisions since .*\n4 would have another outcome, 28 the same\n/);
    assert.match(stdout, /forward +block +4 +dec_/);
    assert.match(stdout, /cap_organisation +fires now +4 +dec_/);
    assert.match(stdout, /Not known\n/);
    assert.equal((await one.ctl('replay', '--policy', 'cap2.yaml', '--since', 'yesterday')).code, 2);
    assert.equal((await one.ctl('replay', '--policy', 'none.yaml')).code, 2);
    assert.equal((await one.ctl('replay')).code, 2);
    await one.terminate();
    const before = await readFile(path.join(one.dir, 'postern.db'));
    const again = await one.ctl('replay', '--policy', 'cap2.yaml', '--since', one.at('06:00').toISOString());
    assert.deepEqual([again.code, again.stdout], [0, stdout]);
    assert.ok(before.equals(await readFile(path.join(one.dir, 'postern.db'))));
    await one.launch();
  });
});
