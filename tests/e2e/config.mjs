// What a generated postern.yaml holds: the sample of the documentation, with a settable clock, a free port, the fakes
// for providers, and a key for each class and kind of sender, so that no test needs the class of another's key.
// The file is YAML in block form; a test changes the plain object before it is written.

/** Credentials that the applications use, by the name of the key. */
export const KEYS = {
  shop: sendgridKey('shop'),
  promo: sendgridKey('promo'),
  billing: sendgridKey('billing'),
  bot: sendgridKey('bot'),
  strict: sendgridKey('strict'),
  desk: sendgridKey('desk'),
  'shop-sms': twilioKey(1),
  'desk-sms': twilioKey(2),
  'billing-sms': twilioKey(3),
  'code-sms': twilioKey(4),
  'bot-sms': { ...twilioKey(5), login: `SK${'5'.padStart(32, '0')}` },
  admin: { secret: 'adm_0123456789abcdef0123456789abcdef' },
};

function sendgridKey(name) {
  return { secret: `SG.${name}.0123456789abcdef0123456789abcdef` };
}

function twilioKey(n) {
  return { account: `AC${String(n).padStart(32, '0')}`, secret: `${n}123456789abcdef0123456789abcdef` };
}

/**
 * The configuration as a plain object.  mail and sms are fakes, or undefined for the built-in sandbox; the providers'
 * secrets go by the environment, see environment().  smtp: { relay, port, securePort }, when mail by SMTP is listened to.
 */
export function configuration({ port, mail, sms, callbacks, smtp, tls }) {
  const key = (name, settings) => ({ name, ...KEYS[name], roles: ['sender'], ...settings });
  const agent = { roles: ['sender', 'agent'], sender_kind: 'agent' };
  return {
    listen: {
      http: `127.0.0.1:${port}`,
      ...(smtp ? { smtp: `127.0.0.1:${smtp.port}` } : {}),
      ...(smtp?.securePort ? { smtps: `127.0.0.1:${smtp.securePort}` } : {}),
      ...(tls ? { tls: { certificate: tls.certFile, key: tls.keyFile } } : {}),
    },
    public_url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    store: 'sqlite:postern.db',
    counters: 'embedded',
    clock: 'settable',
    providers: [
      ...(mail ? [{ name: 'main-mail', kind: 'sendgrid', url: mail.url, secret: 'env:POSTERN_TEST_MAIL_SECRET', total_ms: 1500 }] : []),
      ...(sms ? [{ name: 'main-sms', kind: 'twilio', url: sms.url, account: sms.account, secret: 'env:POSTERN_TEST_SMS_SECRET', total_ms: 1500 }] : []),
      ...(smtp ? [relayProvider(smtp.relay)] : []),
      { name: 'sandbox', kind: 'sandbox' },
    ],
    routes: { email: mail ? 'main-mail' : 'sandbox', sms: sms ? 'main-sms' : 'sandbox', ...(smtp ? { smtp: 'relay' } : {}) },
    ...(callbacks ? { callbacks: { allow: [callbacks.url] } } : {}),
    categories: [
      { name: 'newsletter', class: 'marketing', consent: 'opt_in' },
      { name: 'promo-out', class: 'marketing', consent: 'opt_out' },
      { name: 'invoice', class: 'transactional' },
      { name: 'helpdesk', class: 'support' },
      { name: 'code', class: 'otp' },
    ],
    keys: [
      key('shop', { default_category: 'newsletter', categories: ['newsletter', 'promo-out', 'invoice'] }),
      key('promo', { default_category: 'promo-out', categories: ['promo-out'] }),
      key('billing', { default_category: 'invoice', categories: ['invoice', 'code'] }),
      key('bot', { default_category: 'helpdesk', categories: ['helpdesk'] }),
      key('strict', { default_category: 'promo-out', categories: ['promo-out'], partial: 'reject' }),
      key('desk', { default_category: 'helpdesk', categories: ['helpdesk', 'invoice'], ...agent }),
      key('shop-sms', { default_category: 'newsletter', categories: ['newsletter', 'promo-out'] }),
      key('desk-sms', { default_category: 'helpdesk', categories: ['helpdesk', 'invoice'], ...agent }),
      key('billing-sms', { default_category: 'invoice', categories: ['invoice'] }),
      key('code-sms', { default_category: 'code', categories: ['code'] }),
      key('bot-sms', { default_category: 'helpdesk', categories: ['helpdesk'] }),
      { name: 'admin', secret: KEYS.admin.secret, roles: ['admin'] },
    ],
    policy: {
      default_zone: 'America/New_York',
      quiet_hours: { marketing: { sms: '21:00-08:00', email: 'none' } },
      caps: [{ name: 'marketing-any', classes: ['marketing'], calendar: 'day', limit: 3 }],
    },
  };
}

/** A FakeRelay, or anything with a url, and auth and caFile when it has them. */
function relayProvider({ url, auth, caFile }) {
  return {
    name: 'relay', kind: 'smtp', url, total_ms: 1500,
    ...(auth ? { account: auth.user, secret: 'env:POSTERN_TEST_RELAY_SECRET' } : {}),
    ...(caFile ? { ca_file: caFile } : {}),
  };
}

/** What the configuration takes from the environment. */
export function environment({ mail, sms, relay }) {
  return {
    POSTERN_TEST_MAIL_SECRET: mail?.apiKey ?? 'unused', POSTERN_TEST_SMS_SECRET: sms?.token ?? 'unused',
    POSTERN_TEST_RELAY_SECRET: relay?.auth?.secret ?? 'unused',
  };
}

/** A plain object as YAML in block form. */
export function yaml(value, indent = '') {
  if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) return `[${value.map(scalar).join(', ')}]`;
  if (Array.isArray(value)) return value.map((one) => `\n${indent}- ${yaml(one, `${indent}  `).trimStart()}`).join('');
  if (typeof value === 'object' && value !== null && Object.keys(value).length === 0) return '{}';
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).map(([name, one]) => `\n${indent}${name}: ${yaml(one, `${indent}  `)}`).join('');
  return scalar(value);
}

function scalar(value) {
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}
