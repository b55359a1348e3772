// docs/openapi.yaml against the running server: the document is valid OpenAPI 3.1, lists every route of the router's
// tables and nothing else, each of its operations is served, and each answer of the native API has the status, media
// type and schema that it promises.  The one idea: every exchange below goes through `ask`, which judges it by the
// document; what a test adds is the case.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Validator } from '@seriousme/openapi-schema-validator';
import formats from 'ajv-formats';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { header } from './expect.mjs';
import { startHouse, waitFor } from './harness.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (file) => readFile(path.join(ROOT, file), 'utf8');
const METHODS = ['get', 'put', 'post', 'patch', 'delete'];
const NATIVE = '/postern/v1/';

const document = parse(await read('docs/openapi.yaml'), { merge: true });
const ajv = new Ajv2020({ strict: false, allErrors: true });
formats.default(ajv);
ajv.addSchema(document, 'openapi');

const pointer = (...steps) => `openapi#/${steps.map((one) => encodeURIComponent(String(one).replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;
const operations = Object.entries(document.paths).flatMap(([at, item]) => METHODS.filter((method) => item[method]).map((method) => ({ at, method, operation: item[method] })));

/** The path of the document that this target is one of; fixed segments before parameters. */
function pathOf(target) {
  const { pathname } = new URL(target, 'http://x');
  const fits = (at) => new RegExp(`^${at.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(pathname);
  return Object.keys(document.paths).filter(fits).sort((a, b) => a.split('{').length - b.split('{').length)[0];
}

/** A response object of the document and where it stands, references followed. */
function responseOf(at, method, status) {
  const found = document.paths[at][method].responses[status];
  assert.ok(found, `${method} ${at}: the document knows no answer ${status}`);
  if (!found.$ref) return { response: found, where: ['paths', at, method, 'responses', status] };
  const where = found.$ref.slice(2).split('/');
  return { response: where.reduce((node, step) => node[step], document), where };
}

/** Judge an answer by the document. */
function judge(at, method, { status, headers, body }) {
  const { response, where } = responseOf(at, method, status);
  for (const [name, { required, schema }] of Object.entries(response.headers ?? {})) {
    if (required) assert.ok(headers.has(name), `${method} ${at} ${status}: ${name}`);
    if (headers.has(name) && schema.enum) assert.ok(schema.enum.includes(headers.get(name)), `${name}: ${headers.get(name)}`);
    if (headers.has(name) && schema.const) assert.equal(headers.get(name), schema.const, name);
  }
  if (!response.content) return;
  const type = (headers.get('content-type') ?? '').split(';')[0];
  assert.ok(response.content[type], `${method} ${at} ${status}: the document knows no ${type}`);
  const valid = ajv.getSchema(pointer(...where, 'content', type, 'schema'));
  assert.ok(valid, `${where.join(' ')}: a schema`);
  assert.ok(valid(body), `${method} ${at} ${status}: ${ajv.errorsText(valid.errors)}\n${JSON.stringify(body, null, 1)}`);
}

describe('the document', () => {
  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors, null, 1));
    assert.equal(validator.version, '3.1');
  });

  it('has every route of the native API and no other', async () => {
    const rows = [...(await read('gateway/api.c')).matchAll(/\{HTTP_([A-Z]+), "([^"]+)", [A-Z_]+, api_\w+\}/g)].map(([, method, at]) => `${method} ${NATIVE}${at}`);
    assert.ok(rows.length >= 12, 'the router\'s table was read');
    const said = operations.filter(({ at }) => at.startsWith(NATIVE) && !at.startsWith(`${NATIVE}callbacks/`)).map(({ at, method }) => `${method.toUpperCase()} ${at}`);
    assert.deepEqual(said.sort(), rows.sort());
  });

  it('has health and metrics, as the gateway routes them', async () => {
    const table = /operations\[\] = \{(.*?)\n\};/s.exec(await read('gateway/gateway_requests.c'))[1];
    const rows = [...table.matchAll(/\{"([^"]+)"/g)].map(([, at]) => at);
    assert.deepEqual(rows.sort(), operations.filter(({ operation, at }) => operation.tags[0] === 'operations' && !at.startsWith(NATIVE)).map(({ at }) => at).sort());
  });

  it('has the members that each body may have, as its reader knows them', async () => {
    const bodies = {
      api_clock: ['/postern/v1/test/clock', 'put'],
      api_consents: ['/postern/v1/contacts/{id}/consents', 'post'],
      api_contact_change: ['/postern/v1/contacts/{id}', 'put'],
      api_decisions: ['/postern/v1/decisions', 'post'],
      api_opt_outs: ['/postern/v1/opt-outs', 'post'],
      api_overrides: ['/postern/v1/overrides/{id}', 'post'],
    };
    for (const [file, [at, method]] of Object.entries(bodies)) {
      const [, list] = /\bmembers\[\] = \{([^}]*)\}/.exec(await read(`gateway/${file}.c`));
      const { schema } = document.paths[at][method].requestBody.content['application/json'];
      const said = schema.$ref ? schema.$ref.slice(2).split('/').reduce((node, step) => node[step], document) : schema;
      assert.deepEqual(Object.keys(said.properties).sort(), [...list.matchAll(/"([^"]+)"/g)].map(([, name]) => name).sort(), file);
    }
  });

  it('says which roles a call needs, as the router does', async () => {
    const roles = { ANYBODY: undefined, ANY_KEY: ['sender', 'agent', 'admin'], STAFF: ['agent', 'admin'], ROLE_ADMIN: ['admin'] };
    for (const [, method, at, who] of (await read('gateway/api.c')).matchAll(/\{HTTP_([A-Z]+), "([^"]+)", ([A-Z_]+), api_\w+\}/g))
      assert.deepEqual(document.paths[NATIVE + at][method.toLowerCase()]['x-postern-roles'], roles[who], `${method} ${at}`);
  });
});

describe('the server', () => {
  let house, postern, ada;
  const answered = new Set();

  before(async () => {
    house = await startHouse();
    ({ postern } = house);
    ada = await postern.subscriber({
      zone: 'America/Chicago',
      language: 'en',
      account: 'acme',
      preferences: { hours: { 'mon-fri': ['08:00-11:00', '13:00-20:00'], sat: '09:00-12:00' }, 'channel.never': ['voice'], 'frequency.max_per_day': 9 },
      by_channel: { sms: { 'frequency.max_per_day': 8 } },
    });
  });
  after(() => house.end());

  /** One call, judged by the document: its body. */
  async function ask(method, target, body, { status, ...options } = {}) {
    const answer = await postern.call(method, target, body, options);
    const at = pathOf(target);
    assert.ok(at, `the document has no path for ${target}`);
    if (status) assert.equal(answer.status, status, JSON.stringify(answer.body));
    judge(at, method.toLowerCase(), answer);
    answered.add(`${method} ${at} ${answer.status}`);
    return answer.body;
  }

  it('serves each operation', async () => {
    const sample = { DecisionId: 'dec_0000000000000001', DeferredId: 'def_0000000000000001' };
    for (const { at, method, operation } of operations) {
      const target = at.replace('{AccountSid}', 'AC00000000000000000000000000000001').replace('{Sid}', `SM${'0'.repeat(32)}`).replace('{domain}', 'mg.shop.example')
        .replaceAll(/\{\w+\}/g, at.includes('deferred') ? sample.DeferredId : sample.DecisionId);
      const answer = await postern.call(method.toUpperCase(), target, operation.requestBody ? '{' : undefined, { key: operation['x-postern-roles'] ? null : 'admin' });
      assert.notEqual(answer.status, 405, `${method} ${at}`);
      if (operation['x-postern-roles']) assert.equal(answer.status, 401, `${method} ${at} without a key`);
      judge(at, method, answer);
    }
  });

  it('contacts', async () => {
    await ask('GET', `/postern/v1/contacts/${ada.id}?history=1`, undefined, { status: 200 });
    await ask('GET', '/postern/v1/contacts/nobody', undefined, { status: 404 });
    await ask('GET', `/postern/v1/contacts/${ada.id}`, undefined, { key: 'shop', status: 403 });
    await ask('PUT', '/postern/v1/contacts/new-1', { zone: 'UTC' }, { status: 201 });
    await ask('PUT', '/postern/v1/contacts/new-1', { zone: 'Europe/Paris', source: 'sync', system: 'crm' }, { status: 200 });
    await ask('PUT', '/postern/v1/contacts/new-1', { language: 'fr' }, { key: 'shop', status: 200 });
    await ask('PUT', '/postern/v1/contacts/new-1', { zone: 'Mars/Phobos' }, { status: 400 });
    await ask('PUT', '/postern/v1/contacts/new-1', { addresses: { email: [ada.email] } }, { status: 409 });
    await ask('PUT', '/postern/v1/contacts/new-1', { zone: 'UTC', source: 'agent' }, { key: 'shop', status: 403 });
    await ask('PUT', '/postern/v1/contacts/new-1', '<x/>', { headers: { 'Content-Type': 'text/xml' }, status: 415 });
    await ask('PUT', '/postern/v1/contacts/new-1', JSON.stringify({ account: 'x'.repeat(3 << 20) }), { status: 413 });
    await ask('GET', '/postern/v1/contacts/new-1', undefined, { status: 200 });
  });

  it('consents', async () => {
    const consent = { channel: 'email', category: 'newsletter', source: 'customer' };
    await ask('PUT', '/postern/v1/contacts/new-2', { addresses: { email: ['two@mail.example'] } });
    await ask('POST', '/postern/v1/contacts/new-2/consents', { ...consent, state: 'granted', basis: 'form' }, { status: 201 });
    await ask('POST', '/postern/v1/contacts/new-2/consents', { ...consent, state: 'revoked' }, { status: 201 });
    await ask('POST', '/postern/v1/contacts/new-2/consents', { ...consent, state: 'granted', basis: 'form' }, { status: 202 });
    await ask('POST', '/postern/v1/contacts/new-2/consents', { ...consent, state: 'granted', basis: 'list', source: 'import' }, { status: 409 });
    await ask('POST', '/postern/v1/contacts/new-2/consents', { ...consent, state: 'maybe' }, { status: 400 });
    await ask('POST', '/postern/v1/contacts/nobody/consents', { ...consent, state: 'revoked' }, { status: 404 });
    await ask('GET', '/postern/v1/contacts/new-2', undefined, { status: 200 });
  });

  it('opt-outs', async () => {
    const bob = await postern.subscriber();
    const optOut = { address: bob.email, source: 'customer', reason: 'page' };
    await ask('POST', '/postern/v1/opt-outs', { ...optOut, scope: 'global' }, { status: 201 });
    await ask('POST', '/postern/v1/opt-outs', { ...optOut, scope: 'topic', topic: 'cats' }, { status: 201 });
    await ask('POST', '/postern/v1/opt-outs', { contact: bob.id, scope: 'channel', channel: 'sms', source: 'agent' }, { status: 201 });
    await ask('POST', '/postern/v1/opt-outs', { ...optOut, scope: 'universe' }, { status: 400 });
    await ask('POST', '/postern/v1/opt-outs', { ...optOut, scope: 'global', contact: bob.id }, { status: 400 });
    await ask('POST', '/postern/v1/opt-outs', { contact: 'nobody', scope: 'global', source: 'customer' }, { status: 404 });
    await ask('POST', '/postern/v1/opt-outs', { ...optOut, scope: 'global', source: 'organisation' }, { key: 'shop', status: 403 });
    await ask('GET', `/postern/v1/contacts/${bob.id}`, undefined, { status: 200 });
  });

  it('dry runs', async () => {
    await ask('POST', '/postern/v1/decisions', { to: ada.phone, category: 'newsletter' }, { status: 200 });
    await ask('POST', '/postern/v1/decisions', { to: ada.email, category: 'helpdesk', sender_kind: 'agent', at: '2031-06-01T03:00:00Z', language: 'de' }, { status: 200 });
    await ask('POST', '/postern/v1/decisions', { to: ada.email, category: 'invoice', content: { subject: 'Bill', text: 'Hello', html: '<p>Hello</p>' } }, { status: 200 });
    await ask('POST', '/postern/v1/decisions', { to: 'nobody@mail.example' }, { key: 'shop', status: 200 });
    await ask('POST', '/postern/v1/decisions', { to: 'no address' }, { status: 400 });
  });

  it('decisions of every outcome, and what waits', async () => {
    await postern.newDay('15:00', 'tue');
    const forwarded = await postern.mail({ to: ada.email });
    const blocked = await postern.mail({ to: postern.stranger().email });
    await postern.newDay('22:00', 'tue');
    const kept = await postern.sms({ to: ada.phone });
    const soft = await postern.mail({ to: ada.email }, { key: 'desk' });
    const id = (answer) => header(answer, 'X-Postern-Decision-Id');
    await postern.decision(id(forwarded));
    for (const [answer, outcome] of [[forwarded, 'forward'], [blocked, 'block'], [kept, 'defer'], [soft, 'soft_block']])
      assert.equal((await ask('GET', `/postern/v1/decisions/${id(answer)}`, undefined, { status: 200 })).outcome, outcome);
    await ask('GET', '/postern/v1/decisions/dec_00000000000000ff', undefined, { status: 404 });

    const { deferred } = await ask('GET', `/postern/v1/deferred?contact=${ada.id}&limit=1`, undefined, { status: 200 });
    await ask('GET', '/postern/v1/deferred?state=gone', undefined, { status: 400 });
    await ask('POST', `/postern/v1/deferred/${deferred[0].id}/release`, undefined, { status: 200 });
    await waitFor('the release decided again', async () => (await ask('GET', `/postern/v1/decisions/${id(kept)}`)).children.length === 1);
    const again = await waitFor('the message waiting again', async () => (await ask('GET', `/postern/v1/deferred?contact=${ada.id}`)).deferred.find((one) => one.state === 'waiting'));
    await ask('POST', `/postern/v1/deferred/${again.id}/cancel`, undefined, { status: 200 });
    await ask('POST', `/postern/v1/deferred/${again.id}/cancel`, undefined, { status: 409 });
    await ask('POST', '/postern/v1/deferred/def_00000000000000ff/release', undefined, { status: 404 });
    await ask('GET', `/postern/v1/deferred?id=${again.id}`, undefined, { status: 200 });

    const override = { token: 'ovr_0123456789abcdef', agent: 'eve', justification: 'the customer asked for it by phone' };
    await ask('POST', `/postern/v1/overrides/${id(soft)}`, override, { status: 501 });
    await ask('POST', `/postern/v1/overrides/${id(forwarded)}`, override, { status: 409 });
    await ask('POST', `/postern/v1/overrides/${id(soft)}`, { ...override, justification: 'short' }, { status: 400 });
    await ask('POST', '/postern/v1/overrides/dec_00000000000000ff', override, { status: 404 });
  });

  it('the sandbox, the clock, health and metrics', async () => {
    await ask('GET', '/postern/v1/sandbox/messages?limit=5', undefined, { status: 200 });
    await ask('GET', '/postern/v1/sandbox/messages?limit=0', undefined, { status: 400 });
    await ask('PUT', '/postern/v1/test/clock', { now: 'noon' }, { status: 400 });
    await ask('PUT', '/postern/v1/test/clock', { now: postern.now.toISOString() }, { status: 200 });
    for (const target of ['/healthz', '/readyz', '/metrics']) await ask('GET', target, undefined, { key: null, status: 200 });
  });

  it('refusals and blocks in the providers\' shapes', async () => {
    for (const [at, answer] of [
      ['/v3/mail/send', await postern.call('POST', '/v3/mail/send', '{}', { key: 'shop' })],
      ['/v3/mail/send', await postern.call('POST', '/v3/mail/send', { personalizations: [{ to: [{ email: 'nobody@mail.example' }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'x' }] }, { key: 'shop' })],
    ])
      judge(at, 'post', answer);
    const at = '/2010-04-01/Accounts/{AccountSid}/Messages.json';
    const once = { personalizations: [{ to: [{ email: ada.email }] }], from: { email: 'a@shop.example' }, subject: 's', content: [{ type: 'text/plain', value: 'x' }] };
    for (const [subject, status, replayed] of [['one', 202, null], ['one', 202, 'true'], ['two', 422, null]]) {
      const answer = await postern.call('POST', '/v3/mail/send', { ...once, subject }, { key: 'billing', headers: { 'Idempotency-Key': 'k-1' } });
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get('Postern-Replayed'), replayed);
      judge('/v3/mail/send', 'post', answer);
    }
    const mailgun = await postern.raw('POST', '/v3/mg.shop.example/messages', 'from=a@shop.example&to=b@x.test', { key: 'shop', headers: { 'Content-Type': 'application/x-www-form-urlencoded' } });
    judge('/v3/{domain}/messages', 'post', { ...mailgun, body: JSON.parse(mailgun.text) });
    const raw = await postern.raw('POST', `/2010-04-01/Accounts/AC${'0'.repeat(31)}1/Messages.json`, 'To=+12125550100&From=%2B12125550199&Body=x', { key: 'shop-sms' });
    judge(at, 'post', { ...raw, body: JSON.parse(raw.text) });
  });

  it('gave every success that the document promises for the native API', () => {
    const promised = operations
      .filter(({ at, operation }) => (at.startsWith(NATIVE) && !at.includes('/callbacks/')) || operation.tags[0] === 'operations')
      .flatMap(({ at, method, operation }) => Object.keys(operation.responses).filter((status) => status < 300).map((status) => `${method.toUpperCase()} ${at} ${status}`));
    assert.deepEqual(promised.filter((one) => !answered.has(one)), []);
  });
});
