// What the bench runs: the load, the stub provider, Redis, Postern and its peers, each in a directory of its own under
// bench/out, on ports of its own, pinned to one core.  The one idea: a server is { name, pids(), stop() }, whatever it
// is, and its CPU time is read from /proc, outside, over all of its processes and threads.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const HERE = fileURLToPath(new URL('.', import.meta.url));
export const OUT = path.join(HERE, 'out');
const BIN = path.join(OUT, 'bin');
export const POSTERND = path.resolve(process.env.POSTERN ?? path.join(HERE, '../build/posternd'));

/** Servers and their Redis on the first core; load and provider on the second. */
export const SERVER_CORE = 0;
export const LOAD_CORE = 1;
const TICKS_PER_S = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

/** Start a program on a core; its output goes to a file that a failure shows. */
export function start(name, core, command, { cwd = OUT, env = {} } = {}) {
  const child = spawn('taskset', ['-c', String(core), ...command], {
    cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const server = { name, child, log: '', pids: () => [child.pid, ...children(child.pid)] };
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (server.log = (server.log + text).slice(-20_000)));
  running.add(child);
  child.on('exit', (code) => {
    running.delete(child);
    if (!server.stopping) console.error(`\n${name} ended by itself (${code}):\n${server.log}`);
  });
  server.stop = async () => {
    server.stopping = true;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  };
  return server;
}

function children(pid) {
  const ids = ofProcess(pid, `task/${pid}/children`).trim().split(' ').filter(Boolean).map(Number);
  return ids.flatMap((id) => [id, ...children(id)]);
}

/** A file of /proc; empty when the process is gone: what it used is its parent's then. */
function ofProcess(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** user + sys of all processes and threads of a server, in microseconds. */
export function cpuUs(server) {
  const ticks = server.pids().map((pid) => {
    const fields = ofProcess(pid, 'stat').split(') ').at(-1).split(' ');
    return fields.slice(11, 15).map(Number).reduce((a, b) => a + b, 0); // its own, and of children that ended
  });
  return (ticks.reduce((a, b) => a + b, 0) * 1e6) / TICKS_PER_S;
}

export function rssBytes(server) {
  const of = (pid) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
  return server.pids().map(of).reduce((a, b) => a + b, 0);
}

export async function listens(port, server) {
  for (let i = 0; i < 2000; i++) {
    const socket = net.connect(port, '127.0.0.1');
    const up = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'error').then(() => false)]).catch(() => false);
    socket.destroy();
    if (up) return;
    if (server.child.exitCode !== null) break;
    await sleep(10);
  }
  throw new Error(`${server.name} does not listen on ${port}:\n${server.log}`);
}

export function directory(name) {
  const dir = path.join(OUT, name);
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** A peer's configuration with its @NAMES@ filled in. */
export function fill(peer, file, values, dir = directory(peer)) {
  const text = readFileSync(path.join(HERE, 'peers', peer, file), 'utf8');
  const target = path.join(dir, file);
  writeFileSync(target, text.replaceAll(/@([A-Z]+)@/g, (all, name) => (name in values ? String(values[name]) : all)));
  return target;
}

export async function startProvider() {
  const port = await freePort();
  const server = start('provider', LOAD_CORE, [path.join(BIN, 'provider'), String(port)]);
  await listens(port, server);
  return Object.assign(server, { port });
}

export async function startRedis() {
  const port = await freePort();
  const server = start('redis', SERVER_CORE, ['redis-server', '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory('redis')]);
  await listens(port, server);
  return Object.assign(server, { port });
}

export async function startNginx(provider) {
  const port = await freePort();
  const dir = directory('nginx');
  const conf = fill('nginx', 'nginx.conf', { PORT: port, PROVIDER: provider.port, DIR: dir });
  const server = start('nginx', SERVER_CORE, ['nginx', '-c', conf, '-p', dir]);
  await listens(port, server);
  return Object.assign(server, { port });
}

export async function startHaproxy(provider) {
  const port = await freePort();
  const conf = fill('haproxy', 'haproxy.cfg', { PORT: port, PROVIDER: provider.port });
  const server = start('haproxy', SERVER_CORE, ['haproxy', '-db', '-f', conf]);
  await listens(port, server);
  return Object.assign(server, { port });
}

export async function startNode(provider, redis) {
  const port = await freePort();
  const script = path.join(HERE, 'peers/node/proxy.mjs');
  const server = start('node', SERVER_CORE, ['node', script, String(port), String(provider.port), String(redis.port)]);
  await listens(port, server);
  return Object.assign(server, { port });
}

/** counters: 'embedded', or a Redis.  The directory keeps its database from start to start. */
export async function startPostern(name, provider, counters = 'embedded') {
  const port = await freePort();
  const dir = directory(name);
  const url = counters === 'embedded' ? counters : `redis://127.0.0.1:${counters.port}/0`;
  const conf = fill('postern', 'postern.yaml', { PORT: port, PROVIDER: provider.port, COUNTERS: url });
  const file = path.join(dir, 'postern.yaml');
  writeFileSync(file, readFileSync(conf));
  const server = start(name, SERVER_CORE, [POSTERND, '-c', file], { cwd: dir });
  await listens(port, server);
  await ready(server, port);
  return Object.assign(server, { port, dir });
}

export async function ready(server, port) {
  for (let i = 0; i < 500; i++) {
    if ((await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200) return;
    await sleep(20);
  }
  throw new Error(`${server.name} does not get ready:\n${server.log}`);
}

/** Whether this posternd knows Redis as counters. */
export function knowsRedis() {
  const conf = fill('postern', 'postern.yaml', { PORT: 1, PROVIDER: 2, COUNTERS: 'redis://127.0.0.1:3/0' });
  try {
    execFileSync(POSTERND, ['-c', conf, '--check'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

/** Values of /metrics by name and labels as they stand there. */
export async function metrics(server) {
  const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
  const rows = text.split('\n').filter((line) => line && !line.startsWith('#'));
  return Object.fromEntries(rows.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

/** One run of the load against a server: what blast says, and the CPU of server and helpers (Redis) per message. */
export function load(server, request, options, helpers = []) {
  return run(server, 'blast', { head: `${request}.head`, body: `${request}.body`, ...options }, helpers);
}

/** The same by SMTP; a server that keeps what it took is waited for until it has sent it. */
export function mails(server, options) {
  return run(server, 'mails', { ...server.login, ...options });
}

async function run(server, program, options, helpers = []) {
  const all = [server, ...helpers];
  const before = all.map(cpuUs);
  const args = Object.entries({ port: server.port, ...options }).flatMap(([key, value]) => (value === true ? [`--${key}`] : [`--${key}`, String(value)]));
  const child = spawn('taskset', ['-c', String(LOAD_CORE), path.join(BIN, program), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let out = '', err = '';
  child.stdout.on('data', (text) => (out += text));
  child.stderr.on('data', (text) => (err += text));
  const [code] = await once(child, 'exit');
  running.delete(child);
  if (code !== 0) throw new Error(`load against ${server.name}: ${err}\n${server.log}`);
  await server.drained?.();
  const after = all.map(cpuUs);
  const said = JSON.parse(out);
  return { ...said, cpu_us: (after[0] - before[0]) / said.answered, helper_us: after.slice(1).map((a, i) => (a - before[i + 1]) / said.answered) };
}
