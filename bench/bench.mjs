// The bench: Postern and its peers side by side in one run, a table of ratios, bench/out/results.json.
//   bench/run                       everything, about eight minutes
//   bench/run --only forward        one part: forward blocked contacts smtp (several, with commas)
//   bench/run --only smtp --without haraka,opensmtpd   fewer of the SMTP servers: postern postfix haraka opensmtpd
//   bench/run --rounds 5 --seconds 5 --contacts 1000000 --decisions 10000000
// The machine may be noisy: servers take turns within each round, figures are medians over the rounds, and what counts
// are the ratios of one run.  What the goals and milestones are is GOALS, below; why, is docs/PERFORMANCE.md.
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { OUT, knowsRedis, load, metrics, rssBytes, startHaproxy, startNginx, startNode, startPostern, startProvider, startRedis } from './servers.mjs';
import { request, writeRequests } from './requests.mjs';
import { SMTP_GOALS, smtp, smtpTable } from './smtp.mjs';

const { values: flags } = parseArgs({ options: {
  rounds: { type: 'string', default: '3' },
  seconds: { type: 'string', default: '3' },
  contacts: { type: 'string', default: '200000' },
  decisions: { type: 'string', default: '500000' },
  only: { type: 'string', default: 'forward,blocked,contacts,smtp' },
  without: { type: 'string', default: '' },
} });
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const CONTACTS = Number(flags.contacts);
const DECISIONS = Number(flags.decisions);
const parts = new Set(flags.only.split(','));
const PEOPLE = 20_000;
const OPTED_OUT = { first: 5_000_000, people: 5_000 };
const FEW = 1_000; // contacts of the base that growth is measured from
const FEW_MESSAGES = 20_000; // so that nobody's counted sends grow long

const GOALS = [
  ['forwarded, counters embedded / nginx', 'x', 1.5, 2.0, (r) => ratio(r, 'postern', 'nginx')],
  ['forwarded, counters in Redis / nginx', 'x', 1.5, 2.0, (r) => ratio(r, 'postern-redis', 'nginx')],
  ['the same with its Redis / Node with its Redis', 'x', 0.25, 0.5, (r) => withHelper(r, 'postern-redis') / withHelper(r, 'node')],
  ['blocked / nginx forwarding', 'x', 1.0, 1.5, (r) => r.blocked?.cpu_us / r.servers.nginx?.full.cpu_us],
  ['Redis per message', 'us', 8, 12, (r) => r.servers['postern-redis']?.full.helper_us],
  ['p99 added to nginx at half load', 'ms', 5, 10, (r) => (r.servers.postern?.half.p99_us - r.servers.nginx?.half.p99_us) / 1000],
  ['memory per cached contact', 'bytes', 150, 300, (r) => r.contacts?.bytes],
  ['cost with many contacts / with 1,000', 'x', 1.2, 1.5, (r) => r.contacts?.many_us / r.contacts?.few_us],
  ['cost with many decisions stored / with few', 'x', 1.2, 1.5, (r) => r.contacts?.stored_us / r.contacts?.many_us],
  ...SMTP_GOALS,
];

const ratio = (r, a, b) => r.servers[a]?.full.cpu_us / r.servers[b]?.full.cpu_us;
const withHelper = (r, name) => r.servers[name]?.full.cpu_us + r.servers[name]?.full.helper_us;

const began = performance.now();
const say = (text) => console.log(`${String(Math.round((performance.now() - began) / 1000)).padStart(4)} s  ${text}`);

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
function medians(runs) {
  const pick = (key) => median(runs.map((run) => run[key]));
  return { cpu_us: pick('cpu_us'), helper_us: median(runs.map((run) => run.helper_us[0] ?? 0)), per_s: pick('per_s'),
    p50_us: pick('p50_us'), p99_us: pick('p99_us'), max_us: pick('max_us'), rounds_us: runs.map((run) => run.cpu_us) };
}

function expect(run, status) {
  if (run[status] !== run.answered) throw new Error(`not every answer was ${status}: ${JSON.stringify(run)}`);
  return run;
}

/** Contacts with a consent, and people who opted out, through Postern's own API; all are in memory afterwards. */
async function seed(postern, n, { optedOut = false, warm = true } = {}) {
  for (const name of ['contact', 'consent'])
    expect(await load(postern, request(name), { messages: n, people: n, 'in-order': true }), 's2xx');
  if (optedOut) expect(await load(postern, request('opt-out'), { messages: OPTED_OUT.people, ...OPTED_OUT, 'in-order': true }), 's2xx');
  if (warm) await recall(postern, n);
  if (warm && optedOut) await load(postern, request('dry-run'), { messages: OPTED_OUT.people, ...OPTED_OUT, 'in-order': true });
}

/** Each contact is read once, so that what is measured is not the first look at each. */
async function recall(postern, n) {
  expect(await load(postern, request('dry-run'), { messages: n, people: n, 'in-order': true }), 's2xx');
}

/** A round: each server once at full load, then each at half of what Postern can. */
async function rounds(servers, result, mail) {
  const full = new Map(), half = new Map();
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [name, { server, helpers }] of servers) {
      const run = expect(await load(server, mail, { seconds: SECONDS, people: PEOPLE }, helpers), 's2xx');
      full.set(name, [...(full.get(name) ?? []), run]);
      say(`round ${round}/${ROUNDS}, full load: ${name.padEnd(14)} ${run.cpu_us.toFixed(1)} us/message, ${run.per_s}/s, p99 ${run.p99_us / 1000} ms`);
    }
    result.half_rate ??= Math.round(full.get('postern')[0].per_s / 2);
    for (const [name, { server, helpers }] of servers) {
      const rate = Math.min(result.half_rate, Math.round(full.get(name)[0].per_s / 2));
      const run = expect(await load(server, mail, { seconds: SECONDS, people: PEOPLE, rate }, helpers), 's2xx');
      half.set(name, [...(half.get(name) ?? []), run]);
      say(`round ${round}/${ROUNDS}, ${String(rate).padStart(5)}/s:    ${name.padEnd(14)} ${run.cpu_us.toFixed(1)} us/message, p50 ${run.p50_us / 1000}, p99 ${run.p99_us / 1000} ms`);
    }
  }
  for (const name of servers.keys()) result.servers[name] = { full: medians(full.get(name)), half: medians(half.get(name)) };
}

async function forward(result, provider, mail) {
  const servers = new Map();
  const redis = await startRedis();
  say('starting Postern, nginx, HAProxy, Node; telling Postern 20,000 contacts with consents');
  servers.set('postern', { server: await startPostern('postern', provider), helpers: [] });
  await seed(servers.get('postern').server, PEOPLE, { optedOut: true });
  if (knowsRedis()) {
    const counters = await startRedis();
    servers.set('postern-redis', { server: await startPostern('postern-redis', provider, counters), helpers: [counters] });
    await seed(servers.get('postern-redis').server, PEOPLE);
  }
  servers.set('nginx', { server: await startNginx(provider), helpers: [] });
  if (parts.has('forward')) {
    servers.set('haproxy', { server: await startHaproxy(provider), helpers: [] });
    servers.set('node', { server: await startNode(provider, redis), helpers: [redis] });
    await rounds(servers, result, mail);
  }
  if (parts.has('blocked')) await blocked(servers, result, mail);
  for (const { server, helpers } of servers.values()) await Promise.all([server, ...helpers].map((one) => one.stop()));
  await redis.stop();
}

async function blocked(servers, result, mail) {
  const runs = [], nginx = [];
  for (let round = 1; round <= ROUNDS; round++) {
    nginx.push(expect(await load(servers.get('nginx').server, mail, { seconds: SECONDS, people: PEOPLE }), 's2xx'));
    runs.push(expect(await load(servers.get('postern').server, mail, { seconds: SECONDS, ...OPTED_OUT }), 's4xx'));
    say(`round ${round}/${ROUNDS}, blocked: ${runs.at(-1).cpu_us.toFixed(1)} us/message, nginx ${nginx.at(-1).cpu_us.toFixed(1)}`);
  }
  result.blocked = medians(runs);
  result.servers.nginx ??= { full: medians(nginx) };
}

/** Messages to random ones of n contacts that are all in memory; few enough that nobody's sends grow long. */
async function cost(postern, n, mail) {
  const runs = [];
  for (let round = 0; round < Math.max(ROUNDS, 5); round++)
    runs.push(expect(await load(postern, mail, { messages: FEW_MESSAGES, people: n }), 's2xx').cpu_us);
  return median(runs);
}

async function contacts(result, provider, mail) {
  const few = await startPostern('postern-few', provider);
  await seed(few, FEW);
  say(`telling Postern ${CONTACTS} contacts with consents`);
  const many = await startPostern('postern-many', provider);
  await seed(many, CONTACTS, { warm: false });
  const before = rssBytes(many);
  await recall(many, CONTACTS);
  const seen = await metrics(many);
  const bytes = seen.postern_cache_bytes / seen.postern_cache_entries;
  say(`memory: ${bytes.toFixed(0)} bytes for each of ${seen.postern_cache_entries} cached contacts; the process grew by ${((rssBytes(many) - before) / CONTACTS).toFixed(0)}`);
  const few_us = await cost(few, FEW, mail), many_us = await cost(many, CONTACTS, mail);
  say(`cost: ${few_us.toFixed(1)} us/message with ${FEW} contacts, ${many_us.toFixed(1)} with ${CONTACTS}; storing ${DECISIONS} decisions`);
  const filled = expect(await load(many, mail, { messages: DECISIONS, people: CONTACTS }), 's2xx');
  const stored_us = await cost(many, CONTACTS, mail);
  say(`cost: ${stored_us.toFixed(1)} us/message with ${DECISIONS} decisions stored (on the way there: p99 ${filled.p99_us / 1000}, worst ${filled.max_us / 1000} ms)`);
  result.contacts = { n: CONTACTS, decisions: DECISIONS, bytes, few_us, many_us, stored_us, filling: filled };
  await Promise.all([few, many].map((one) => one.stop()));
}

function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  return rows.map((row) => row.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i]))).join('  ')).join('\n');
}

function report(result) {
  const one = (number, digits = 1) => (Number.isFinite(number) ? number.toFixed(digits) : '-');
  const ms = (us) => one(us / 1000);
  const lines = Object.entries(result.servers).filter(([, s]) => s.half).map(([name, { full, half }]) => [name, one(full.cpu_us),
    full.helper_us ? one(full.helper_us) : '', full.per_s, `${ms(full.p50_us)} / ${ms(full.p99_us)}`, one(half.cpu_us), `${ms(half.p50_us)} / ${ms(half.p99_us)}`,
    one(full.cpu_us / result.servers.nginx.full.cpu_us, 2)]);
  if (lines.length > 0)
    console.log(`\n${table([['64 connections, 1,163-byte mails', 'us/message', 'Redis', 'per s', 'p50 / p99 ms', `us at ${result.half_rate}/s`, 'p50 / p99 ms', '/ nginx'], ...lines])}`);
  const smtpLines = smtpTable(result, one);
  if (smtpLines.length > 0) console.log(`\n${table(smtpLines)}`);
  result.goals = GOALS.map(([name, unit, goal, milestone, of]) => ({ name, unit, goal, milestone, measured: of(result) }))
    .map((row) => ({ ...row, met: !Number.isFinite(row.measured) ? 'not measured' : row.measured <= row.goal ? 'goal' : row.measured <= row.milestone ? 'milestone' : 'no' }));
  console.log(`\n${table([['figure', 'goal', 'milestone', 'measured', 'unit', 'met'],
    ...result.goals.map((g) => [g.name, g.goal, g.milestone, one(g.measured, 2), g.unit, g.met])])}\n`);
}

writeRequests();
for (const name of ['postern', 'postern-redis', 'postern-few', 'postern-many']) rmSync(path.join(OUT, name), { recursive: true, force: true });
const result = { at: new Date().toISOString(), rounds: ROUNDS, seconds: SECONDS, servers: {} };
const provider = await startProvider();
if (parts.has('forward') || parts.has('blocked')) await forward(result, provider, request('mail'));
if (parts.has('contacts')) await contacts(result, provider, request('mail'));
await provider.stop();
if (parts.has('smtp')) await smtp(result, { say, seed, medians, rounds: ROUNDS, seconds: SECONDS, people: PEOPLE, without: flags.without.split(',') });
report(result);
writeFileSync(path.join(OUT, 'results.json'), `${JSON.stringify(result, null, 2)}\n`);
say(`written to ${path.relative(process.cwd(), path.join(OUT, 'results.json'))}`);
