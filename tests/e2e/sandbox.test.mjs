// The built-in sandbox: the provider of the first hour, its messages by API and on a page that works without
// JavaScript, by keyboard and for screen readers.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { chromium } from 'playwright-core';
import { FORWARDED, OPTED_OUT, assertOutcome, header } from './expect.mjs';
import { OUT, Postern } from './harness.mjs';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
let postern;

before(async () => {
  postern = await Postern.start();
});
after(() => postern.stop());

const messages = async () => (await postern.api('GET', '/postern/v1/sandbox/messages')).messages;

describe('the sandbox', () => {
  it("answers as the provider would, and keeps what would have been sent", async () => {
    const ada = await postern.subscriber();
    const mail = await postern.mail({ to: ada.email, subject: 'Spring & <b>summer</b>' });
    assertOutcome(mail, { status: 202, ...FORWARDED });
    assert.match(header(mail, 'X-Message-Id'), /^[A-Za-z0-9_-]{22}$/);
    const sms = await postern.sms({ to: ada.phone });
    assertOutcome(sms, { status: 201, ...FORWARDED });
    assert.match(sms.message.sid, /^SM[0-9a-f]{32}$/);
    const all = await messages();
    const one = all.find((m) => m.to === ada.email);
    assert.equal(one.channel, 'email');
    assert.equal(one.subject, 'Spring & <b>summer</b>');
    assert.equal(one.text, 'Hello from the shop');
    assert.equal(one.category, 'newsletter');
    assert.equal(one.decision_id, header(mail, 'X-Postern-Decision-Id'));
    const two = all.find((m) => m.to === ada.phone);
    assert.equal(two.channel, 'sms');
    assert.equal(two.text, 'Hello from the shop');
    assert.ok(all.indexOf(two) < all.indexOf(one), 'newest first');
  });

  it('keeps nothing of what was blocked', async () => {
    const ada = await postern.subscriber();
    await postern.optOut(ada.email);
    assertOutcome(await postern.mail({ to: ada.email }), { status: 403, ...OPTED_OUT });
    assert.ok(!(await messages()).some((m) => m.to === ada.email));
  });

  it('keeps its messages over a restart', async () => {
    const before = await messages();
    await postern.restart();
    assert.deepEqual(await messages(), before);
  });

  it('its API needs a key', async () => {
    assert.equal((await postern.call('GET', '/postern/v1/sandbox/messages', undefined, { key: null })).status, 401);
  });
});

describe('the page at /sandbox', () => {
  let browser;
  before(async () => {
    await mkdir(OUT, { recursive: true });
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
  });
  after(() => browser?.close());

  async function open(target, options = {}) {
    const page = await (await browser.newContext(options)).newPage();
    const complaints = [];
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()}`));
    const answer = await page.goto(postern.url + target);
    assert.equal(answer.status(), 200);
    return { page, answer, complaints };
  }

  /** axe runs in a context of its own beside the page, past the page's own Content-Security-Policy. */
  async function assertAccessible(target, options) {
    const { page, complaints } = await open(target, { bypassCSP: true, ...options });
    await page.addScriptTag({ path: AXE });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map((v) => [v.id, v.nodes.map((n) => n.html)]), []);
    assert.deepEqual(complaints, []);
    await page.context().close();
  }

  it('shows what was sent, escaped, without JavaScript', async () => {
    const ada = await postern.subscriber();
    const subject = '<script>document.title="owned"</script>Grüße';
    await postern.mail({ to: ada.email, subject });
    const { page, answer, complaints } = await open('/sandbox', { javaScriptEnabled: false });
    assert.ok((await page.textContent('body')).includes(subject));
    assert.ok((await page.textContent('body')).includes(ada.email));
    assert.match(answer.headers()['content-type'], /^text\/html; *charset=utf-8/i);
    assert.match(answer.headers()['content-security-policy'] ?? '', /default-src|script-src/);
    assert.deepEqual(complaints, []);
    await page.screenshot({ path: path.join(OUT, 'sandbox.png'), fullPage: true });
    await page.getByText(subject).first().click();
    assert.ok((await page.textContent('body')).includes('Hello from the shop'), 'the message itself is one click away');
    await page.screenshot({ path: path.join(OUT, 'sandbox-message.png'), fullPage: true });
    await page.context().close();
    const scripted = await open('/sandbox');
    assert.notEqual(await scripted.page.title(), 'owned');
    assert.deepEqual(scripted.complaints, []);
    await scripted.page.context().close();
  });

  it('has no accessibility violations, light, dark and on a phone', async () => {
    await assertAccessible('/sandbox');
    await assertAccessible('/sandbox', { colorScheme: 'dark' });
    await assertAccessible('/sandbox', { viewport: { width: 360, height: 640 } });
    await assertAccessible('/');
  });

  it('does not scroll sideways on a phone', async () => {
    const { page } = await open('/sandbox', { viewport: { width: 360, height: 640 } });
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(wide <= room, `${wide} > ${room}`);
    await page.screenshot({ path: path.join(OUT, 'sandbox-phone.png'), fullPage: true });
    await page.context().close();
  });

  it('says so when there is nothing yet', async () => {
    const fresh = await Postern.start();
    const answer = await fetch(`${fresh.url}/sandbox`);
    assert.equal(answer.status, 200);
    assert.match(await answer.text(), /no messages|nothing/i);
    await fresh.stop();
  });
});

describe('pages that answers link to', () => {
  it('explain every code that an answer can carry, and the override link', async () => {
    const postern = await Postern.start();
    try {
      for (const code of [7740000, 7740001, 7740300, 7740301, 7740302, 7740303, 7740310, 7740900, 7740901, 7740902, 7740903, 7740904, 7740910, 7741300, 7741500, 7750300, 7750301]) {
        const answer = await fetch(`${postern.url}/docs/codes/${code}`);
        assert.equal(answer.status, 200, String(code));
        assert.match(await answer.text(), /PST-[A-Z]/);
      }
      assert.equal((await fetch(`${postern.url}/docs/codes/21610`)).status, 404);
      assert.equal((await fetch(`${postern.url}/docs/codes/7740902`, { method: 'POST' })).status, 405);
      assert.equal((await fetch(`${postern.url}/o/dec_0000010000000001`)).status, 200);
      assert.equal((await fetch(`${postern.url}/o/x`)).status, 404);
    } finally {
      await postern.stop();
    }
  });
});
