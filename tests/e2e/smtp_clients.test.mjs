// Other programs that speak SMTP, in front of Postern and behind it: swaks, Python's smtplib, Postfix's smtp-source;
// smtp-sink, and a real Postfix as the relay.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { userInfo } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { FakeRelay } from '../fakes/relay.mjs';
import { KEYS, freePort, waitFor } from './harness.mjs';
import { Postfix, noPostfix } from './postfix.mjs';
import { FROM, NOTHING_ILLEGAL, content, loggedIn, run, startMailHouse, submit } from './smtp.mjs';
import { SmtpClient, certificate } from './smtp_client.mjs';

let house, postern, relay;
before(async () => {
  house = await startMailHouse({ tls: true });
  ({ postern, relay } = house);
});
after(() => house.end());

/** The provider of kind smtp, anew. */
const setRelay = (settings) => postern.reconfigure((all) => {
  const others = all.providers.filter((one) => one.kind !== 'smtp');
  all.providers = [...others, { name: 'relay', kind: 'smtp', ...settings }];
});
const optedOut = async () => {
  const { email } = await postern.person();
  await postern.optOut(email);
  return email;
};

describe('swaks', () => {
  const swaks = (to, { key = 'billing', port = postern.smtpPort, args = [] } = {}) =>
    run('swaks', ['--server', `127.0.0.1:${port}`, '--from', FROM, '--to', [to].flat().join(','), '--auth-user', 'apikey', '--auth-password', KEYS[key]?.secret ?? key, '--header', 'Subject: Spring', ...args]);

  for (const [name, args, secure] of [['PLAIN in clear', ['--auth', 'PLAIN']], ['LOGIN under STARTTLS', ['--auth', 'LOGIN', '--tls']], ['PLAIN under TLS', ['--auth', 'PLAIN', '--tls-on-connect'], true], ['pipelined', ['--auth', 'PLAIN', '--pipeline']]])
    it(`sends: ${name}`, async () => {
      const { email } = await postern.person();
      const { code, stdout } = await swaks(email, { args, ...(secure ? { port: postern.smtpsPort } : {}) });
      assert.equal(code, 0, stdout);
      assert.match(stdout, /250 2\.0\.0 Ok: queued as R\d{8}/);
      assert.equal(relay.accepted(email).length, 1);
    });

  it('is refused: the recipient, the login', async () => {
    const bob = await optedOut();
    const refused = await swaks(bob, { key: 'promo', args: ['--auth', 'PLAIN'] });
    assert.equal(refused.code, 24, refused.stdout);
    assert.match(refused.stdout, /550 5\.7\.1 Delivery not authorized/);
    const late = await swaks(bob, { key: 'shop', args: ['--auth', 'PLAIN'] });
    assert.equal(late.code, 26, late.stdout);
    const wrong = await swaks(bob, { key: postern.keepSecret('SG.wrong.0123456789'), args: ['--auth', 'PLAIN'] });
    assert.equal(wrong.code, 28, wrong.stdout);
  });
});

describe("Python's smtplib", () => {
  const python = async (script, args) => {
    const { code, stdout, stderr } = await run('/usr/bin/python3', ['-c', `import sys, json, ssl, smtplib\nfrom email.message import EmailMessage\nargs = json.loads(sys.argv[1])\n${script}`, JSON.stringify({
      port: postern.smtpPort, secure: postern.smtpsPort, ca: house.cert.certFile, from: FROM, secret: KEYS.promo.secret, billing: KEYS.billing.secret, ...args })]);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };
  const MESSAGE = `
m = EmailMessage(); m['From'] = args['from']; m['To'] = ', '.join(args['to']); m['Subject'] = 'Grüße'
m.set_content('Hello\\n.\\n..dots\\nGrüße\\n', cte='8bit'); m.add_attachment(bytes(range(256)) * 40, maintype='application', subtype='octet-stream', filename='a.bin')`;

  it('sends a message with STARTTLS, and by SMTP_SSL', async () => {
    const to = [(await postern.person()).email, (await postern.person()).email];
    const refused = await python(`${MESSAGE}
c = ssl.create_default_context(cafile=args['ca'])
with smtplib.SMTP('localhost', args['port']) as s:
    s.starttls(context=c); s.login('apikey', args['billing']); one = s.send_message(m)
with smtplib.SMTP_SSL('localhost', args['secure'], context=c) as s:
    s.login('apikey', args['billing']); two = s.send_message(m)
print(json.dumps([one, two]))`, { to });
    assert.deepEqual(refused, [{}, {}]);
    const seen = relay.accepted(to[0]);
    assert.equal(seen.length, 2);
    assert.ok(seen[0].content.includes('\r\nHello\r\n.\r\n..dots\r\n'));
    assert.deepEqual(seen[0].to, to);
  });

  it('learns whom it was refused', async () => {
    const [ada, bob] = [(await postern.person()).email, await optedOut()];
    const refused = await python(`${MESSAGE}
with smtplib.SMTP('localhost', args['port']) as s:
    s.login('apikey', args['secret']); some = s.send_message(m)
    try: s.sendmail(args['from'], [args['to'][1]], 'Subject: x\\n\\ny'); all = None
    except smtplib.SMTPRecipientsRefused as e: all = e.recipients
    again = s.noop()[0]
print(json.dumps([{k: [v[0], v[1].decode()] for k, v in some.items()}, {k: [v[0], v[1].decode()] for k, v in all.items()}, again]))`, { to: [ada, bob] });
    for (const one of refused.slice(0, 2)) assert.match(`${Object.keys(one)} ${one[bob][0]} ${one[bob][1]}`, new RegExp(`^${bob} 550 5\\.7\\.1 Delivery not authorized.*PST-HARD-OPTOUT`));
    assert.equal(refused[2], 250);
  });
});

/** smtp-source cannot log in: a few lines between, which log in first and then copy. */
async function loginFor(port, secret) {
  const server = net.createServer(async (socket) => {
    socket.on('error', () => {}).pause();
    const inner = net.connect(port, '127.0.0.1').on('error', () => socket.destroy());
    for (const line of [undefined, 'EHLO shim.example', `AUTH PLAIN ${Buffer.from(`\0apikey\0${secret}`).toString('base64')}`]) {
      if (line) inner.write(`${line}\r\n`);
      let text = '';
      while (!/^\d{3} .*\r\n/m.test(text)) text += (await once(inner, 'data'))[0].toString('latin1');
    }
    socket.write('220 shim.example ESMTP\r\n');
    socket.pipe(inner).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

describe("Postfix's smtp-source, and smtp-sink behind", () => {
  it('sends a thousand, a connection each and many on one, and the sink counts as many', async () => {
    const port = await freePort();
    const sink = spawn('smtp-sink', ['-c', '-u', process.getuid() === 0 ? 'nobody' : userInfo().username, `127.0.0.1:${port}`, '1024'], { stdio: ['ignore', 'pipe', 'pipe'] });
    let counted = '';
    sink.stdout.setEncoding('latin1').on('data', (text) => (counted = (counted + text).slice(-200)));
    const shim = await loginFor(postern.smtpPort, KEYS.billing.secret);
    await waitFor('smtp-sink', () => SmtpClient.open(port).then((client) => (client.end(), true), () => false), { every: 10 });
    await setRelay({ url: `smtp://127.0.0.1:${port}` });
    for (const args of [[], ['-d']]) {
      const { code, stderr } = await run('smtp-source', ['-s', '10', '-m', '500', '-l', '1200', '-f', FROM, '-t', 'somebody@mail.example', '-N', ...args, `127.0.0.1:${shim.address().port}`]);
      assert.equal(code, 0, stderr);
    }
    await waitFor('all of them at the sink', () => /mesg=1000(?!\d)/.test(counted));
    await setRelay({ url: relay.url });
    shim.close();
    sink.kill('SIGTERM');
  });
});

describe('Postfix as the relay', { skip: noPostfix }, () => {
  let postfix, sink, cert;
  before(async () => {
    [sink, cert] = [await new FakeRelay().start(), await certificate()];
    postfix = await Postfix.start({ next: sink.port, tls: cert, auth: { user: 'postern', secret: 'relay-secret-98765' } });
    await setRelay({ url: postfix.url, account: postfix.auth.user, secret: postfix.auth.secret, ca_file: postfix.caFile, starttls: true, allow_private: true });
    postern.keepSecret(postfix.auth.secret);
  });
  after(async () => {
    await setRelay({ url: relay.url });
    await postfix?.stop();
    await Promise.all([sink?.stop(), cert?.remove()]);
  });

  it('takes what Postern sends under STARTTLS, logged in, and its content arrives as it was', async () => {
    const [ada, bob] = [(await postern.person()).email, (await postern.person()).email];
    const client = await loggedIn(house);
    const mail = content({ to: ada, fields: ['Message-ID: <p.1@shop.example>', 'Date: Mon, 6 Jan 2031 12:00:00 -0500'], body: '.\r\n..\r\n.x\r\nlast' });
    const { end } = await client.send({ to: [ada, bob], content: mail });
    client.end();
    assert.match(end.text, /^250 2\.0\.0 Ok: queued as [0-9A-F]{6,}$/i, await postfix.log());
    const [one] = await waitFor('the mail behind Postfix', () => sink.accepted(ada).length > 0 && sink.accepted(ada));
    assert.deepEqual(one.to.sort(), [ada, bob].sort());
    assert.ok(one.text.endsWith(mail.toString()), one.text); // Postfix puts its Received before it
    assert.match(one.field('received'), /ESMTPSA/);
  });

  it('refuses one of several in its own words', async () => {
    const { email } = await postern.person();
    const info = await submit(house, { to: [email, `a..b@${'x'.repeat(260)}.example`] });
    assert.ok(info.error || info.rejected.length === 1 || /refused by the relay/.test(info.response), JSON.stringify(info));
  });
});

it('nothing illegal, from any of them', () => assert.deepEqual([relay.illegal, relay.violations], [NOTHING_ILLEGAL, []]));
