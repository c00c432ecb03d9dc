/**
 * A server in memory with every fault that a network has, on a clock that the test turns.
 *
 * Its answers follow docs/protocol.md; its faults are drawn from `random`, so that a seed replays
 * them all.
 */
export class FakeServer {
  channels = new Map()
  sockets = new Set()
  streams = new Set()
  polls = new Set()
  delivered = new Map()
  epochs = 0
  tokens = new Set(['token-0'])
  /** Chances from 0 to 1. */
  faults = { lostHint: 0, lostRequest: 0, lostAnswer: 0, busy: 0, forbidWebSocket: 0, forbidSse: 0, cut: 0, slow: 0 }
  down = false
  log = []

  constructor(clock, random) {
    this.clock = clock
    this.random = random
  }

  heal() {
    for (const name of Object.keys(this.faults)) this.faults[name] = 0
    this.down = false
  }

  #chance(name) {
    return this.random() < this.faults[name]
  }

  #delay() {
    return this.#chance('slow') ? this.random() * 20_000 : this.random() * 100
  }

  // -- the log ---------------------------------------------------------------------------------------

  channel(name) {
    return this.channels.get(name) ?? { epoch: 'none', first: 1, messages: [] }
  }

  head(name) {
    const { epoch, first, messages } = this.channel(name)
    return { epoch, first, head: first - 1 + messages.length }
  }

  publish(name, data) {
    let channel = this.channels.get(name)
    if (!channel) {
      channel = { epoch: `e${String(++this.epochs).padStart(6, '0')}`, first: 1, messages: [] }
      this.channels.set(name, channel)
    }
    const seq = channel.first + channel.messages.length
    channel.messages.push({ seq, id: `${channel.epoch}.${seq}`, type: 'message', at: this.clock.now, data })
    this.#tell(name)
    return { channel: name, epoch: channel.epoch, seq }
  }

  trim(name, before) {
    const channel = this.channels.get(name)
    while (channel && channel.first < before && channel.messages.length) {
      channel.messages.shift()
      channel.first++
    }
  }

  delete(name) {
    this.channels.delete(name)
  }

  #tell(name) {
    const { epoch, head } = this.head(name)
    const hint = { type: 'hint', channel: name, epoch, seq: head }
    for (const session of [...this.sockets, ...this.streams]) {
      if (!session.channels.has(name)) continue
      for (let copies = this.#chance('lostHint') ? 0 : this.random() < 0.1 ? 2 : 1; copies > 0; copies--) {
        this.clock.setTimeout(() => session.say(hint), this.#delay())
      }
    }
    for (const poll of [...this.polls]) if (poll.names.has(name)) poll.answer()
  }

  restart() {
    for (const session of [...this.sockets, ...this.streams]) {
      if (this.random() < 0.5) session.say({ type: 'bye', code: 1012, reason: 'restart', reconnect: true, retry_after_ms: this.random() * 500 })
      session.cut(1012)
    }
    for (const poll of [...this.polls]) poll.answer()
  }

  // -- sessions ----------------------------------------------------------------------------------------

  hello(names, device) {
    const heads = {}
    for (const name of names) {
      heads[name] = { ...this.head(name), delivered: this.delivered.get(`${device} ${name}`) ?? null, read: null }
    }
    return { type: 'hello', session: 's', user: 'alice', device, node: 'n', heads, denied: [], more: false, heartbeat_s: 25, pull: { interval_s: 20, jitter_ms: 0 } }
  }

  get WebSocket() {
    const server = this
    return class {
      readyState = 0
      constructor(url, protocols) {
        const query = new URL(url.replace(/^ws/, 'http')).searchParams
        this.channels = new Set((query.get('channels') ?? '').split(',').filter(Boolean))
        this.device = query.get('device')
        const token = protocols?.find((each) => each.startsWith('bearer.'))?.slice(7)
        server.clock.setTimeout(() => this.#open(token), server.#delay())
      }

      #open(token) {
        if (this.readyState !== 0) return
        if (server.down || server.#chance('forbidWebSocket')) return this.cut(1006)
        this.readyState = 1
        if (!server.tokens.has(token)) {
          this.say({ type: 'bye', code: 4001, reason: 'unauthorized', reconnect: false, retry_after_ms: 0 })
          return this.cut(4001)
        }
        server.sockets.add(this)
        this.say(server.hello(this.channels, this.device))
        if (server.#chance('cut')) server.clock.setTimeout(() => this.cut(1006), server.random() * 5_000)
      }

      say(frame) {
        if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(frame) })
      }

      send(text) {
        const frame = JSON.parse(text)
        if (server.down || this.readyState !== 1) return
        server.clock.setTimeout(() => this.#take(frame), server.#delay())
      }

      #take(frame) {
        if (this.readyState !== 1) return
        if (frame.type === 'ping') this.say({ type: 'pong' })
        if (frame.type === 'refresh') {
          if (server.tokens.has(frame.token)) this.say({ type: 'refreshed', expires: 0 })
          else this.cut(4001)
        }
        if (frame.type === 'ack') for (const [name, cursor] of Object.entries(frame.cursors)) server.deliver(this.device, name, cursor)
        if (frame.type === 'unsubscribe') for (const name of frame.channels) this.channels.delete(name)
        if (frame.type === 'subscribe') {
          const names = Object.keys(frame.channels)
          for (const name of names) this.channels.add(name)
          const { heads } = server.hello(names, this.device)
          this.say({ type: 'subscribed', heads, denied: [] })
        }
      }

      cut(code) {
        if (this.readyState === 3) return
        this.readyState = 3
        server.sockets.delete(this)
        // A link that is half open says nothing at all.
        if (code === 1006 && server.random() < 0.3) return
        server.clock.setTimeout(() => this.onclose?.({ code, reason: '' }), 0)
      }

      close() {
        if (this.readyState === 3) return
        this.readyState = 3
        server.sockets.delete(this)
        server.clock.setTimeout(() => this.onclose?.({ code: 1005, reason: '' }), 0)
      }
    }
  }

  // -- HTTP ----------------------------------------------------------------------------------------------

  fetch = (url, options = {}) => new Promise((resolve, reject) => {
    const { signal } = options
    const fail = () => reject(new TypeError('fetch failed'))
    if (signal?.aborted) return fail()
    signal?.addEventListener('abort', fail)
    const lost = this.#chance('lostAnswer')
    const answer = (response) => this.clock.setTimeout(() => (lost ? fail() : resolve(response)), this.#delay())
    this.clock.setTimeout(() => {
      if (signal?.aborted) return
      if (this.down || this.#chance('lostRequest')) return fail()
      if (this.#chance('busy')) return answer(problem(503, 'overloaded', { 'retry-after': '1' }))
      const token = options.headers?.authorization?.slice(7)
      if (!this.tokens.has(token)) return answer(problem(401, 'unauthorized'))
      this.#serve(new URL(url), options, answer)
    }, this.#delay())
  })

  #serve(url, options, answer) {
    const body = options.body ? JSON.parse(options.body) : undefined
    const one = /^\/v1\/channels\/(.+)\/messages$/.exec(url.pathname)
    if (url.pathname === '/v1/events') return this.#events(url, options, answer)
    if (one) return this.#locate(decodeURIComponent(one[1]), url.searchParams.get('device'), answer)
    if (url.pathname === '/v1/pull') return this.#pull(body, options.signal, answer)
    if (url.pathname === '/v1/publish') return this.#publish(body, answer)
    if (url.pathname === '/v1/ack') {
      for (const [name, cursor] of Object.entries(body.cursors)) this.deliver(body.device, name, cursor)
      return answer({ ok: true, status: 204 })
    }
    answer(problem(404, 'not_found'))
  }

  ids = new Map()

  #publish({ to, message }, answer) {
    const known = this.ids.get(message.id)
    const results = known ?? to.channels.map((name) => this.publish(name, message.data))
    this.ids.set(message.id, results)
    answer(json(200, { results }))
  }

  deliver(device, name, cursor) {
    if (!/\./.test(cursor)) return
    const known = this.delivered.get(`${device} ${name}`)
    const [epoch, seq] = cursor.split('.')
    if (known?.startsWith(`${epoch}.`) && Number(known.split('.')[1]) >= Number(seq)) return
    this.delivered.set(`${device} ${name}`, cursor)
    this.onDelivered?.(name, cursor)
  }

  #page(name, cursor, limit = 100) {
    const { epoch, first, messages } = this.channel(name)
    const head = first - 1 + messages.length
    const reset = (code) => ({ reset: { code, epoch, first, head, detail: code, skipped: null, resume: `${epoch}.${first - 1}` } })
    let after
    if (cursor === '0') after = first - 1
    else if (cursor === 'head') after = head
    else {
      const [of, seq] = cursor.split('.')
      after = Number(seq)
      if (of === 'none' && epoch !== 'none') after = 0
      else if (of !== epoch) return reset('epoch_changed')
      if (after > head) return reset('cursor_ahead')
      if (after < first - 1) return reset('expired')
    }
    const some = messages.slice(after - first + 1, after - first + 1 + limit)
    return { channel: name, epoch, first, head, next: `${epoch}.${after + some.length}`, more: after + some.length < head, messages: some }
  }

  #locate(name, device, answer) {
    const page = this.#page(name, this.delivered.get(`${device} ${name}`) ?? 'head')
    answer(page.reset ? problem(410, page.reset.code, {}, page.reset) : json(200, page))
  }

  #pull({ cursors, wait, limit, device }, signal, answer) {
    for (const [name, cursor] of Object.entries(cursors)) this.deliver(device, name, cursor)
    const parts = () => Object.fromEntries(Object.entries(cursors).map(([name, cursor]) => [name, this.#page(name, cursor, limit)]))
    const now = parts()
    const moved = Object.values(now).some((part) => part.reset || part.messages.length)
    if (!wait || moved) return answer(json(200, { channels: now, notices: [] }))
    // What 'head' means is fixed when the poll comes.
    const held = Object.fromEntries(Object.entries(now).map(([name, part]) => [name, part.next]))
    const poll = {
      names: new Set(Object.keys(cursors)),
      answer: () => {
        this.polls.delete(poll)
        this.clock.clearTimeout(timer)
        for (const name of poll.names) cursors[name] = cursors[name] === 'head' ? held[name] : cursors[name]
        answer(json(200, { channels: parts(), notices: [] }))
      }
    }
    this.polls.add(poll)
    const timer = this.clock.setTimeout(poll.answer, wait * 1000)
    signal?.addEventListener('abort', () => {
      this.polls.delete(poll)
      this.clock.clearTimeout(timer)
    })
  }

  #events(url, { signal }, answer) {
    if (this.#chance('forbidSse')) return answer(problem(403, 'forbidden-by-proxy'))
    const server = this
    let controller
    const stream = {
      channels: new Set((url.searchParams.get('channels') ?? '').split(',').filter(Boolean)),
      say(frame) {
        if (server.streams.has(stream)) controller.enqueue(new TextEncoder().encode(`event: ${frame.type}\ndata: ${JSON.stringify(frame)}\n\n`))
      },
      cut() {
        if (server.streams.delete(stream)) controller.close()
      }
    }
    const body = new ReadableStream({ start: (given) => void (controller = given) })
    signal?.addEventListener('abort', () => stream.cut())
    this.streams.add(stream)
    stream.say(this.hello(stream.channels, url.searchParams.get('device')))
    if (this.#chance('cut')) this.clock.setTimeout(() => stream.cut(), this.random() * 5_000)
    const beat = () => {
      stream.say({ type: 'heartbeat' })
      if (this.streams.has(stream)) this.clock.setTimeout(beat, 15_000)
    }
    this.clock.setTimeout(beat, 15_000)
    answer({ ok: true, status: 200, body, headers: new Headers() })
  }
}

function json(status, value) {
  const text = JSON.stringify(value)
  return { ok: status < 300, status, headers: new Headers(), json: async () => JSON.parse(text) }
}

function problem(status, code, headers = {}, members = {}) {
  return { ...json(status, { ...members, code, status, detail: code }), headers: new Headers(headers) }
}
