// A Node proxy as it is written today: reads the recipient, checks three caps in Redis with rate-limiter-flexible, and
// passes the request on by http-proxy over kept connections.  No consent, no record: far less than Postern does.
//   node proxy.mjs PORT PROVIDER_PORT REDIS_PORT
import http from 'node:http';
import { Readable } from 'node:stream';
import httpProxy from 'http-proxy';
import Redis from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';

const [port, provider, redisPort] = process.argv.slice(2).map(Number);
const redis = new Redis({ port: redisPort, host: '127.0.0.1', enableAutoPipelining: true });
const limiter = (keyPrefix, duration) => new RateLimiterRedis({ storeClient: redis, keyPrefix, points: 1_000_000, duration });
const limiters = [limiter('hour', 3600), limiter('day', 86_400), limiter('week', 604_800)];
const agent = new http.Agent({ keepAlive: true, maxSockets: 128, maxFreeSockets: 128 });
const proxy = httpProxy.createProxyServer({ target: `http://127.0.0.1:${provider}`, agent });

proxy.on('error', (error, request, response) => response.writeHead(502).end(String(error)));

async function read(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

const server = http.createServer(async (request, response) => {
  const body = await read(request);
  const to = JSON.parse(body).personalizations[0].to[0].email;
  try {
    await Promise.all(limiters.map((one) => one.consume(to)));
  } catch {
    response.writeHead(429).end();
    return;
  }
  proxy.web(request, response, { buffer: Readable.from([body]) });
});
server.keepAliveTimeout = 3_600_000;
server.listen(port, '127.0.0.1');
