// Caps hold exactly: under concurrency, with a limit of one, over a restart, and only what was sent is counted.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { header } from './expect.mjs';
import { startHouse, waitFor } from './harness.mjs';

const tally = (answers) => answers.reduce((sum, answer) => ({ ...sum, [answer.status]: (sum[answer.status] ?? 0) + 1 }), {});

describe('a cap of 3 a day', () => {
  let house, postern, mail, sms;
  before(async () => {
    house = await startHouse();
    ({ postern, mail, sms } = house);
  });
  after(() => house.end());

  it('lets exactly 3 of 50 concurrent mails through', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => postern.mail({ to: ada.email, text: `offer ${i}` })));
    assert.deepEqual(tally(answers), { 202: 3, 403: 47 });
    for (const answer of answers.filter((one) => one.status === 403)) assert.equal(header(answer, 'X-Postern-Code'), 'PST-HARD-FREQUENCY');
    assert.equal(mail.sends(ada.email).length, 3);
  });

  it('counts both channels, concurrently', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const both = Array.from({ length: 25 }, (_, i) => [postern.mail({ to: ada.email, text: `offer ${i}` }), postern.sms({ to: ada.phone, body: `offer ${i}` })]);
    const passed = (await Promise.all(both.flat())).filter((one) => one.status < 300);
    assert.equal(passed.length, 3);
    assert.equal(mail.sends(ada.email).length + sms.sends(ada.phone).length, 3);
  });

  it('one request with five recipients counts one for each', async () => {
    await postern.newDay('12:00');
    const people = await Promise.all(Array.from({ length: 5 }, () => postern.subscriber()));
    const to = people.map((one) => one.email);
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to, text: `offer ${i}` })).status, 202);
    const full = await postern.mail({ to, text: 'offer 4' });
    assert.equal(full.status, 403);
    assert.equal(full.body.errors.length, 5);
  });

  it("starts again at the contact's midnight, not at another zone's", async () => {
    await postern.newDay('22:30', 'tue');
    const ada = await postern.subscriber({ zone: 'America/Los_Angeles' }); // 19:30 there
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: ada.email, text: `offer ${i}` })).status, 202);
    await postern.setClock(postern.at('02:30', 1)); // 23:30 there
    assert.equal((await postern.mail({ to: ada.email })).status, 403, 'still the same day there');
    await postern.setClock(postern.at('03:01', 1)); // 00:01 there
    assert.equal((await postern.mail({ to: ada.email })).status, 202);
  });

  it('transactional mail neither obeys it nor uses it up', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    for (let i = 0; i < 5; i++) assert.equal((await postern.mail({ to: ada.email, text: `invoice ${i}` }, { key: 'billing' })).status, 202);
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: ada.email, text: `offer ${i}` })).status, 202);
    assert.equal((await postern.mail({ to: ada.email })).status, 403);
  });

  it('what was blocked or deferred holds no slot', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    for (let i = 0; i < 3; i++) assert.equal(header(await postern.sms({ to: ada.phone, body: `offer ${i}` }), 'X-Postern-Outcome'), 'deferred');
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: ada.email, text: `mail ${i}` })).status, 202, 'the deferred hold no slot');
    assert.equal((await postern.mail({ to: ada.email })).status, 403);
  });

  it('deferred messages compete again when they are released', async () => {
    await postern.newDay('22:00', 'tue');
    const ada = await postern.subscriber();
    for (let i = 0; i < 5; i++) assert.equal(header(await postern.sms({ to: ada.phone, body: `offer ${i}` }), 'X-Postern-Outcome'), 'deferred');
    await postern.setClock(postern.at('12:00', 1));
    await waitFor('the queue to empty', async () => (await postern.deferred(ada.id)).length === 0);
    assert.equal(sms.sends(ada.phone).length, 3);
  });

  it('is counted again from the store after a restart', async () => {
    await postern.newDay('12:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    for (let i = 0; i < 2; i++) assert.equal((await postern.mail({ to: ada.email, text: `offer ${i}` })).status, 202);
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: bob.email, text: `offer ${i}` })).status, 202);
    await postern.restart();
    assert.equal((await postern.mail({ to: bob.email })).status, 403);
    assert.equal((await postern.mail({ to: ada.email, text: 'offer 3' })).status, 202);
    assert.equal((await postern.mail({ to: ada.email })).status, 403);
    await postern.kill();
    await postern.launch();
    assert.equal((await postern.mail({ to: ada.email })).status, 403, 'and after a kill');
  });
});

describe('caps of one and of none', () => {
  let house, postern, mail;
  before(async () => {
    house = await startHouse({
      configure: (settings) => {
        settings.policy.caps = [{ name: 'one', classes: ['marketing'], calendar: 'day', limit: 1 }];
      },
    });
    ({ postern, mail } = house);
  });
  after(() => house.end());

  it('a cap of 1 lets exactly 1 of 50 concurrent mails through', async () => {
    const ada = await postern.subscriber();
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => postern.mail({ to: ada.email, text: `offer ${i}` })));
    assert.deepEqual(tally(answers), { 202: 1, 403: 49 });
    assert.equal(mail.sends(ada.email).length, 1);
  });

  it("the contact's own cap: null is none, 0 lets nothing through", async () => {
    await postern.newDay('12:00');
    const free = await postern.subscriber({ preferences: { 'frequency.max_per_day': null } });
    assert.equal((await postern.mail({ to: free.email })).status, 202);
    const never = await postern.subscriber({ preferences: { 'frequency.max_per_day': 0 } });
    const answer = await postern.mail({ to: never.email });
    assert.equal(answer.status, 403);
    assert.equal(header(answer, 'X-Postern-Code'), 'PST-HARD-FREQUENCY');
    assert.deepEqual(mail.sends(never.email), []);
  });
});

describe('a cap in shadow', () => {
  let house, postern;
  before(async () => {
    house = await startHouse({
      configure: (settings) => {
        settings.policy.caps = [{ name: 'one', classes: ['marketing'], rolling: '24h', limit: 1 }];
        settings.policy.levels = [{ rule: 'cap_organisation', shadow: true }];
      },
    });
    ({ postern } = house);
  });
  after(() => house.end());

  it('counts what it lets through: what would have been is told from all that was sent', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    let answer;
    for (let i = 0; i < 3; i++) {
      answer = await postern.mail({ to: ada.email, text: `offer ${i}` });
      assert.equal(answer.status, 202);
    }
    const { violations } = await postern.decision(header(answer, 'X-Postern-Decision-Id'));
    assert.match(violations.find((one) => one.rule === 'cap_organisation').detail, /2 of 1/);
  });
});
