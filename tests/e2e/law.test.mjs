// Rule packs at work, as somebody meets them who names one in postern.yaml: caps of a state, a consent for the night, a
// consent that ends, asking again after a refusal, and by when the law wants an opt-out in force.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { header } from './expect.mjs';
import { startHouse } from './harness.mjs';

const ABOUT = 'source: a statute, as_of: 2026-01-01, confidence: A, review_by: 2032-01-01';
const rule = (name, bound, kind) => `  - { name: ${name}, ${ABOUT}, ${bound}, ${kind} }\n`;
const PACK = `version: 2
name: test
title: A law for tests
region: [US-FL]
rules:
${rule('three', 'classes: [marketing], channels: [sms, voice]', 'cap: { limit: 3, rolling: 24h, per: category }')}${rule('purchase', 'classes: [marketing], channels: [email]', 'consent: { expires: 24mo, basis: [purchase] }')}${rule('night', 'classes: [marketing], channels: [sms]', 'consent: { night: "21:00-08:00" }')}${rule('refusal', 'classes: [marketing], channels: [sms, email]', 'opt_out: { within: 10 business days, holidays: days, reask_after: 12mo }')}${rule('one-channel', 'classes: [collections], channels: [sms, email]', 'cap: { limit: 1, calendar: week, per: class, other_channels: true }')}`;
const DAYS = 'version: 2\nname: days\ntitle: Days\nsource: a statute\nas_of: 2026-01-01\nconfidence: A\nreview_by: 2032-01-01\ndays: ["07-04"]\n';

let house, postern, rules;

before(async () => {
  rules = await mkdtemp(path.join(tmpdir(), 'postern-law-'));
  await mkdir(path.join(rules, 'holidays'));
  await writeFile(path.join(rules, 'test.yaml'), PACK);
  await writeFile(path.join(rules, 'holidays/days.yaml'), DAYS);
  house = await startHouse({
    configure: (settings) => {
      settings.rules_dir = rules;
      settings.policy.packs = ['test'];
      settings.policy.caps = [];
      settings.policy.quiet_hours = {};
      settings.categories.push({ name: 'may-we', class: 'transactional', asks_consent: true }, { name: 'dues', class: 'collections' });
      settings.keys.find((key) => key.name === 'shop').categories.push('dues');
    },
  });
  ({ postern } = house);
});
after(async () => {
  await house.end();
  await rm(rules, { recursive: true });
});

const outcome = async (answer) => header(await answer, 'X-Postern-Outcome');
const ask = (person, more) => postern.api('POST', '/postern/v1/decisions', { to: person.email, channel: 'email', category: 'newsletter', ...more });
const violation = (decision, name) => decision.violations.find((one) => one.rule === name);

describe('a rule pack', () => {
  it('caps what is sent to people of its region, and nobody else', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber({ region: 'US-FL' });
    const bob = await postern.subscriber({ region: 'US-NY' });
    for (let i = 0; i < 3; i++) assert.equal(await outcome(postern.sms({ to: ada.phone })), 'forwarded');
    const fourth = await ask(ada, { to: ada.phone, channel: 'sms' });
    assert.equal(fourth.outcome, 'block');
    assert.equal(fourth.reason, 'cap_regulatory');
    assert.match(violation(fourth, 'cap_regulatory').detail, /^cap test\/three: 3 of 3 in 24 h/);
    assert.equal((await ask(bob, { to: bob.phone, channel: 'sms' })).outcome, 'forward');
  });

  it('keeps to one channel a week', async () => {
    await postern.newDay('12:00', 'mon');
    const ada = await postern.person({ region: 'US-FL' });
    const dues = (channel, days = 0) => ask(ada, { to: channel === 'sms' ? ada.phone : ada.email, channel, category: 'dues', at: postern.at('13:00', days).toISOString() });
    assert.equal((await dues('sms')).outcome, 'forward');
    assert.equal(await outcome(postern.mail({ to: ada.email, customArgs: { postern_category: 'dues' } })), 'forwarded');
    const second = await dues('sms');
    assert.equal(second.reason, 'cap_regulatory');
    assert.match(violation(second, 'cap_regulatory').detail, /^cap test\/one-channel: 1 of 1 this week/);
    assert.equal((await dues('email')).outcome, 'forward');
    assert.equal((await dues('sms', 7)).outcome, 'forward');
  });

  it('asks for a consent for the night, and lets wait for the morning who has not given it', async () => {
    await postern.newDay('22:00');
    const ada = await postern.subscriber({ region: 'US-FL' });
    const night = await ask(ada, { to: ada.phone, channel: 'sms' });
    assert.equal(night.outcome, 'defer');
    assert.equal(night.reason, 'night_consent');
    assert.equal(Date.parse(night.release_at), postern.at('08:00', 1).getTime());
    const answer = await postern.consent(ada, { channel: 'sms', category: 'newsletter', scope: 'night' });
    assert.equal(answer.scope, 'night');
    assert.equal(await outcome(postern.sms({ to: ada.phone })), 'forwarded');
    // Taken back, the day's stands.
    await postern.consent(ada, { channel: 'sms', category: 'newsletter', scope: 'night', state: 'revoked' });
    assert.equal((await ask(ada, { to: ada.phone, channel: 'sms' })).reason, 'night_consent');
    assert.equal((await ask(ada, { to: ada.phone, channel: 'sms', at: postern.at('09:00', 1).toISOString() })).outcome, 'forward');
  });

  it('lets a consent end by its basis', async () => {
    await postern.newDay('12:00');
    const ada = await postern.person({ region: 'US-FL' });
    await postern.consent(ada, { channel: 'email', category: 'newsletter', basis: 'purchase' });
    const years = (n, ms = 0) => {
      const at = postern.at('12:00');
      at.setUTCFullYear(at.getUTCFullYear() + n);
      return new Date(at.getTime() + ms).toISOString();
    };
    assert.equal((await ask(ada, { at: years(2, -60_000) })).outcome, 'forward');
    const over = await ask(ada, { at: years(2, 60_000) });
    assert.equal(over.reason, 'consent_expired');
    assert.match(violation(over, 'consent').detail, /^test\/purchase: consent by customer expired at /);
  });

  it('says by when an opt-out has to be in force, and keeps who refused from being asked', async () => {
    // Friday: ten business days later is a Friday, unless a holiday lies between.
    await postern.newDay('12:00', 'fri');
    const ada = await postern.subscriber({ region: 'US-FL' });
    assert.equal((await ask(ada, { category: 'may-we' })).outcome, 'forward');
    const answer = await postern.optOut(ada.email, { scope: 'category', category: 'newsletter' });
    const deadline = answer.law.find((one) => one.rule === 'test/refusal').in_force_by;
    const days = Math.round((Date.parse(deadline) - Date.parse(`${postern.at('12:00').toISOString().slice(0, 10)}T00:00:00Z`)) / 86_400_000);
    assert.ok([14, 17].includes(days), `${deadline} is ${days} days later`);
    const again = await ask(ada, { category: 'may-we' });
    assert.equal(again.outcome, 'block');
    assert.equal(again.reason, 'reask');
    assert.equal(again.facts.opt_out_deadlines[0].in_force_by, deadline);
    const bob = await postern.subscriber({ region: 'US-NY' });
    const elsewhere = await postern.api('POST', '/postern/v1/opt-outs', { contact: bob.id, scope: 'category', category: 'newsletter', source: 'customer' });
    assert.deepEqual(elsewhere.law, []);
    assert.equal((await ask(bob, { category: 'may-we' })).outcome, 'forward');
  });

  it('is listed in the facts, and its age is a metric', async () => {
    const ada = await postern.subscriber({ region: 'US-FL' });
    const { law } = (await ask(ada, { to: ada.phone, channel: 'sms' })).facts;
    assert.deepEqual(law.map((one) => `${one.rule} ${one.kind}`), ['test/three cap', 'test/night consent', 'test/refusal opt_out']);
    const today = Math.floor(postern.at('12:00').getTime() / 86_400_000);
    assert.ok(Math.abs((await postern.metric('postern_rulepack_age_seconds', { pack: 'test' })) / 86_400 - (today - Date.parse('2026-01-01') / 86_400_000)) <= 1);
    assert.ok((await postern.metrics()).some((one) => one.name === 'postern_rulepack_review_seconds' && one.labels.pack === 'test'));
  });
});
