// One life after another: stopping, being killed, starting again on the same store, and refusing to start.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { behave } from '../fakes/server.mjs';
import { configuration, environment, yaml } from './config.mjs';
import { OPTED_OUT, assertOutcome, header } from './expect.mjs';
import { freePort, runToEnd, startHouse, waitFor } from './harness.mjs';

describe('SIGTERM', () => {
  it('finishes what was begun, refuses what is new, exits 0', async () => {
    const house = await startHouse();
    const { postern, mail } = house;
    const people = await Promise.all(Array.from({ length: 10 }, () => postern.person()));
    mail.when('/v3/mail/send', behave.late(700));
    const idle = net.connect(postern.port, '127.0.0.1');
    const answers = people.map((one) => postern.mail({ to: one.email }, { key: 'billing' }));
    await waitFor('all at the provider', () => people.every((one) => mail.sends(one.email).length === 1));
    const ended = postern.terminate();
    for (const answer of await Promise.all(answers)) assert.equal(answer.status, 202);
    assert.deepEqual(await ended, { code: 0, signal: null }, postern.tail());
    await assert.rejects(fetch(`${postern.url}/healthz`), 'nobody listens any more');
    idle.destroy();
    await house.end();
  });

  it('leaves what is deferred where it is', async () => {
    const house = await startHouse();
    const { postern, sms } = house;
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    await postern.sms({ to: ada.phone });
    assert.deepEqual(await postern.terminate(), { code: 0, signal: null });
    assert.deepEqual(sms.sends(ada.phone), []);
    await postern.launch();
    assert.equal((await postern.deferred(ada.id)).length, 1);
    await house.end();
  });
});

for (const [name, end] of [['a restart', (postern) => postern.restart()], ['kill -9', (postern) => postern.kill().then(() => postern.launch())]])
  describe(`after ${name}`, () => {
    let house, postern, sms;
    before(async () => {
      house = await startHouse();
      ({ postern, sms } = house);
    });
    after(() => house.end());

    it('contacts, opt-outs, consents, deferred messages, sids and decisions are as before', async () => {
      await postern.newDay('22:00', 'tue');
      const ada = await postern.subscriber({ preferences: { 'frequency.max_per_week': 5 } });
      const gone = await postern.subscriber();
      await postern.optOut(gone.email);
      const answer = await postern.sms({ to: ada.phone });
      const sent = await postern.mail({ to: ada.email });
      const ids = [answer, sent].map((one) => header(one, 'X-Postern-Decision-Id'));
      const before = { contact: await postern.api('GET', `/postern/v1/contacts/${ada.id}`), rows: await postern.deferred(ada.id), decisions: await Promise.all(ids.map((id) => postern.decision(id))) };
      const took = await end(postern);
      assert.ok(took < 2000, `ready after ${took.toFixed(0)} ms`);
      assert.deepEqual({ contact: await postern.api('GET', `/postern/v1/contacts/${ada.id}`), rows: await postern.deferred(ada.id), decisions: await Promise.all(ids.map((id) => postern.decision(id))) }, before);
      assertOutcome(await postern.mail({ to: gone.email }), { status: 403, ...OPTED_OUT });
      assert.equal((await postern.twilio().messages(answer.message.sid).fetch()).status, 'scheduled');
      await postern.passRelease(header(answer, 'X-Postern-Release-At'));
      await waitFor('the release', () => sms.sends(ada.phone).length > 0);
      await postern.idle();
      assert.equal(sms.sends(ada.phone).length, 1);
      await postern.assertAuditHolds();
    });
  });

describe('a configuration that cannot work', () => {
  let dir;
  before(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'postern-conf-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const providers = { mail: { url: 'http://127.0.0.1:9', apiKey: 'SG.x' }, sms: { url: 'http://127.0.0.1:9', account: `AC${'9'.repeat(32)}`, token: 'x' } };
  const write = async (settings) => {
    await writeFile(path.join(dir, 'postern.yaml'), typeof settings === 'string' ? settings : `${yaml(settings).trimStart()}\n`);
    return settings;
  };
  const good = async () => configuration({ port: await freePort(), ...providers });
  const check = (args = ['-c', 'postern.yaml', '--check']) => runToEnd(args, { cwd: dir, env: environment(providers) });

  it('is told apart from one that can, by --check', async () => {
    await write(await good());
    const { code, output } = await check();
    assert.equal(code, 0, output);
  });

  const rows = [
    ['an unknown key', (s) => { s.polcy = {}; }, /polcy/],
    ['an unknown key inside', (s) => { s.policy.quiet_hour = {}; }, /quiet_hour/],
    ['a wrong type', (s) => { s.policy.caps[0].limit = 'three'; }, /limit/],
    ['an empty window', (s) => { s.policy.quiet_hours.marketing.sms = '08:00-08:00'; }, /08:00/],
    ['a window that is none', (s) => { s.policy.quiet_hours.marketing.sms = '25:00-26:00'; }, /25:00/],
    ['an unknown zone, with the nearest name', (s) => { s.policy.default_zone = 'America/New_Yrok'; }, /America\/New_York/],
    ['a category that nothing defines', (s) => { s.keys[0].default_category = 'newslettre'; }, /newslettre/],
    ['a provider that nothing defines', (s) => { s.routes.email = 'main-mial'; }, /main-mial/],
    ['an unknown kind', (s) => { s.providers[0].kind = 'sendgird'; }, /sendgird/],
    ['a class that is none', (s) => { s.categories[0].class = 'marketting'; }, /marketting/],
    ['a secret whose variable is not set', (s) => { s.providers[0].secret = 'env:POSTERN_TEST_NOT_SET'; }, /POSTERN_TEST_NOT_SET/],
    ['two keys with one secret', (s) => { s.keys[1].secret = s.keys[0].secret; }, /secret/],
    ['a settable clock on a listener that is not loopback', (s) => { s.listen.http = '0.0.0.0:8080'; }, /clock|loopback/],
    ['a negative cap', (s) => { s.policy.caps[0].limit = -1; }, /limit/],
  ];
  for (const [name, spoil, says] of rows)
    it(`${name}: exit status 1, with file, line and key`, async () => {
      const settings = await good();
      spoil(settings);
      await write(settings);
      const { code, output } = await check();
      assert.equal(code, 1, output);
      assert.match(output, /postern\.yaml:\d+/);
      assert.match(output, says);
      assert.equal(output.trim().split('\n').length, 1, `one line: ${output}`);
      for (const key of settings.keys) assert.ok(!output.includes(key.secret), 'no secret in the message');
    });

  it('a file that is no YAML, and none at all', async () => {
    await write('listen: [\n');
    const broken = await check();
    assert.equal(broken.code, 1);
    assert.match(broken.output, /postern\.yaml:\d+/);
    const missing = await check(['-c', 'nowhere.yaml', '--check']);
    assert.equal(missing.code, 1);
    assert.match(missing.output, /nowhere\.yaml/);
  });

  it('a port in use: exit status 1, naming the address', async () => {
    const settings = await good();
    const [host, port] = settings.listen.http.split(':');
    const other = net.createServer().listen(Number(port), host);
    await write(settings);
    const { code, output } = await check(['-c', 'postern.yaml']);
    other.close();
    assert.equal(code, 1, output);
    assert.match(output, new RegExp(`${settings.listen.http}|in use`));
  });

  it('a store that is no database: exit status 1, naming it', async () => {
    const settings = await good();
    await writeFile(path.join(dir, 'postern.db'), 'this is no database, and was never one; it is a text of some length, longer than a header.\n'.repeat(20));
    await write(settings);
    const { code, output } = await check(['-c', 'postern.yaml']);
    assert.equal(code, 1, output);
    assert.match(output, /postern\.db/);
    await rm(path.join(dir, 'postern.db'));
  });
});

describe('the federal rule pack', () => {
  it('loads, and holds a marketing SMS back at 07:00 without any rule of the organisation', async () => {
    const house = await startHouse({
      configure: (settings) => {
        delete settings.policy.quiet_hours;
        settings.policy.packs = ['us-federal'];
      },
    });
    const { postern, sms } = house;
    await postern.newDay('07:00');
    const ada = await postern.subscriber();
    const answer = await postern.sms({ to: ada.phone });
    assert.equal(header(answer, 'X-Postern-Outcome'), 'deferred');
    assert.ok(Date.parse(header(answer, 'X-Postern-Release-At')) >= postern.at('08:00').getTime());
    assert.deepEqual(sms.sends(ada.phone), []);
    await postern.setClock(postern.at('12:00'));
    await waitFor('the release', () => sms.sends(ada.phone).length === 1);
    await house.end();
  });
});

describe('packs of states', () => {
  const house = {};
  before(async () => Object.assign(house, await startHouse({
    configure: (settings) => {
      delete settings.policy.quiet_hours;
      settings.policy.caps = [];
      settings.policy.packs = ['us-federal', 'us-fl', 'us-tx'];
    },
  })));
  after(() => house.end());

  /* The outcome for somebody of that region, in New York's zone. */
  const send = async (region, time, day) => {
    const { postern } = house;
    await postern.newDay(time, day);
    const ada = await postern.subscriber();
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, { region });
    const answer = await postern.sms({ to: ada.phone });
    return { ada, outcome: header(answer, 'X-Postern-Outcome'), release: header(answer, 'X-Postern-Release-At') };
  };

  it('bind their own residents, the strictest of all that bind', async () => {
    const { postern } = house;
    assert.equal((await send('US-GA', '20:30', 'tue')).outcome, 'forwarded', 'federal hours end at 21:00');
    const florida = await send('US-FL', '20:30', 'tue');
    assert.equal(florida.outcome, 'deferred', 'Florida ends at 20:00');
    assert.ok(Date.parse(florida.release) >= postern.at('08:00').getTime() + 24 * 3600e3);
    assert.equal((await send('US-TX', '11:30', 'sun')).outcome, 'deferred', 'Texas begins at noon on Sunday');
    assert.equal((await send('US-FL', '11:30', 'sun')).outcome, 'forwarded');
    assert.equal((await send('US', '20:30', 'tue')).outcome, 'deferred', 'somewhere in the US: perhaps in Florida');
    assert.equal((await send('FR', '22:30', 'tue')).outcome, 'forwarded', 'none of these packs is French');
  });

  it("stop after Florida's three in 24 hours on one subject, there only", async () => {
    const { postern } = house;
    for (const [region, fourth] of [['US-FL', 'blocked'], ['US-GA', 'forwarded']]) {
      const { ada, outcome } = await send(region, '10:00', 'tue');
      assert.equal(outcome, 'forwarded');
      for (const n of [2, 3]) assert.equal(header(await postern.sms({ to: ada.phone, body: `offer ${n}` }), 'X-Postern-Outcome'), 'forwarded');
      assert.equal(header(await postern.sms({ to: ada.phone, body: 'offer 4' }), 'X-Postern-Outcome'), fourth, region);
    }
  });
});

describe('without a zone', () => {
  const house = {};
  before(async () => Object.assign(house, await startHouse()));
  after(() => house.end());

  /* What the newsletter by SMS to that number is told at 07:30 Eastern on a winter's Tuesday. */
  const early = async (phone, more = {}) => {
    const { postern } = house;
    const ada = { ...postern.stranger(), phone };
    await postern.newDay('07:30', 'tue');
    await postern.api('PUT', `/postern/v1/contacts/${ada.id}`, { addresses: { sms: [phone] }, ...more });
    await postern.consent(ada, { channel: 'sms', category: 'newsletter' });
    const answer = await postern.sms({ to: phone });
    assert.equal(header(answer, 'X-Postern-Outcome'), 'deferred');
    const { facts } = await postern.api('POST', '/postern/v1/decisions', { to: phone, channel: 'sms', category: 'newsletter', priority: 'P2' });
    return { opens: new Date(header(answer, 'X-Postern-Release-At')).getTime(), basis: facts.zone.basis, candidates: facts.zone.candidates, regions: facts.contact.regions };
  };

  it('an area code stands for its state, and for its zone with an hour to each side', async () => {
    const { postern } = house;
    const ada = await early('+12125550177');
    assert.deepEqual(ada, { opens: postern.at('09:00').getTime(), basis: 'area_code',
      candidates: ['America/New_York', 'America/Chicago', 'America/Halifax'], regions: ['US-NY'] });
  });

  it('a +1 number without a known area code passes only from Eastern to Hawaii', async () => {
    const { postern } = house;
    const ada = await early('+15555550177');
    assert.equal(ada.opens, postern.at('13:00').getTime(), 'the night is not over in Honolulu');
    assert.deepEqual(ada.regions, ['US', 'CA']);
    await postern.setClock(postern.at('15:00'));
    assert.equal(header(await postern.sms({ to: '+15555550177', body: 'ten in Honolulu' }), 'X-Postern-Outcome'), 'forwarded');
  });

  it('a stated region says the zones and the law, whatever the number', async () => {
    const { postern } = house;
    const ada = await early('+13105550177', { region: 'US-FL' });
    assert.deepEqual(ada, { opens: postern.at('09:00').getTime(), basis: 'explicit',
      candidates: ['America/New_York', 'America/Chicago'], regions: ['US-FL'] });
    await postern.api('PUT', '/postern/v1/contacts/bo', { region: 'PR' });
    assert.equal((await postern.api('GET', '/postern/v1/contacts/bo')).region.value, 'US-PR');
    const refused = await postern.call('PUT', '/postern/v1/contacts/bo', { region: 'US-XX' });
    assert.equal(refused.status, 400);
    assert.match(JSON.stringify(refused.body), /state or province \(US-FL\)/);
  });
});
