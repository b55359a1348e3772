// What the documentation promises of every answer, said once: the X-Postern-* headers, the decision object, the
// sentence for people, the shapes of refusals.
import assert from 'node:assert/strict';

export const DECISION_ID = /^dec_[0-9a-f]{16,}$/;
export const TOKEN = /ovr_[A-Za-z0-9_.-]{16,}/;

/** A header of an SDK's answer (a plain object) or of fetch's (Headers). */
export function header(answer, name) {
  const { headers } = answer;
  return (typeof headers.get === 'function' ? headers.get(name) : headers[name.toLowerCase()]) ?? undefined;
}

/** The decision ids of an answer, one for each recipient in order. */
export function decisionIds(answer) {
  const ids = (header(answer, 'X-Postern-Decision-Id') ?? '').split(/, ?/);
  for (const id of ids) assert.match(id, DECISION_ID, 'X-Postern-Decision-Id');
  return ids;
}

/** The headers that every answer carries.  code is exact, level and outcome words as documented. */
export function assertOutcome(answer, { status, outcome, level, code }) {
  assert.equal(answer.status, status, `status; ${header(answer, 'X-Postern-Code')}: ${JSON.stringify(answer.error?.response?.body ?? answer.error?.message)}`);
  assert.equal(header(answer, 'X-Postern-Outcome'), outcome, 'X-Postern-Outcome');
  if (level) assert.equal(header(answer, 'X-Postern-Level'), level, 'X-Postern-Level');
  if (code) assert.equal(header(answer, 'X-Postern-Code'), code, 'X-Postern-Code');
  return decisionIds(answer);
}

export const FORWARDED = { outcome: 'forwarded', level: 'none', code: 'PST-NONE' };
export const OPTED_OUT = { outcome: 'blocked', level: 'hard', code: 'PST-HARD-OPTOUT' };

/** The decision object of a body, for a message that was blocked. */
export function assertDecisionObject(postern, { code, level, recipient }) {
  assert.match(postern.decision_id, DECISION_ID);
  assert.equal(postern.outcome, 'blocked');
  assert.equal(postern.level, level);
  assert.equal(postern.code, code);
  assert.equal(postern.recipient, recipient);
  assert.ok(postern.reason.length > 0, 'a reason');
  if (level === 'soft') assertOverride(postern.override);
  else assert.equal(postern.override?.allowed ?? false, false, 'a hard block offers no override');
}

function assertOverride(override) {
  assert.equal(override.allowed, true);
  assert.match(override.token, TOKEN);
  assert.match(override.prompt, /\S/);
  assert.match(override.url, /^http.*\/o\/dec_[0-9a-f]{16,}$/);
  assert.ok(!Number.isNaN(Date.parse(override.expires)), 'expires');
}

/** The sentence that SDKs which keep one string still show: code, reason and, when soft, prompt and token. */
export function assertSentence(text, { code, token }) {
  assert.ok(text.startsWith(`Blocked by customer preference (${code}): `), text);
  assert.ok(Buffer.byteLength(text) <= 400, 'at most 400 bytes');
  if (token) assert.ok(text.endsWith(`Override token ${token}`), text);
  else assert.doesNotMatch(text, TOKEN);
}

/** The prompt in a header: ASCII, short, the same token as in the body. */
export function assertOverrideHeaders(answer, override) {
  assert.equal(header(answer, 'X-Postern-Override-Token'), override.token);
  const prompt = header(answer, 'X-Postern-Override-Prompt');
  assert.match(prompt, /^[\x20-\x7e]{1,200}$/);
}

/** A SendGrid refusal: one error for each blocked recipient, in order, each naming its field. */
export function assertSendGridRefusal(body, fields) {
  assert.deepEqual(body.errors.map((one) => one.field), fields);
  assert.match(body.id, DECISION_ID);
  for (const one of body.errors) assert.ok('help' in one);
}

/** An instant within so many minutes after another: releases are spread by jitter, never early. */
export function assertSoonAfter(text, instant, minutes = 30) {
  const at = Date.parse(text);
  const from = new Date(instant).getTime();
  assert.ok(at >= from && at <= from + minutes * 60_000, `${text} is within ${minutes} minutes after ${new Date(from).toISOString()}`);
}
