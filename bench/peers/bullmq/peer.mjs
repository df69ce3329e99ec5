// The same work in the usual Node stack: Fastify takes events in, BullMQ queues them, a worker signs and posts them.
//
//   node peer.mjs ingest|worker|both
//
// Settings come from the environment: PEER_REDIS_PORT, PEER_SINK_PORT, PEER_TOKEN, PEER_HOOKS, PEER_CONCURRENCY.
// An event is answered 202 once its job is in Redis, which syncs each append to disk; the job is done when its
// completion is in Redis too. Prints one line of JSON when it is ready.

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Queue, Worker } from 'bullmq';
import Fastify from 'fastify';
import { Redis } from 'ioredis';
import { Agent } from 'undici';

const role = process.argv[2] ?? 'both';
const redisPort = Number(process.env.PEER_REDIS_PORT);
const sinkPort = Number(process.env.PEER_SINK_PORT);
const concurrency = Number(process.env.PEER_CONCURRENCY ?? 64);
const hooks = Number(process.env.PEER_HOOKS ?? 8);
const ATTEMPTS = 5;
const TIMEOUT_MS = 10_000;
const KEPT = 1_000_000;

const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
const secret = `whsec_${key.toString('base64')}`;
const targets = new Map(
  Array.from({ length: hooks }, (_, number) => [`bot-${number}`, { path: `/hooks/${number}`, secret, key }]),
);
const opened = [];

function connect(options) {
  const connection = new Redis({ port: redisPort, maxRetriesPerRequest: null, ...options });
  opened.push(connection);
  return connection;
}

// A time-ordered id, as this project's are.
function newId() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const digest = (text) => createHash('sha256').update(text).digest();

async function ingest() {
  const queue = new Queue('deliveries', {
    connection: connect({ enableAutoPipelining: true }),
    defaultJobOptions: {
      attempts: ATTEMPTS,
      backoff: { type: 'exponential', delay: 5000 },
      removeOnComplete: { count: KEPT },
      removeOnFail: { count: KEPT },
    },
  });
  const token = digest(process.env.PEER_TOKEN ?? '');
  const app = Fastify({ logger: false, bodyLimit: 1024 * 1024 });
  const schema = {
    body: {
      type: 'object',
      required: ['event', 'conversation'],
      properties: {
        event: { const: 'conversation.started' },
        timestamp: { type: 'string' },
        conversation: {
          type: 'object',
          required: ['id', 'botId', 'channelType', 'initialMessage', 'createdAt'],
          properties: Object.fromEntries(
            ['id', 'botId', 'botName', 'channelType', 'initialMessage', 'createdAt'].map((name) => [
              name,
              { type: 'string' },
            ]),
          ),
        },
      },
    },
  };
  app.addHook('onRequest', async (request, reply) => {
    const given = request.headers.authorization ?? '';
    if (!timingSafeEqual(digest(given.replace(/^Bearer /, '')), token)) {
      return reply.code(401).send({ error: 'unauthorized' });
    }
  });
  app.post('/api/v1/events', { schema }, async (request, reply) => {
    const { event, ...rest } = request.body;
    const id = newId();
    if (!targets.has(rest.conversation.botId)) {
      return reply.code(202).send({ accepted: 1, events: [{ id, deliveries: 0 }] });
    }
    const deliveryId = newId();
    const body = JSON.stringify({ event, deliveryId, ...rest });
    await queue.add(event, { bot: rest.conversation.botId, deliveryId, body }, { jobId: deliveryId });
    return reply.code(202).send({ accepted: 1, events: [{ id, deliveries: 1 }] });
  });
  app.get('/waiting', async () => {
    const counts = await queue.getJobCounts('wait', 'active', 'delayed', 'prioritized', 'paused', 'failed');
    return counts;
  });
  await app.listen({ port: 0, host: '127.0.0.1', backlog: 1024 });
  return { port: app.server.address().port, close: () => app.close().then(() => queue.close()) };
}

function headersOf(job, target) {
  const { deliveryId, body } = job.data;
  const seconds = Math.floor(Date.now() / 1000);
  const standard = createHmac('sha256', target.key).update(`${deliveryId}.${seconds}.${body}`).digest('base64');
  return {
    'content-type': 'application/json',
    'user-agent': 'bench',
    'x-secret-key': target.secret,
    'x-chatthing-signature': `sha256=${createHmac('sha256', target.secret).update(body).digest('hex')}`,
    'x-chatthing-delivery-id': deliveryId,
    'x-chatthing-event': job.name,
    'webhook-id': deliveryId,
    'webhook-timestamp': String(seconds),
    'webhook-signature': `v1,${standard}`,
  };
}

function deliver() {
  const agent = new Agent({
    connections: concurrency,
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    connect: { timeout: TIMEOUT_MS },
  });
  const origin = `http://127.0.0.1:${sinkPort}`;
  const post = async (job) => {
    const target = targets.get(job.data.bot);
    const { statusCode, body } = await agent.request({
      origin,
      path: target.path,
      method: 'POST',
      headers: headersOf(job, target),
      body: job.data.body,
    });
    const answer = await body.text();
    if (statusCode < 200 || statusCode > 299) {
      throw new Error(`answered ${statusCode}`);
    }
    return { status: statusCode, answer: answer.slice(0, 16 * 1024) };
  };
  const worker = new Worker('deliveries', post, { connection: connect({ enableAutoPipelining: true }), concurrency });
  worker.on('error', (error) => console.error(error));
  return { close: () => worker.close().then(() => agent.close()) };
}

const doors = role === 'worker' ? null : await ingest();
const deliveries = role === 'ingest' ? null : deliver();
console.log(JSON.stringify({ port: doors?.port ?? null }));

process.on('SIGTERM', async () => {
  await doors?.close();
  await deliveries?.close();
  opened.forEach((connection) => connection.disconnect());
});
