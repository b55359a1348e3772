// A real Postfix for a test: one instance in a directory of its own, started as root on a free port, with STARTTLS and a
// login, which hands everything on to the next server.  Who may log in is told to it by a few lines of Dovecot's
// protocol for that (version 1.2), so that no SASL database is needed.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { freePort, waitFor } from './harness.mjs';

const DAEMONS = ['/usr/lib/postfix/sbin', '/usr/libexec/postfix'].find(existsSync);

/** Why none can be started here; undefined when one can. */
export const noPostfix = process.getuid() !== 0 ? 'Postfix is started as root only' : DAEMONS === undefined ? 'Postfix is not installed' : undefined;

const MASTER = `
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
smtp      unix  - - n -     - smtp
error     unix  - - n -     - error
retry     unix  - - n -     - error
scache    unix  - - n -     1 scache
anvil     unix  - - n -     1 anvil
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
`;

export class Postfix {
  /** next: port that all mail goes to; tls: a certificate(); auth: { user, secret }. */
  static async start({ next, tls, auth }) {
    const postfix = new Postfix();
    const dir = (postfix.dir = await mkdtemp(path.join(tmpdir(), 'postern-postfix-')));
    postfix.port = await freePort();
    postfix.auth = auth;
    postfix.caFile = tls.certFile;
    postfix.directory = await loginServer(auth);
    await chmod(dir, 0o755);
    for (const name of ['conf', 'queue', 'data']) await mkdir(path.join(dir, name));
    await promisify(execFile)('chown', ['postfix', path.join(dir, 'data')]);
    await writeFile(path.join(dir, 'conf/master.cf'), `127.0.0.1:${postfix.port} inet n - n - - smtpd\n${MASTER}`);
    await writeFile(path.join(dir, 'conf/main.cf'), Object.entries({
      compatibility_level: '3.7', queue_directory: `${dir}/queue`, data_directory: `${dir}/data`, daemon_directory: DAEMONS,
      maillog_file: `${dir}/log`, maillog_file_prefixes: dir,
      inet_interfaces: '127.0.0.1', inet_protocols: 'ipv4', myhostname: 'postfix.example', mydestination: '', local_transport: 'error:none', alias_maps: '', alias_database: '',
      mynetworks: '', smtpd_relay_restrictions: 'permit_sasl_authenticated, reject', disable_dns_lookups: 'yes', relayhost: `[127.0.0.1]:${next}`, smtp_tls_security_level: 'none',
      smtpd_sasl_auth_enable: 'yes', smtpd_sasl_type: 'dovecot', smtpd_sasl_path: `inet:127.0.0.1:${postfix.directory.address().port}`,
      smtpd_tls_security_level: 'may', smtpd_tls_auth_only: 'yes', smtpd_tls_chain_files: `${tls.keyFile}, ${tls.certFile}`, message_size_limit: '31457280',
    }).map(([name, value]) => `${name} = ${value}\n`).join(''));
    await promisify(execFile)('postfix', ['-c', path.join(dir, 'conf'), 'check']);
    postfix.child = spawn(path.join(DAEMONS, 'master'), ['-c', path.join(dir, 'conf'), '-d'], { stdio: 'ignore' });
    await waitFor(`Postfix on ${postfix.port}`, () => listens(postfix.port), { every: 10 });
    return postfix;
  }

  get url() {
    return `smtp://localhost:${this.port}`;
  }

  log() {
    return readFile(path.join(this.dir, 'log'), 'utf8').catch(() => '');
  }

  async stop() {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await ended;
    this.directory.close();
    await rm(this.dir, { recursive: true, force: true });
  }
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('data', () => socket.destroy());
  });
}

/** Dovecot's authentication protocol, as far as Postfix speaks it. */
async function loginServer({ user, secret }) {
  const right = Buffer.from(`\0${user}\0${secret}`).toString('base64');
  const server = net.createServer((socket) => {
    let text = '';
    socket.write('VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n');
    socket.setEncoding('utf8').on('error', () => {}).on('data', (more) => {
      const lines = (text + more).split('\n');
      text = lines.pop();
      for (const [verb, id, , ...fields] of lines.map((line) => line.split('\t')))
        if (verb === 'AUTH') socket.write(fields.includes(`resp=${right}`) ? `OK\t${id}\tuser=${user}\n` : `FAIL\t${id}\tuser=${user}\n`);
    });
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return server;
}
