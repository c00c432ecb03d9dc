import { getEventListeners, setMaxListeners } from 'node:events'

import { Client } from '../src/client.js'
import { Clock, randomOf } from './clock.js'
import { FakeServer } from './server.js'

const NAMES = ['news', 'chat', 'user:alice']
const ROUGH_MS = 120_000
const HEALING_MS = 700_000

/**
 * One run from one seed: a client, a server, and everything that can go wrong between them.
 * Throws with the seed when a message was lost, came twice or out of order.
 */
export async function simulate(seed) {
  const random = randomOf(seed)
  const clock = new Clock()
  const server = new FakeServer(clock, random)
  for (const name of Object.keys(server.faults)) server.faults[name] = random() < 0.5 ? 0 : random() * 0.5
  const seen = new Checker(seed, server)
  const transports = [['websocket', 'sse'], ['sse'], [], ['websocket']][Math.floor(random() * 4)]
  const delivery = random() < 0.5 ? 'at-least-once' : 'at-most-once'
  // What is recorded as delivered was processed: a pull must not run ahead of the application.
  if (delivery === 'at-least-once') server.onDelivered = (name, cursor) => seen.delivered(name, cursor)
  const client = new Client('http://push', {
    token: () => [...server.tokens].at(-1),
    device: 'd', transports,
    delivery,
    env: {
      fetch: server.fetch, WebSocket: server.WebSocket, now: () => clock.now, wall: () => clock.now,
      random, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, storage: undefined
    }
  })
  setMaxListeners(100, client.closed)
  client.on('error', ({ error }) => {
    if (!error.transient && !error.foreign && !error.planned) seen.fail(`error ${error.code}: ${error.stack}`)
  })
  for (const name of NAMES) {
    client.channel(name, { after: '0' }).on('reset', (reset) => seen.reset(reset))
    client.channel(name).on('message', async (message) => {
      if (!seen.calm && random() < 0.2) await clock.sleep(random() * 3_000)
      // What fails is handed over again, but not where once is the most.
      if (!seen.calm && random() < 0.02 && delivery === 'at-least-once') throw Object.assign(new Error('mine'), { planned: true })
      seen.message(message)
    })
  }
  let published = 0
  let renewed = 0
  const outgoing = []
  const act = () => {
    if (clock.now >= ROUGH_MS) return
    const name = NAMES[Math.floor(random() * NAMES.length)]
    const what = random()
    if (what < 0.75) for (let count = random() < 0.05 ? 250 : 1; count > 0; count--) server.publish(name, published++)
    else if (what < 0.82) outgoing.push(client.publish({ channels: [name] }, published++))
    else if (what < 0.86) server.trim(name, server.head(name).head - Math.floor(random() * 5))
    else if (what < 0.88) server.delete(name)
    else if (what < 0.92) server.restart()
    else if (what < 0.94) server.down = !server.down
    else if (what < 0.96 && clock.now > renewed + 60_000) {
      renewed = clock.now
      server.tokens.clear()
      server.tokens.add(`token-${published}`)
    }
    clock.setTimeout(act, random() * 6_000)
  }
  act()
  await clock.run(ROUGH_MS)
  server.heal()
  await clock.run(clock.now + HEALING_MS, () => seen.failure || (seen.complete() && !client.unsent))
  if (seen.failure) throw seen.failure
  if (client.state.state === 'closed') seen.fail(`the client gave up: ${client.state.reason}`)
  if (!seen.complete()) seen.fail(`after healing: ${seen.state()} ${JSON.stringify(client.state)}`)
  await Promise.all(outgoing)
  seen.calm = true
  await quickly(clock, server, client, seen, () => published++)
  seen.listeners = getEventListeners(client.closed, 'abort').length
  client.close()
  await clock.run(clock.now + 60_000)
  if (delivery === 'at-least-once') seen.acked()
  if (seen.failure) throw seen.failure
  return seen
}

/** Once the network is good: by hints or held polls, not by the pull of every interval. */
async function quickly(clock, server, client, seen, next) {
  // A link that is half open is noticed within 40 s, and replaced.
  await clock.run(clock.now + 60_000)
  if (client.state.state !== 'live' && client.state.state !== 'fallback') seen.fail(`it is ${client.state.state}`)
  for (let count = 0; count < 10; count++) {
    for (const name of NAMES) server.publish(name, next())
    await clock.run(clock.now + 70)
  }
  await clock.run(clock.now + 5_000)
  if (seen.failure) throw seen.failure
  if (!seen.complete()) seen.fail(`late: ${seen.state()}`)
}

/** What the application was given, against what the log had. */
class Checker {
  #at = new Map()
  messages = 0
  resets = 0

  constructor(seed, server) {
    this.seed = seed
    this.server = server
  }

  fail(why) {
    this.failure ??= new Error(`seed ${this.seed}: ${why}`)
    this.failure.planned = true
    throw this.failure
  }

  message({ channel, epoch, seq, data, cursor }) {
    const at = this.#at.get(channel)
    if (cursor !== `${epoch}.${seq}` || typeof data !== 'number') this.fail(`strange ${cursor}`)
    // The start of what is kept, and of a life that began after the cursor of no life, is free.
    if (at && at.epoch !== 'none' && (at.epoch !== epoch || seq !== at.seq + 1)) {
      this.fail(`${channel}: after ${at.epoch}.${at.seq} came ${cursor}`)
    }
    this.#at.set(channel, { epoch, seq })
    this.messages++
  }

  reset({ channel, resume }) {
    const [epoch, seq] = resume.split('.')
    this.#at.set(channel, { epoch, seq: Number(seq) })
    this.resets++
  }

  delivered(channel, cursor) {
    const [epoch, seq] = cursor.split('.')
    const at = this.#at.get(channel)
    if (at && at.epoch === epoch && Number(seq) > at.seq) this.fail(`${channel}: ${cursor} is told as delivered, processed is ${at.seq}`)
  }

  acked() {
    for (const [name, { epoch, seq }] of this.#at) {
      const told = this.server.delivered.get(`d ${name}`)
      if (told !== `${epoch}.${seq}`) this.fail(`${name}: processed ${epoch}.${seq}, told ${told}`)
    }
  }

  state() {
    return NAMES.map((name) => {
      const { epoch, head } = this.server.head(name)
      const at = this.#at.get(name)
      return `${name}: ${at?.epoch}.${at?.seq} of ${epoch}.${head}`
    }).join(', ')
  }

  complete() {
    return NAMES.every((name) => {
      const { epoch, head } = this.server.head(name)
      const at = this.#at.get(name)
      return head === 0 || (at?.epoch === epoch && at.seq === head) || (this.server.channel(name).messages.length === 0)
    })
  }
}
