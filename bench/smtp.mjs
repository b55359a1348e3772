// The bench's part for mail by SMTP: Postern and the peers take turns, each with a connection for every message and with
// sessions that stay; 20 sessions, 1,200 bytes, a sink that takes everything.
import { mails } from './servers.mjs';
import { available, startHaraka, startOpenSmtpd, startPosternSmtp, startPostfix, startSink } from './smtp_servers.mjs';

export const SMTP_GOALS = [
  ['SMTP, a connection each / Postfix before-queue proxy', 'x', 0.1, 0.2, (r) => ratio(r, 'each')],
  ['SMTP, sessions that stay / Postfix before-queue proxy', 'x', 0.1, 0.2, (r) => ratio(r, 'many')],
];
const ratio = (r, how) => r.smtp?.postern?.[how]?.cpu_us / r.smtp?.['postfix proxy']?.[how]?.cpu_us;

const SESSIONS = 20;
const SHAPES = [['each', {}], ['many', { reuse: true }]];

/** Name -> server, of all that can be started here; whole: what to stop. */
async function startAll(sink, tools) {
  const missing = available();
  const servers = new Map(), whole = [];
  const add = async (name, start, parts = (one) => [[name, one]]) => {
    const why = tools.without.includes(name) ? 'not asked for' : missing[name];
    if (why) return tools.say(`without ${name}: ${why}`);
    const one = await start(sink);
    whole.push(one);
    for (const [part, server] of parts(one)) servers.set(part, server);
    return one;
  };
  const postern = await add('postern', startPosternSmtp, (one) => [['postern', one.smtp]]);
  if (postern) await tools.seed(postern.http, tools.people);
  await add('postfix', startPostfix, (one) => [['postfix proxy', one.proxy], ['postfix queue', one.relay]]);
  await add('haraka', startHaraka);
  await add('opensmtpd', startOpenSmtpd);
  return { servers, whole };
}

/** tools: { say, seed, medians, rounds, seconds, people, without } of bench.mjs. */
export async function smtp(result, tools) {
  const why = available().sink;
  if (why) return tools.say(`without SMTP: ${why}`);
  const sink = await startSink();
  tools.say('starting Postern, Postfix, Haraka, OpenSMTPD');
  const { servers, whole } = await startAll(sink, tools);
  const runs = {};
  for (let round = 1; round <= tools.rounds; round++)
    for (const [name, server] of servers)
      for (const [how, options] of SHAPES) {
        if ((server.only && server.only !== how) || (server.once && round > 1)) continue;
        const run = await mails(server, { sessions: SESSIONS, seconds: tools.seconds, people: tools.people, ...options, ...server.load });
        ((runs[name] ??= {})[how] ??= []).push(run);
        tools.say(`round ${round}/${tools.rounds}, SMTP, ${how.padEnd(4)}: ${name.padEnd(14)} ${run.cpu_us.toFixed(1)} us/message, ${run.per_s}/s, p99 ${run.p99_us / 1000} ms`);
      }
  result.smtp = Object.fromEntries(Object.entries(runs).map(([name, one]) => [name, Object.fromEntries(SHAPES.filter(([how]) => one[how]).map(([how]) => [how, tools.medians(one[how])]))]));
  for (const one of whole) await one.stop();
  await sink.stop();
  return undefined;
}

/** Lines of the table, or none. */
export function smtpTable(result, one) {
  if (!result.smtp) return [];
  const ms = (us) => one(us / 1000);
  const proxy = result.smtp['postfix proxy'] ?? {};
  const cells = (s, how) => !s[how] ? ['-', '-', '-', '-'] : [one(s[how].cpu_us), s[how].per_s, `${ms(s[how].p50_us)} / ${ms(s[how].p99_us)}`, one(s[how].cpu_us / proxy[how]?.cpu_us, 3)];
  const head = ['us/message', 'per s', 'p50 / p99 ms', '/ Postfix proxy'];
  return [['20 sessions, 1,200-byte mails, a connection each', ...head, 'sessions that stay', ...head.slice(1)],
    ...Object.entries(result.smtp).map(([name, s]) => [name, ...cells(s, 'each'), ...cells(s, 'many')])];
}
