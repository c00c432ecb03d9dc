import { Client } from '../src/client.js'
import { Clock, randomOf } from './clock.js'

/**
 * The world around one client, in the hands of a script: what the client asks and tells waits in
 * `asked` and `told`, in order, until the script looks; nothing is answered by itself.
 */
export class Stage {
  clock = new Clock()
  asked = []
  told = []
  delivered = {}
  socket
  down = false
  #heads = {}
  #tokens

  constructor({ follow, own = false, transport = 'websocket', tokens = ['t1'] }) {
    this.#tokens = tokens
    const { clock } = this
    const given = [...tokens]
    this.client = new Client('http://push', {
      token: given.length > 1 ? () => (given.length > 1 ? given.shift() : given[0]) : given[0],
      account: 'alice', device: 'd', own, transports: transport === 'poll' ? [] : [transport],
      env: {
        fetch: this.#fetch, WebSocket: this.#webSocket(), now: () => clock.now, wall: () => clock.now,
        random: randomOf(1), setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, storage: undefined
      }
    })
    const { client, told } = this
    client.on('error', ({ error }) => told.push({ end: error.code }))
    client.on('read', ({ channel, cursor }) => told.push({ read: { channel, cursor } }))
    const listen = (channel) => {
      channel.on('message', (m) => void told.push({ deliver: [[m.channel, m.cursor, m.data]] }))
      channel.on('reset', ({ channel: name, code, skipped, resume }) => void told.push({ reset: { channel: name, code, skipped, resume } }))
      channel.on('dropped', ({ channel: name, code }) => told.push({ drop: { channel: name, code } }))
      channel.on('expiring', ({ channel: name, messages, inMs }) => void told.push({ expiring: { channel: name, messages, in_ms: inMs } }))
    }
    if (own) listen(client.own)
    for (const [name, after] of Object.entries(follow)) listen(client.channel(name, { after }))
  }

  /** Lets time pass until `done`, for so many seconds at most. */
  pass(seconds, done) {
    return this.clock.run(this.clock.now + seconds * 1000, done)
  }

  say(frame) {
    if (frame.type === 'hello') this.#heads = frame.heads
    this.socket?.onmessage?.({ data: JSON.stringify(frame) })
  }

  close(code) {
    const socket = this.socket
    this.socket = undefined
    socket.readyState = 3
    this.clock.setTimeout(() => socket.onclose?.({ code, reason: '' }), 0)
  }

  /** A connection that hears and says nothing any more. */
  silence() {
    this.socket.deaf = true
  }

  #webSocket() {
    const stage = this
    return class {
      readyState = 0
      constructor(url, protocols) {
        const query = new URL(url.replace(/^ws/, 'http')).searchParams
        this.channels = (query.get('channels') ?? '').split(',').filter(Boolean)
        this.token = stage.#named(protocols[1].slice('bearer.'.length))
        stage.asked.push({ connect: this })
        // Whoever cannot be reached says so by himself.
        if (stage.down) stage.clock.setTimeout(() => this.onclose?.({ code: 1006, reason: '' }), 0)
      }

      accept() {
        this.readyState = 1
        stage.socket = this
      }

      send(text) {
        const { cursors, ...frame } = JSON.parse(text)
        if (this.deaf) return
        if (frame.type === 'ack') return Object.assign(stage.delivered, cursors)
        // Who did not know yet what to follow when it connected.
        if (frame.type === 'subscribe') return stage.say({ type: 'subscribed', heads: stage.#heads, denied: [] })
        if (frame.type === 'ping') return stage.clock.setTimeout(() => stage.say({ type: 'pong' }), 0)
        if (frame.token) frame.token = stage.#named(frame.token)
        stage.asked.push({ send: frame })
      }

      close() {
        this.readyState = 3
      }
    }
  }

  /** The name that the script has for a token. */
  #named(token) {
    return `t${this.#tokens.indexOf(token) + 1}`
  }

  #fetch = (url, { body, headers, signal }) => new Promise((resolve, reject) => {
    const fail = () => reject(new TypeError('fetch failed'))
    const { pathname } = new URL(url)
    const given = body ? JSON.parse(body) : {}
    const respond = (status, answer, more = {}) => resolve({
      ok: status < 300, status, headers: new Headers(more), json: async () => structuredClone(answer)
    })
    if (this.down) return this.clock.setTimeout(fail, 0)
    if (pathname === '/v1/ack') {
      Object.assign(this.delivered, given.cursors)
      return respond(204)
    }
    const channel = /^\/v1\/channels\/(.+)\/messages$/.exec(pathname)?.[1]
    const token = this.#named(headers.authorization.slice('Bearer '.length))
    for (const [name, cursor] of Object.entries(given.cursors ?? {})) if (cursor.includes('.')) this.delivered[name] = cursor
    const asked = { pull: channel ? undefined : given, begin: channel && decodeURIComponent(channel), token, respond, fail }
    this.asked.push(asked)
    signal?.addEventListener('abort', () => {
      asked.gone = true
      fail()
    })
  })
}
