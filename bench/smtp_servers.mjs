// The SMTP servers of the bench: the sink, Postern, and the peers: Postfix as a before-queue proxy and as a relay with
// a queue (one instance, two ports), Haraka, OpenSMTPD.  Each is { name, port, pids(), stop() } as in servers.mjs, and
// drained(), which waits until nothing is left in its queue.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, chmodSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { LOAD_CORE, OUT, POSTERND, SERVER_CORE, directory, fill, freePort, listens, ready, sleep, start } from './servers.mjs';

const isRoot = process.getuid() === 0;

/** Postfix's stand-in for the next server: takes everything, keeps nothing. */
export async function startSink() {
  const port = await freePort();
  const server = start('smtp-sink', LOAD_CORE, ['smtp-sink', '-u', isRoot ? 'nobody' : userInfo().username, `127.0.0.1:${port}`, '1024']);
  await listens(port, server);
  return Object.assign(server, { port });
}

export async function startPosternSmtp(sink) {
  const [port, smtp] = [await freePort(), await freePort()];
  rmSync(path.join(OUT, 'postern-smtp'), { recursive: true, force: true });
  const dir = directory('postern-smtp');
  const file = fill('postern', 'smtp.yaml', { PORT: port, SMTP: smtp, SINK: sink.port }, dir);
  const server = start('postern', SERVER_CORE, [POSTERND, '-c', file], { cwd: dir });
  await listens(port, server);
  await ready(server, port);
  await listens(smtp, server);
  return { stop: server.stop, http: Object.assign(server, { port }), smtp: { ...server, port: smtp, login: { user: 'apikey', secret: 'SG.shop.0123456789abcdef0123456789abcdef' } } };
}

/** In a directory that its users can reach.  Two servers of one process tree: only one may be under load at a time. */
export async function startPostfix(sink) {
  const dir = mkdtempSync(path.join(tmpdir(), 'postern-bench-postfix-'));
  const [proxy, relay] = [await freePort(), await freePort()];
  const DAEMONS = ['/usr/lib/postfix/sbin', '/usr/libexec/postfix'].find(existsSync);
  chmodSync(dir, 0o755);
  for (const name of ['queue', 'data', 'conf']) mkdirSync(path.join(dir, name));
  execFileSync('chown', ['postfix', path.join(dir, 'data')]);
  for (const file of ['main.cf', 'master.cf']) fill('postfix', file, { DIR: dir, DAEMONS, SINK: sink.port, PROXY: proxy, RELAY: relay }, path.join(dir, 'conf'));
  execFileSync('postfix', ['-c', path.join(dir, 'conf'), 'check'], { stdio: 'pipe' });
  const server = start('postfix', SERVER_CORE, [path.join(DAEMONS, 'master'), '-c', path.join(dir, 'conf'), '-d'], { cwd: dir });
  await listens(relay, server);
  const stop = async () => {
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  const queues = ['incoming', 'active', 'deferred'].map((name) => path.join(dir, 'queue', name));
  return { proxy: { ...server, port: proxy }, relay: { ...server, port: relay, drained: () => empty(queues) }, stop };
}

export async function startHaraka(sink) {
  const port = await freePort();
  const dir = directory('haraka/config');
  for (const file of ['plugins', 'host_list', 'me', 'log.ini', 'connection.ini', 'smtp.ini', 'smtp_forward.ini']) fill('haraka', `config/${file}`, { PORT: port, SINK: sink.port }, path.dirname(dir));
  const haraka = path.resolve(OUT, '../peers/haraka/node_modules/Haraka/bin/haraka');
  const server = start('haraka', SERVER_CORE, ['node', haraka, '-c', path.dirname(dir)]);
  await listens(port, server);
  return Object.assign(server, { port });
}

/**
 * Debian's package conflicts with Postfix's, and the paths of its spool are compiled in: unpacked, in a root of its
 * own, with the two users that it drops to.  6.8.0p2 stops answering when twenty sessions come and go at once, and
 * holds a queue of more than 400 for long: it is measured with sessions that stay, fewer messages, once.
 */
export async function startOpenSmtpd(sink) {
  const port = await freePort();
  const root = mkdtempSync(path.join(tmpdir(), 'postern-bench-opensmtpd-'));
  const inside = (name) => path.join(root, name);
  execFileSync('apt-get', ['download', 'opensmtpd'], { cwd: root, stdio: 'pipe' });
  execFileSync('dpkg-deb', ['-x', readdirSync(root).find((name) => name.endsWith('.deb')), '.'], { cwd: root });
  const libraries = execFileSync('ldd', [inside('usr/sbin/smtpd')], { encoding: 'utf8' }).match(/\/\S+\.so\S*/g);
  for (const library of libraries) cpSync(library, inside(library), { dereference: true });
  for (const name of ['dev', 'tmp', 'var/run', 'var/lib/opensmtpd/empty', 'var/spool/smtpd']) mkdirSync(inside(name), { recursive: true });
  chmodSync(root, 0o755);
  chmodSync(inside('var/spool/smtpd'), 0o711);
  writeFileSync(inside('etc/passwd'), 'root:x:0:0:::\nopensmtpd:x:64001:64001::/var/lib/opensmtpd/empty:\nopensmtpq:x:64002:64002::/var/lib/opensmtpd/empty:\n');
  writeFileSync(inside('etc/group'), 'root:x:0:\nopensmtpd:x:64001:\nopensmtpq:x:64002:\n');
  writeFileSync(inside('etc/hosts'), '127.0.0.1 localhost\n');
  writeFileSync(inside('etc/mailname'), 'relay.example\n');
  fill('opensmtpd', 'smtpd.conf', { PORT: port, SINK: sink.port }, inside('etc'));
  const server = start('opensmtpd', SERVER_CORE, ['chroot', root, '/usr/sbin/smtpd', '-d', '-f', '/etc/smtpd.conf']);
  await listens(port, server);
  const stop = async () => {
    await server.stop();
    rmSync(root, { recursive: true, force: true });
  };
  return { ...server, port, stop, only: 'many', once: true, load: { messages: 400 }, drained: () => empty([inside('var/spool/smtpd/queue'), inside('var/spool/smtpd/incoming')]) };
}

/** What can be run here; says why not. */
export function available() {
  const has = (program) => execFileSync('sh', ['-c', `command -v ${program} || ls /usr/sbin/${program} || true`], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim() !== '';
  const missing = {};
  if (!has('smtp-sink')) missing.sink = 'smtp-sink is not installed: deploy/dependencies bench';
  if (!isRoot) missing.postfix = missing.opensmtpd = 'it is started as root only';
  if (!has('apt-get')) missing.opensmtpd = 'its package is Debian\'s';
  return missing;
}

async function empty(directories) {
  for (let i = 0; i < 600; i++) {
    if (execFileSync('find', [...directories.filter(existsSync), '-type', 'f', '-print', '-quit'], { stdio: ['ignore', 'pipe', 'ignore'] }).length === 0) return;
    await sleep(100);
  }
  throw new Error(`a queue is not empty after a minute: ${directories[0]}`);
}
