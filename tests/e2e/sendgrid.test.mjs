// @sendgrid/mail in front of Postern: each row of the documented answers, as the SDK's caller sees it, as the
// provider received it, and as Postern says that it decided.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sendgridSays } from '../fakes/sendgrid.mjs';
import {
  FORWARDED, OPTED_OUT, assertDecisionObject, assertOutcome, assertOverrideHeaders, assertSendGridRefusal, assertSentence,
  assertSoonAfter, decisionIds, header,
} from './expect.mjs';
import { KEYS, startHouse, waitFor } from './harness.mjs';

const SEND = '/v3/mail/send';
let house, postern, mail;

before(async () => {
  house = await startHouse();
  ({ postern, mail } = house);
});
after(() => house.end());

/** A body as an application might write it: odd spacing, escapes, unknown keys; to, cc, bcc as given. */
function body(personalizations, extra = '') {
  const people = (list) => `[${list.map((email) => `{ "email" : "${email}" , "name":"J\\u00fcrgen"}`).join(' ,')}]`;
  const items = personalizations.map(
    (p) => `{${Object.entries(p).map(([kind, list]) => ` "${kind}":${people(list)}`).join(',')}, "custom_args":{"order":"7"} }`,
  );
  return `{"from":{"email":"a@shop.example"},  "personalizations" : [${items.join(',\n')}],\n\t"subject":"Gr\\u00fc\\u00dfe \\ud83d\\udc4b", "content":[{"type":"text/plain","value":"Hello from the shop, "}],"x_unknown":1e2${extra}}\n`;
}

const addresses = (request) =>
  request.json.personalizations.map((p) => Object.fromEntries(['to', 'cc', 'bcc'].filter((k) => p[k]).map((k) => [k, p[k].map((one) => one.email)])));

describe('SendGrid: forwarded', () => {
  it("gives the caller the provider's own 202, id and headers, and X-Postern-*", async () => {
    const ada = await postern.subscriber();
    const answer = await postern.mail({ to: ada.email });
    const [id] = assertOutcome(answer, { status: 202, ...FORWARDED });
    const [request] = mail.sends(ada.email);
    assert.equal(mail.sends(ada.email).length, 1);
    assert.equal(header(answer, 'X-Message-Id'), request.answer.headers['X-Message-Id']);
    assert.equal(header(answer, 'X-No-CORS-Reason'), request.answer.headers['X-No-CORS-Reason']);
    assert.equal(answer.body, '');
    const decision = await postern.decision(id, { until: 'forwarded' });
    assert.equal(decision.outcome, 'forward');
    assert.equal(decision.provider_id, request.answer.headers['X-Message-Id']);
  });

  it("puts the provider's key in place of the application's, and tells the provider nothing of Postern", async () => {
    const ada = await postern.subscriber();
    await postern.mail({ to: ada.email });
    const [request] = mail.sends(ada.email);
    assert.equal(request.headers.authorization, `Bearer ${mail.apiKey}`);
    const all = request.rawHeaders.join('\n') + request.text;
    assert.ok(!all.includes(KEYS.shop.secret));
    assert.doesNotMatch(all, /x-postern/i);
  });

  it('leaves the body byte for byte when nothing was pruned', async () => {
    const ada = await postern.subscriber();
    const bob = await postern.subscriber();
    const bytes = Buffer.from(body([{ to: [ada.email], cc: [bob.email] }]));
    const answer = await postern.raw('POST', SEND, bytes, { headers: { 'Content-Type': 'application/json; charset=utf-8', 'On-Behalf-Of': 'subuser' } });
    assertOutcome(answer, { status: 202, ...FORWARDED });
    const [request] = mail.sends(ada.email);
    assert.ok(request.body.equals(bytes), request.text);
    assert.equal(request.headers['content-type'], 'application/json; charset=utf-8');
    assert.equal(request.headers['on-behalf-of'], 'subuser');
  });

  it('evaluates a gzip body and forwards the same content', async () => {
    const ada = await postern.subscriber();
    const gone = await postern.subscriber();
    await postern.optOut(gone.email);
    const text = body([{ to: [ada.email] }]);
    const answer = await postern.raw('POST', SEND, gzipSync(text), { headers: { 'Content-Encoding': 'gzip' } });
    assertOutcome(answer, { status: 202, ...FORWARDED });
    assert.equal(mail.sends(ada.email)[0].text, text);
    const blocked = await postern.raw('POST', SEND, gzipSync(body([{ to: [gone.email] }])), { headers: { 'Content-Encoding': 'gzip' } });
    assertOutcome(blocked, { status: 403, ...OPTED_OUT });
    assert.deepEqual(mail.sends(gone.email), []);
  });

  it('sends one call for sendMultiple, one personalization each', async () => {
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    const answer = await postern.mail({ to: [ada.email, bob.email] }, { multiple: true });
    assert.equal(assertOutcome(answer, { status: 202, ...FORWARDED }).length, 2);
    assert.deepEqual(addresses(mail.sends(ada.email)[0]), [{ to: [ada.email] }, { to: [bob.email] }]);
  });

  it('passes a transactional mail to someone unknown, and an opt_out category too', async () => {
    for (const key of ['billing', 'promo']) {
      const nobody = postern.stranger();
      assertOutcome(await postern.mail({ to: nobody.email }, { key }), { status: 202, ...FORWARDED });
      assert.equal(mail.sends(nobody.email).length, 1);
    }
  });

  it('notes a preference about language without acting on it', async () => {
    const ada = await postern.person({ language: 'de' });
    const answer = await postern.mail({ to: ada.email, headers: { 'X-Postern-Language': 'en' } }, { key: 'billing' });
    assert.equal(answer.status, 202);
    assert.equal(header(answer, 'X-Postern-Outcome'), 'forwarded');
    assert.equal(header(answer, 'X-Postern-Level'), 'info');
    assert.equal(header(answer, 'X-Postern-Code'), 'PST-INFO-LANGUAGE');
    assert.equal(mail.sends(ada.email).length, 1);
  });

  it('counts adherence: sent as stated over sent to people who stated something', async () => {
    const count = async () => [await postern.metric('postern_adherence_sent_total'), await postern.metric('postern_adherence_kept_total')];
    const [sent, kept] = await count();
    const ada = await postern.person({ language: 'de' });
    const nobody = postern.stranger(); // stated nothing: in neither
    for (const [to, language] of [[ada, 'de'], [ada, 'en'], [nobody, 'en']])
      await postern.mail({ to: to.email, subject: `In ${language}`, headers: { 'X-Postern-Language': language } }, { key: 'billing' });
    assert.equal(mail.sends(ada.email).length, 2);
    assert.deepEqual(await count(), [sent + 2, kept + 1]);
  });
});

describe('SendGrid: hard block', () => {
  it('is a 403 with the field, the sentence and the decision; nothing leaves', async () => {
    const ada = await postern.subscriber();
    await postern.optOut(ada.email);
    const answer = await postern.mail({ to: ada.email });
    const [id] = assertOutcome(answer, { status: 403, ...OPTED_OUT });
    assert.equal(answer.error.message, 'Forbidden');
    assertSendGridRefusal(answer.body, ['personalizations.0.to.0.email']);
    assertSentence(answer.body.errors[0].message, { code: 'PST-HARD-OPTOUT' });
    assert.match(answer.error.toString(), /PST-HARD-OPTOUT/);
    assertDecisionObject(answer.body.postern, { code: 'PST-HARD-OPTOUT', level: 'hard', recipient: ada.email });
    assert.equal(header(answer, 'X-Postern-Override-Token'), undefined);
    assert.deepEqual(mail.sends(ada.email), []);
    const decision = await postern.decision(id, { until: 'blocked' });
    assert.equal(decision.outcome, 'block');
    assert.ok(decision.violations.some((one) => one.rule === 'opt_out_global'));
  });

  it('says that consent is missing, which is not an opt-out', async () => {
    const ada = await postern.person();
    const answer = await postern.mail({ to: ada.email });
    assertOutcome(answer, { status: 403, outcome: 'blocked', level: 'hard', code: 'PST-HARD-NOCONSENT' });
    assert.deepEqual(mail.sends(ada.email), []);
  });

  it('sees through case, plus tags and a name around the address', async () => {
    const ada = await postern.subscriber();
    await postern.optOut(ada.email);
    const [local, domain] = ada.email.split('@');
    for (const to of [ada.email.toUpperCase(), `${local}+offers@${domain}`, { name: 'Ada', email: ada.email }]) {
      const answer = await postern.mail({ to }, { key: 'promo' });
      assertOutcome(answer, { status: 403, ...OPTED_OUT });
    }
    assert.deepEqual(mail.seen(local), []);
  });

  it('answers all blocked with one error for each recipient and field', async () => {
    const [a, b, c] = [await postern.subscriber(), await postern.subscriber(), await postern.subscriber()];
    for (const one of [a, b, c]) await postern.optOut(one.email);
    const answer = await postern.raw('POST', SEND, body([{ to: [a.email], cc: [b.email] }, { to: [c.email] }]));
    const ids = assertOutcome(answer, { status: 403, ...OPTED_OUT });
    assert.equal(ids.length, 3);
    assertSendGridRefusal(JSON.parse(answer.text), ['personalizations.0.to.0.email', 'personalizations.0.cc.0.email', 'personalizations.1.to.0.email']);
    assert.deepEqual(mail.sends(a.email), []);
  });
});

describe('SendGrid: soft block', () => {
  it("refuses an agent outside the contact's hours with 409, prompt and token", async () => {
    await postern.newDay('20:00');
    const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const answer = await postern.mail({ to: ada.email }, { key: 'desk' });
    const [id] = assertOutcome(answer, { status: 409, outcome: 'blocked', level: 'soft', code: 'PST-SOFT-QUIET' });
    assertSendGridRefusal(answer.body, ['personalizations.0.to.0.email']);
    const { postern: object } = answer.body;
    assertDecisionObject(object, { code: 'PST-SOFT-QUIET', level: 'soft', recipient: ada.email });
    assertSentence(answer.body.errors[0].message, { code: 'PST-SOFT-QUIET', token: object.override.token });
    assert.deepEqual(answer.body.errors[0].help, { postern: object });
    assertOverrideHeaders(answer, object.override);
    assert.ok(answer.error.toString().includes(object.override.token), 'the SDK prints the token');
    assert.deepEqual(mail.sends(ada.email), []);
    assert.equal((await postern.decision(id, { until: 'blocked' })).outcome, 'soft_block');
    await postern.newDay('12:00');
    assertOutcome(await postern.mail({ to: ada.email }, { key: 'desk' }), { status: 202, ...FORWARDED });
  });

  it("refuses an agent at the contact's own cap", async () => {
    await postern.newDay('09:00');
    const ada = await postern.person({ preferences: { 'frequency.max_per_day': 1 } });
    assertOutcome(await postern.mail({ to: ada.email }, { key: 'desk' }), { status: 202, ...FORWARDED });
    await postern.setClock(postern.at('11:00'));
    const answer = await postern.mail({ to: ada.email, text: 'another' }, { key: 'desk' });
    assertOutcome(answer, { status: 409, outcome: 'blocked', level: 'soft', code: 'PST-SOFT-FREQUENCY' });
    assertSentence(answer.body.errors[0].message, { code: 'PST-SOFT-FREQUENCY', token: answer.body.postern.override.token });
    assert.equal(mail.sends(ada.email).length, 1);
  });

  it('is 409 only when every blocked recipient can be overridden, else 403 and no token', async () => {
    await postern.newDay('20:00');
    const hours = { hours: { 'mon-fri': '08:00-18:00' } };
    const [a, b, gone] = [await postern.person({ preferences: hours }), await postern.person({ preferences: hours }), await postern.person({ preferences: hours })];
    await postern.optOut(gone.email);
    const soft = await postern.mail({ to: [a.email, b.email] }, { key: 'desk' });
    assert.equal(soft.status, 409);
    assertSendGridRefusal(soft.body, ['personalizations.0.to.0.email', 'personalizations.0.to.1.email']);
    const mixed = await postern.mail({ to: [a.email, gone.email] }, { key: 'desk' });
    assert.equal(mixed.status, 403);
    const alone = await postern.mail({ to: gone.email }, { key: 'desk' });
    assertOutcome(alone, { status: 403, ...OPTED_OUT });
    assertSentence(alone.body.errors[0].message, { code: 'PST-HARD-OPTOUT' });
  });
});

describe('SendGrid: deferred', () => {
  it('keeps an automated mail outside hours: 202, no body, an id, the time; sends it once, later', async () => {
    await postern.newDay('20:00', 'tue');
    const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const opens = postern.at('08:00', 1);
    const answer = await postern.mail({ to: ada.email }, { key: 'bot' });
    const [id] = assertOutcome(answer, { status: 202, outcome: 'deferred', code: 'PST-DEFER-QUIET' });
    assert.equal(answer.body, '');
    assert.match(header(answer, 'X-Message-Id'), /^[A-Za-z0-9_-]{22}$/);
    const releaseAt = header(answer, 'X-Postern-Release-At');
    assert.match(releaseAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    assertSoonAfter(releaseAt, opens);
    assert.deepEqual(mail.sends(ada.email), []);
    assert.equal((await postern.decision(id, { until: 'deferred' })).outcome, 'defer');

    await postern.setClock(new Date(opens.getTime() - 60_000));
    await postern.idle();
    assert.deepEqual(mail.sends(ada.email), [], 'not a minute early');
    await postern.passRelease(releaseAt);
    await waitFor('the released mail at the provider', () => mail.sends(ada.email).length > 0);
    assert.equal(mail.sends(ada.email).length, 1);
    assert.equal(mail.sends(ada.email)[0].json.subject, 'Spring');
    assert.deepEqual(await postern.deferred(ada.id), []);
    const parent = await postern.decision(id);
    assert.equal(parent.children.length, 1);
    const child = await postern.decision(parent.children[0], { until: 'forwarded' });
    assert.equal(child.parent_decision, id);
  });

  it('refuses at once what would expire before it may leave, naming both times', async () => {
    await postern.newDay('20:00', 'fri');
    const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const answer = await postern.mail({ to: ada.email }, { key: 'billing' }); // transactional expires after 12 h, Monday is 60 h away
    assert.equal(answer.status, 403);
    assert.match(header(answer, 'X-Postern-Code'), /EXPIRY/);
    const times = answer.body.errors[0].message.match(/\d{4}-\d\d-\d\dT\d\d:\d\d/g) ?? [];
    assert.equal(times.length, 2, answer.body.errors[0].message);
    assert.deepEqual(await postern.deferred(ada.id), []);
  });
});

describe('SendGrid: some of several blocked', () => {
  it('prunes to, cc and bcc, keeps order and every other byte, and counts in the headers', async () => {
    const people = await Promise.all(Array.from({ length: 6 }, () => postern.subscriber()));
    const [a, b, c, d, e, f] = people.map((one) => one.email);
    for (const one of [b, d, f]) await postern.optOut(one);
    const text = body([{ to: [a, b, c], cc: [d, e], bcc: [f] }]);
    const answer = await postern.raw('POST', SEND, text);
    const ids = assertOutcome(answer, { status: 202, outcome: 'partial' });
    assert.equal(ids.length, 6);
    assert.deepEqual(['Forwarded', 'Blocked', 'Deferred'].map((n) => header(answer, `X-Postern-${n}`)), ['3', '3', '0']);
    assert.equal(answer.text, '');
    const [request] = mail.sends(a);
    assert.equal(header(answer, 'X-Message-Id'), request.answer.headers['X-Message-Id']);
    const [{ to, cc, bcc }] = addresses(request);
    assert.deepEqual({ to, cc }, { to: [a, c], cc: [e] });
    assert.ok(bcc === undefined || bcc.length === 0);
    for (const kept of ['{ "email" : "' + a + '" , "name":"J\\u00fcrgen"}', '"subject":"Gr\\u00fc\\u00dfe \\ud83d\\udc4b"', '"x_unknown":1e2', '"custom_args":{"order":"7"}'])
      assert.ok(request.text.includes(kept), kept);
    const decisions = await Promise.all(ids.map((id) => postern.decision(id)));
    assert.deepEqual(decisions.map((one) => one.result), ['forwarded', 'blocked', 'forwarded', 'blocked', 'forwarded', 'blocked']);
  });

  it('drops a personalization whose every to is blocked, with its cc', async () => {
    const [a, b, c] = (await Promise.all([1, 2, 3].map(() => postern.subscriber()))).map((one) => one.email);
    await postern.optOut(a);
    const answer = await postern.raw('POST', SEND, body([{ to: [a], cc: [b] }, { to: [c] }]));
    assertOutcome(answer, { status: 202, outcome: 'partial' });
    assert.equal(header(answer, 'X-Postern-Forwarded'), '1');
    assert.equal(header(answer, 'X-Postern-Blocked'), '2');
    assert.deepEqual(addresses(mail.sends(c)[0]), [{ to: [c] }]);
    assert.deepEqual(mail.sends(b), []);
  });

  it('forwards some, keeps others: each recipient has its own fate', async () => {
    await postern.newDay('20:00');
    const open = await postern.person();
    const closed = await postern.person({ preferences: { hours: { 'mon-sun': '08:00-18:00' } } });
    const answer = await postern.raw('POST', SEND, body([{ to: [open.email] }, { to: [closed.email] }]), { key: 'bot' });
    assertOutcome(answer, { status: 202, outcome: 'partial' });
    assert.deepEqual(['Forwarded', 'Blocked', 'Deferred'].map((n) => header(answer, `X-Postern-${n}`)), ['1', '0', '1']);
    assert.deepEqual(addresses(mail.sends(open.email)[0]), [{ to: [open.email] }]);
    await postern.passRelease(header(answer, 'X-Postern-Release-At'));
    await waitFor('the kept one', () => mail.sends(closed.email).length === 1);
    assert.deepEqual(addresses(mail.sends(closed.email)[0]), [{ to: [closed.email] }]);
    assert.equal(mail.sends(open.email).length, 1);
  });

  it('refuses the whole when the key wants all or nothing', async () => {
    const [a, b] = [postern.stranger(), postern.stranger()];
    await postern.optOut(b.email);
    const answer = await postern.mail({ to: [a.email, b.email] }, { key: 'strict' });
    assert.equal(answer.status, 403);
    assert.deepEqual(answer.body.errors.map((one) => one.field), ['personalizations.0.to.1.email']);
    assert.deepEqual(mail.sends(a.email), []);
  });
});

describe("SendGrid: the provider's own refusals", () => {
  const rows = { 400: sendgridSays.badRequest(), 401: sendgridSays.unauthorized(), 413: sendgridSays.tooLarge(), 429: sendgridSays.tooMany() };
  for (const [status, behaviour] of Object.entries(rows))
    it(`${status} passes through byte for byte`, async () => {
      const ada = await postern.subscriber();
      mail.when(ada.email, behaviour, 1);
      const answer = await postern.raw('POST', SEND, body([{ to: [ada.email] }]));
      const [id] = assertOutcome(answer, { status: Number(status), outcome: 'refused' });
      const { headers, body: bytes } = mail.sends(ada.email)[0].answer;
      assert.equal(answer.text, bytes);
      for (const [name, value] of Object.entries(headers)) assert.equal(header(answer, name), value, name);
      assert.equal(mail.sends(ada.email).length, 1);
      const decision = await postern.decision(id);
      assert.equal(decision.result, status === '429' ? 'not_sent' : 'refused');
      assert.equal(decision.provider_status, Number(status));
      await postern.unpaused();
    });

  it('a refused mail gives its slot of the cap back', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    mail.when(ada.email, sendgridSays.badRequest(), 3);
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: ada.email })).status, 400);
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: ada.email })).status, 202);
    assert.equal((await postern.mail({ to: ada.email })).status, 403);
  });

  it('as the SDK throws them', async () => {
    const ada = await postern.subscriber();
    mail.when(ada.email, sendgridSays.tooMany(3), 1);
    const answer = await postern.mail({ to: ada.email });
    assert.equal(answer.error.code, 429);
    assert.equal(answer.error.response.body.errors[0].message, 'too many requests');
    assert.equal(header(answer, 'Retry-After'), '3');
    await postern.unpaused();
  });
});

describe('SendGrid: flags and headers', () => {
  it('sandbox_mode is evaluated and forwarded, and counts nothing', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    const gone = await postern.subscriber();
    await postern.optOut(gone.email);
    const sandbox = { mailSettings: { sandboxMode: { enable: true } } };
    for (let i = 0; i < 5; i++) assert.equal((await postern.mail({ to: ada.email, ...sandbox })).status, 200);
    assert.equal((await postern.mail({ to: gone.email, ...sandbox })).status, 403);
    for (let i = 0; i < 3; i++) assert.equal((await postern.mail({ to: ada.email })).status, 202);
    assert.equal(mail.sends(ada.email).length, 8);
  });

  it('sandbox_mode keeps nothing: a decision to wait is told, with 200 and no id', async () => {
    await postern.newDay('20:00', 'tue');
    const ada = await postern.person({ preferences: { hours: { 'mon-fri': '08:00-18:00' } } });
    const answer = await postern.mail({ to: ada.email, mailSettings: { sandboxMode: { enable: true } } }, { key: 'bot' });
    assertOutcome(answer, { status: 200, outcome: 'deferred', code: 'PST-DEFER-QUIET' });
    assert.equal(header(answer, 'X-Message-Id'), undefined);
    assert.equal(answer.body, '');
    assert.deepEqual(await postern.deferred(ada.id), []);
    await postern.passRelease(header(answer, 'X-Postern-Release-At'));
    await postern.idle();
    assert.deepEqual(mail.sends(ada.email), []);
  });

  for (const type of ['application/json', 'Application/JSON; charset=utf-8', 'application/json;charset="UTF-8"'])
    it(`takes Content-Type: ${type}, and sends it on as it came`, async () => {
      const ada = await postern.subscriber();
      const answer = await postern.raw('POST', SEND, body([{ to: [ada.email] }]), { headers: { 'Content-Type': type } });
      assert.equal(answer.status, 202, answer.text);
      assert.equal(mail.sends(ada.email)[0].headers['content-type'], type);
    });

  it('refuses another media type, and says which it wants', async () => {
    const answer = await postern.raw('POST', SEND, body([{ to: ['a@mail.example'] }]), { headers: { 'Content-Type': 'text/plain' } });
    assert.equal(answer.status, 415);
    assert.match(JSON.parse(answer.text).errors[0].message, /application\/json/);
  });

  for (const flag of ['bypass_list_management', 'bypass_unsubscribe_management'])
    it(`${flag} cannot lift an opt-out, and does not reach the provider`, async () => {
      const [ada, gone] = [await postern.subscriber(), await postern.subscriber()];
      await postern.optOut(gone.email);
      const extra = `,"mail_settings":{"${flag}":{"enable":true},"footer":{"enable":false}}`;
      assertOutcome(await postern.raw('POST', SEND, body([{ to: [gone.email] }], extra)), { status: 403, ...OPTED_OUT });
      const passed = await postern.raw('POST', SEND, body([{ to: [ada.email] }], extra));
      assert.equal(passed.status, 202);
      const settings = mail.sends(ada.email)[0].json.mail_settings;
      assert.notEqual(settings[flag]?.enable, true);
      assert.deepEqual(settings.footer, { enable: false });
    });

  it('strips X-Postern-* from headers and postern_* from custom_args, everywhere, and nothing else', async () => {
    const ada = await postern.person();
    const answer = await postern.mail(
      {
        personalizations: [{ to: ada.email, headers: { 'x-postern-override': 'ovr_secret1', 'X-Keep': '2' }, customArgs: { postern_override: 'ovr_secret2', order: '9' } }],
        headers: { 'X-Postern-Category': 'invoice', 'X-Keep': '1' },
        customArgs: { postern_note: 'ovr_secret3', campaign: 'spring' },
      },
      { key: 'billing' },
    );
    assert.equal(answer.status, 202, JSON.stringify(answer.body));
    const [request] = mail.sends(ada.email);
    assert.doesNotMatch(request.text + request.rawHeaders.join(), /postern|ovr_secret/i);
    assert.deepEqual(request.json.headers, { 'X-Keep': '1' });
    assert.deepEqual(request.json.custom_args, { campaign: 'spring' });
    assert.deepEqual(request.json.personalizations[0].headers, { 'X-Keep': '2' });
    assert.deepEqual(request.json.personalizations[0].custom_args, { order: '9' });
  });

  it('takes the category from X-Postern-Category', async () => {
    const ada = await postern.person();
    assert.equal((await postern.mail({ to: ada.email })).status, 403, 'a newsletter needs consent');
    assert.equal((await postern.mail({ to: ada.email, headers: { 'X-Postern-Category': 'invoice' } })).status, 202);
  });
});

describe('SendGrid: bad input is refused in its own words, and nothing is sent', () => {
  const address = 'nobody.bad@mail.example';
  const good = () => body([{ to: [address] }]);
  const rows = [
    ['malformed JSON, with the position', () => good().replace('"subject":', '"subject"'), /(byte|position|offset|line|at) ?\d+|\d+/],
    ['a duplicate key', () => good().replace('"subject"', '"personalizations":[],"subject"'), /duplicate|twice|second time/i],
    ['a duplicate key spelt with an escape', () => good().replace('"subject"', '"\\u0066rom":{"email":"x@y.example"},"subject"'), /duplicate|twice|second time/i],
    ['bytes that are no UTF-8', () => Buffer.from(good().replace('Hello', 'H\xffllo'), 'latin1'), /UTF-8/i],
    ['depth over 64', () => good().replace('"x_unknown":1e2', `"x_unknown":${'['.repeat(70)}${']'.repeat(70)}`), /deep|depth|nest/i],
    ['a byte order mark', () => `\ufeff${good()}`, /byte order mark/],
    ['trailing junk', () => `${good()}{}`, /\d+/],
    ['an array instead of an object', () => '[]', /object/i],
    ['an empty body', () => '', /./],
    ['no personalizations', () => body([]), /personalization/i],
    ['a personalization without to', () => body([{ cc: [address] }]), /\bto\b/],
    ['an empty to', () => body([{ to: [] }]), /\bto\b/],
    ['an address that is none', () => body([{ to: ['nobody.bad@'] }]), /address|valid/i],
    ['an address with a control character', () => body([{ to: ['nobody.bad@mail.example\\r\\nBcc: x@y.example'] }]), /address|valid|control/i],
    ['one address twice in a personalization', () => body([{ to: [address], cc: [address.toUpperCase()] }]), /once|unique|twice|duplicate/i],
    ['a send_at beyond 72 hours', () => body([{ to: [address] }], `,"send_at":${Math.floor(postern.now / 1000) + 73 * 3600}`), /72 hours/],
  ];
  for (const [name, bytes, says] of rows)
    it(name, async () => {
      const sent = mail.requests.length;
      const answer = await postern.raw('POST', SEND, bytes(), { key: 'billing' });
      assert.equal(answer.status, 400, answer.text);
      assert.match(header(answer, 'Content-Type'), /^application\/json/);
      const { errors } = JSON.parse(answer.text);
      assert.match(errors[0].message, says);
      assert.ok('field' in errors[0] && 'help' in errors[0]);
      assert.equal(mail.requests.length, sent, 'nothing left');
    });

  it('names the field of a bad address', async () => {
    const answer = await postern.raw('POST', SEND, body([{ to: ['fine.one@mail.example'], cc: ['fine.two@mail.example', 'bad'] }]), { key: 'billing' });
    assert.equal(JSON.parse(answer.text).errors[0].field, 'personalizations.0.cc.1.email');
  });

  it('an unknown category, and one that is not bound to the key', async () => {
    const sent = mail.requests.length;
    for (const category of ['no-such', 'helpdesk']) {
      const answer = await postern.mail({ to: address, headers: { 'X-Postern-Category': category } });
      assert.equal(answer.status, 400);
      assert.match(answer.body.errors[0].message, new RegExp(category));
      assert.equal(answer.body.errors[0].field, 'X-Postern-Category');
    }
    assert.equal(mail.requests.length, sent);
  });

  it("a wrong key, and none, get the provider's own 401", async () => {
    const sent = mail.requests.length;
    const expected = { errors: [{ message: 'The provided authorization grant is invalid, expired, or revoked', field: null, help: null }] };
    const answer = await postern.mail({ to: address }, { key: 'SG.wrong.0123456789abcdef0123456789abcdef' });
    assert.equal(answer.error.code, 401);
    assert.deepEqual(answer.body.errors, expected.errors);
    const bare = await fetch(`${postern.url}${SEND}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: good() });
    assert.equal(bare.status, 401);
    assert.deepEqual((await bare.json()).errors, expected.errors);
    const admin = await postern.raw('POST', SEND, good(), { key: 'admin' });
    assert.ok([401, 403].includes(admin.status), 'an admin key is no sender');
    assert.equal(mail.requests.length, sent);
  });
});

describe('SendGrid: scheduled sends', () => {
  it('holds a send_at itself and sends at that time, without the field', async () => {
    await postern.newDay('09:00');
    const ada = await postern.subscriber();
    const at = postern.at('11:00');
    const answer = await postern.mail({ to: ada.email, sendAt: at / 1000 });
    assertOutcome(answer, { status: 202, outcome: 'deferred' });
    assertSoonAfter(header(answer, 'X-Postern-Release-At'), at);
    await postern.optOut((await postern.subscriber()).email); // something else happens meanwhile
    assert.deepEqual(mail.sends(ada.email), []);
    await postern.passRelease(header(answer, 'X-Postern-Release-At'));
    await waitFor('the scheduled mail', () => mail.sends(ada.email).length === 1);
    assert.equal(mail.sends(ada.email)[0].json.send_at, undefined);
  });

  it('keeps a mail of 20 MB for two recipients, and sends each a copy of it', async () => {
    await postern.reconfigure((settings) => settings.providers.forEach((one) => one.kind === 'sendgrid' && (one.total_ms = 30_000)));
    await postern.newDay('09:00');
    const [ada, bob] = [await postern.subscriber(), await postern.subscriber()];
    const at = postern.at('11:00');
    const attachments = [{ content: Buffer.alloc(15_000_000, 'x').toString('base64'), filename: 'x.bin' }];
    const answer = await postern.mail({ to: [ada.email, bob.email], sendAt: at / 1000, attachments });
    assertOutcome(answer, { status: 202, outcome: 'deferred' });
    await postern.passRelease(header(answer, 'X-Postern-Release-At'));
    for (const one of [ada, bob]) {
      await waitFor('the large mail', () => mail.sends(one.email).length === 1, { deadline: 30_000 });
      assert.deepEqual(addresses(mail.sends(one.email)[0]), [{ to: [one.email] }]);
      assert.equal(mail.sends(one.email)[0].json.attachments[0].content.length, attachments[0].content.length);
    }
  });

  it('drops a send_at in the past and sends at once', async () => {
    await postern.newDay('12:00');
    const ada = await postern.subscriber();
    assertOutcome(await postern.mail({ to: ada.email, sendAt: postern.at('11:00') / 1000 }), { status: 202, ...FORWARDED });
    const request = mail.sends(ada.email)[0];
    assert.ok(request.json.send_at === undefined || request.json.send_at <= postern.now / 1000);
  });

  it('obeys the cancelling of a batch for what Postern keeps, and passes the call on', async () => {
    await postern.newDay('09:00');
    const ada = await postern.subscriber();
    const { client } = postern.sendgrid();
    const [, { batch_id: batch }] = await client.request({ method: 'POST', url: '/v3/mail/batch' });
    const answer = await postern.mail({ to: ada.email, batchId: batch, sendAt: postern.at('15:00') / 1000 });
    assertOutcome(answer, { status: 202, outcome: 'deferred' });
    const [cancelled, said] = await client.request({ method: 'POST', url: '/v3/user/scheduled_sends', body: { batch_id: batch, status: 'cancel' } });
    assert.equal(cancelled.statusCode, 201);
    assert.deepEqual(said, { batch_id: batch, status: 'cancel' });
    assert.equal(mail.requests.filter((r) => r.path === '/v3/user/scheduled_sends' && r.json.batch_id === batch).length, 1);
    assert.deepEqual(await postern.deferred(ada.id), []);
    await postern.passRelease(postern.at('15:00'));
    await postern.idle();
    assert.deepEqual(mail.sends(ada.email), []);
    await postern.decision(decisionIds(answer)[0]);
  });

  it('pauses a batch past its time and resumes it', async () => {
    await postern.newDay('09:00');
    const ada = await postern.subscriber();
    const { client } = postern.sendgrid();
    const [, { batch_id: batch }] = await client.request({ method: 'POST', url: '/v3/mail/batch' });
    await postern.mail({ to: ada.email, batchId: batch, sendAt: postern.at('10:00') / 1000 });
    await client.request({ method: 'POST', url: '/v3/user/scheduled_sends', body: { batch_id: batch, status: 'pause' } });
    await postern.passRelease(postern.at('10:00'));
    await postern.idle();
    assert.deepEqual(mail.sends(ada.email), []);
    const [resumed] = await client.request({ method: 'DELETE', url: `/v3/user/scheduled_sends/${batch}` });
    assert.equal(resumed.statusCode, 204);
    await waitFor('the resumed mail', () => mail.sends(ada.email).length === 1);
  });
});
