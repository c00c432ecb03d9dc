import { Backoff } from './backoff.js'
import { Channel } from './channel.js'
import { Confirmer } from './confirm.js'
import { Credential, claimsOf } from './credential.js'
import { Delivery } from './delivery.js'
import { Emitter, report } from './emitter.js'
import { environment, sleep } from './env.js'
import { PushError } from './errors.js'
import { Hints } from './hints.js'
import { Http } from './http.js'
import { Inbox } from './inbox.js'
import { Outbox, outboxStore } from './outbox.js'
import { Presence } from './presence.js'
import { Puller } from './puller.js'
import { localStore, memoryStore } from './stores.js'
import { SharedHints, sharing } from './tabs.js'

/**
 * @typedef {object} Options
 * @property {import('./credential.js').TokenOption} [token] or a function that gives a new one
 * @property {string} [account] who is signed in, where the token is no JWT: keeps apart what is kept
 * @property {string} [device] names this client for ever; made once and kept if left out
 * @property {'memory' | 'local' | import('./stores.js').CursorStore} [store]
 * @property {import('./delivery.js').Guarantee} [delivery]
 * @property {boolean} [own] also follow the user's inboxes, groups and `all`: see `Client.own`
 * @property {readonly import('./ladder.js').Transport[]} [transports] best first; [] for polls only
 * @property {boolean} [tabs] share one connection among the pages of this browser
 * @property {number} [interval] ms between pulls of everything, whatever hints say
 * @property {AbortSignal} [signal] closes the client
 * @property {typeof WebSocket} [WebSocket]
 * @property {typeof fetch} [fetch]
 * @property {Partial<import('./env.js').Env>} [env]
 *
 * @typedef {{id?: string, type?: string, signal?: AbortSignal}} PublishOptions
 *
 * @typedef {'connecting' | 'live' | 'fallback' | 'offline' | 'closed'} State
 *
 * @typedef {{
 *   state: {state: State, transport?: string, reason?: string},
 *   error: {error: unknown, channel?: string},
 *   read: {channel: string, cursor: string},
 *   sent: {id: string, results?: import('./types.js').Published[], error?: PushError},
 *   frame: import('./types.js').Frame
 * }} ClientEvents
 */

/** @type {{base: string, options: Options, client: Client}[]} connecting twice is one connection */
const clients = []

/**
 * A client of the pushd at `url`. The same address and options again are the same client, until
 * it is closed.
 *
 * @param {string} url such as `https://push.example.com`
 * @param {Options} [options]
 */
export function connect(url, options = {}) {
  const base = url.replace(/\/+$/, '')
  const known = clients.find((each) => each.base === base && alike(each.options, options))
  if (known) return known.client
  const made = { base, options, client: new Client(base, options) }
  clients.push(made)
  made.client.closed.addEventListener('abort', () => clients.splice(clients.indexOf(made), 1))
  return made.client
}

/** @param {Record<string, any>} one @param {Record<string, any>} other */
function alike(one, other) {
  return Object.keys({ ...one, ...other }).every((key) => one[key] === other[key])
}

/** @extends {Emitter<ClientEvents>} */
export class Client extends Emitter {
  #close = new AbortController()
  #env
  #http
  #puller
  /** @type {Hints | SharedHints | undefined} */
  #hints
  #confirmer
  #delivery
  #outbox
  /** @type {Map<string, Channel>} */
  #channels = new Map()
  #store = memoryStore()
  #ready
  /** @type {Inbox | undefined} */
  #inbox
  /** @type {{state: State, transport?: string, reason?: string}} */
  #state = { state: 'connecting' }

  /** The user's own channels (`user:ID…`, groups, `all`), whichever there are. @type {Channel} */
  own

  /** @param {string} base @param {Options} options */
  constructor(base, options) {
    super()
    const env = (this.#env = environment({
      ...options.env,
      ...(options.fetch && { fetch: options.fetch }),
      ...('WebSocket' in options && { WebSocket: options.WebSocket })
    }))
    const credential = new Credential(options.token, env)
    const storage = env.storage
    this.device = options.device ?? kept(storage, `pushd:${base}:device`, () => randomId(env))
    this.#http = new Http(base, credential, env, this.closed)
    this.#confirmer = new Confirmer(env, (cursors, last) => this.#ack(cursors, last), (error) => this.#failed(error))
    this.#delivery = new Delivery(env, this.closed, options.delivery ?? 'at-least-once', this.#confirmer, (error, channel) => this.#failed(error, channel))
    this.own = new Channel(this, '*')
    this.#puller = new Puller(this.#http, env, {
      take: (name, outcome) => this.#take(name, outcome),
      told: (name, cursor) => this.#confirmer.told(name, cursor),
      starts: async (names) => this.#store.load(names),
      notice: (notice) => this.#notice(notice),
      trouble: (error) => this.#trouble(error),
      final: (error) => this.#stop(error)
    }, { mine: options.own ?? false, device: this.device, interval: options.interval, visible })
    this.#outbox = new Outbox(this.#http, env, (entry, results, error) => this.#sent(entry, results, error))
    if (!(options.transports ?? ['sse']).length) this.#puller.poll()
    this.#ready = this.#begin(base, credential, options)
    this.#watch(options.signal)
  }

  /** Aborts when the client is closed. */
  get closed() {
    return this.#close.signal
  }

  get state() {
    return this.#state
  }

  /** Where each followed channel is; undefined while only the server knows. */
  get cursors() {
    const following = this.#puller.following
    return Object.fromEntries(following.names.map((name) => [name, following.cursor(name)]))
  }

  // -- what applications do ------------------------------------------------------------------------

  /**
   * @template [T=any]
   * @param {string} name
   * @param {{after?: string}} [options]
   * @returns {Channel<T>}
   */
  channel(name, { after } = {}) {
    let channel = this.#channels.get(name)
    if (!channel) this.#channels.set(name, (channel = new Channel(this, name)))
    channel.after = after ?? channel.after
    return channel
  }

  /**
   * Publish to channels, users, groups or everybody. Waits in the outbox while there is no
   * network, also across reloads; resolves once it is on disk at the server.
   *
   * @param {import('./types.js').Targets} to
   * @param {any} data
   * @param {PublishOptions} [options]
   */
  async publish(to, data, { id = randomId(this.#env), type, signal } = {}) {
    await this.#ready
    const body = { to, message: { data, id, ...(type && { type }) } }
    return this.#outbox.add({ id, at: this.#env.wall(), body }, signal)
  }

  /** How many messages wait to be published. */
  get unsent() {
    return this.#outbox.size
  }

  /** The user has read `channel` up to `cursor`. @param {string} channel @param {string} cursor */
  async read(channel, cursor) {
    const path = `/v1/channels/${encodeURIComponent(channel)}/read`
    await this.#http.ask('POST', path, { cursor, device: this.device })
    // The others are told by the server, this one knows.
    this.#notice({ type: 'read', channel, cursor })
  }

  /**
   * @param {string} channel
   * @param {{before?: number | string, limit?: number, signal?: AbortSignal}} [options]
   */
  async history(channel, { before, limit = 50, signal } = {}) {
    const query = before === undefined ? `last=${limit}` : `before=${before}&limit=${limit}`
    const path = `/v1/channels/${encodeURIComponent(channel)}/messages?${query}`
    const page = await this.#http.ask('GET', path, undefined, { signal })
    /** @type {import('./types.js').Message[]} */
    const messages = page.messages.map((/** @type {any} */ each) => ({
      ...each, channel, epoch: page.epoch, cursor: `${page.epoch}.${each.seq}`
    }))
    return { messages, more: /** @type {boolean} */ (page.more) }
  }

  /**
   * Have the application do something; gives its answer.
   *
   * @param {string} name
   * @param {any} [data]
   * @param {{id?: string, signal?: AbortSignal}} [options]
   */
  async call(name, data = null, { id = randomId(this.#env), signal } = {}) {
    const answer = await this.#http.ask('POST', '/v1/call', { name, data, id }, { signal, waitMs: 60_000 })
    return answer?.data
  }

  /** What is unread in the user's own channels, kept current. */
  inbox() {
    this.#inbox ??= new Inbox(this)
    this.#inbox.load().catch((error) => this.#failed(error))
    return this.#inbox
  }

  /** Who follows a topic, kept current. @param {string} topic */
  presence(topic) {
    return new Presence(this, topic)
  }

  /**
   * Any request of the API, with the token of this client.
   *
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {{signal?: AbortSignal}} [options]
   */
  ask(method, path, body, options) {
    return this.#http.ask(method, path, body, options)
  }

  /** On the clock of this client, unless it is closed before. @param {number} ms @param {() => void} run */
  later(ms, run) {
    sleep(this.#env, ms, this.closed).then(() => {
      if (!this.closed.aborted) run()
    })
  }

  /** Final. What waits in the outbox is kept for the next time. */
  close() {
    if (this.closed.aborted) return
    this.#confirmer.now().finally(() => this.#close.abort())
    this.#say({ state: 'closed' })
  }

  // -- of channels -----------------------------------------------------------------------------------

  /** @param {Channel} channel */
  async follow(channel) {
    if (channel === this.own) return
    await this.#ready
    let start = channel.after
    try {
      start = (await this.#store.load([channel.name]))[channel.name] ?? start
    } catch (error) {
      this.#failed(error, channel.name)
    }
    if (this.closed.aborted || !channel.handlers('message').length) return
    this.#puller.follow(channel.name, start)
    this.#hints?.changed()
  }

  /** @param {Channel} channel */
  unfollow(channel) {
    if (channel === this.own) return
    this.#puller.unfollow(channel.name)
    this.#hints?.dropped(channel.name)
  }

  // -- inside ------------------------------------------------------------------------------------------

  /**
   * Once it is known who is signed in: what is kept here, and shared among tabs, is of one user.
   *
   * @param {string} base
   * @param {Credential} credential
   * @param {Options} options
   */
  async #begin(base, credential, options) {
    const account = options.account ?? (await this.#subject(credential))
    if (this.closed.aborted) return
    const storage = this.#env.storage
    const prefix = `pushd:${base}:${account}`
    if (options.store === 'local' && storage) this.#store = localStore(`${prefix}:cursor`, storage)
    else if (typeof options.store === 'object') this.#store = options.store
    const transports = options.transports ?? (this.#env.WebSocket ? ['websocket', 'sse'] : ['sse'])
    const make = (/** @type {import('./hints.js').HintListener} */ listener) =>
      new Hints(base, this.device, transports, this.#env, credential, listener)
    const shared = account === '' || options.tabs === false || options.env ? undefined : sharing()
    this.#hints = shared && transports.length
      ? new SharedHints(`${prefix}:${this.device}`, shared, this.#env, make, this.#listener())
      : make(this.#listener())
    this.#confirmer.store = this.#store
    this.#outbox.open(outboxStore(`${prefix}:out:`, storage))
    for (const part of [this.#hints, this.#puller, this.#confirmer, this.#outbox]) {
      part.run(this.closed).catch((error) => this.#stop(error))
    }
  }

  /** The user of the token; '' if it does not say. @param {Credential} credential */
  async #subject(credential) {
    const backoff = new Backoff(this.#env.random)
    while (!this.closed.aborted) {
      try {
        return String(claimsOf((await credential.token()) ?? '').sub ?? '')
      } catch (cause) {
        const error = /** @type {PushError} */ (cause)
        if (!error.transient) {
          this.#stop(error)
          break
        }
        this.#trouble(error)
        await sleep(this.#env, backoff.next(error.retryAfterMs), this.closed)
      }
    }
    return ''
  }

  /** @returns {import('./hints.js').HintListener} */
  #listener() {
    return {
      places: () => this.#places(),
      onFrame: (frame, kind) => this.#frame(frame, kind),
      onLost: (reason, wasLive) => this.#lost(reason, wasLive),
      onFinal: (error) => this.#stop(error)
    }
  }

  /** What the page tells. @param {AbortSignal | undefined} signal */
  #watch(signal) {
    const close = () => this.close()
    const wake = () => {
      if (!visible()) return
      this.#puller.wake()
      this.#hints?.wake()
      this.#outbox.wake()
    }
    const hide = () => this.#confirmer.now()
    const world = globalThis
    world.addEventListener?.('online', wake)
    world.addEventListener?.('pagehide', hide)
    world.document?.addEventListener('visibilitychange', wake)
    signal?.addEventListener('abort', close)
    this.closed.addEventListener('abort', () => {
      world.removeEventListener?.('online', wake)
      world.removeEventListener?.('pagehide', hide)
      world.document?.removeEventListener('visibilitychange', wake)
      signal?.removeEventListener('abort', close)
    })
    if (signal?.aborted) close()
  }

  /** @param {import('./outbox.js').Entry} entry @param {any} results @param {PushError | undefined} error */
  #sent({ id }, results, error) {
    this.emit('sent', { id, results, error })
  }

  #places() {
    const following = this.#puller.following
    return Object.fromEntries(following.names.map((name) => [name, following.cursor(name) ?? 'head']))
  }

  /** @param {import('./types.js').Frame} frame @param {string} kind */
  #frame(frame, kind) {
    if (frame.type === 'hint') this.#puller.hinted(frame)
    else if (frame.type === 'hello') {
      this.#say({ state: 'live', transport: kind })
      this.#puller.live(frame)
    } else if (frame.type === 'subscribed') this.#puller.learn(frame.heads ?? {})
    else if (frame.type === 'read') this.#notice(frame)
    for (const { channel, code } of frame.denied ?? []) {
      // Of more channels than a session follows, some are pulled without hints.
      if (code !== 'too_large') this.#drop(channel, code, 'The server refuses this channel')
    }
    this.emit('frame', frame)
  }

  /** @param {string} reason @param {boolean} wasLive */
  #lost(reason, wasLive) {
    if (wasLive) this.#say({ state: 'connecting', reason })
    else this.#puller.poll()
  }

  /** @param {PushError | undefined} error */
  #trouble(error) {
    if (error) this.#say({ state: 'offline', reason: error.message })
    else if (this.#state.state === 'offline' || this.#state.state === 'connecting') {
      this.#say({ state: 'fallback', transport: 'poll' })
    }
  }

  /** @param {string} name @param {import('./state.js').Outcome} outcome */
  #take(name, outcome) {
    const channel = this.#channels.get(name)
    /** @param {'message' | 'reset'} event */
    const handlers = (event) => () => [...(channel?.handlers(event) ?? []), ...this.own.handlers(event)]
    if (outcome.kind === 'messages') return this.#delivery.run(name, outcome.messages, handlers('message'))
    if (outcome.kind === 'reset') {
      const reset = { ...outcome.reset, channel: name, cursor: outcome.reset.resume }
      if (!handlers('reset')().length) this.#failed(new PushError(reset.code, reset.detail, { members: reset }), name)
      return this.#delivery.run(name, [reset], handlers('reset'))
    }
    if (outcome.kind === 'dropped') this.#drop(name, outcome.code, outcome.detail)
    return undefined
  }

  /** @param {string} name @param {string} code @param {string} detail */
  #drop(name, code, detail) {
    this.#puller.unfollow(name)
    const dropped = { channel: name, code, detail }
    const told = this.#channels.get(name)?.emit('dropped', dropped)
    if (!told && !this.own.emit('dropped', dropped)) this.#failed(new PushError(code, detail), name)
  }

  /** @param {import('./types.js').Frame} notice */
  #notice({ type, channel = '', cursor = '' }) {
    if (type !== 'read') return
    this.#channels.get(channel)?.emit('read', { channel, cursor })
    this.emit('read', { channel, cursor })
  }

  /** @param {Record<string, string>} cursors @param {boolean} last */
  async #ack(cursors, last) {
    if (!last && this.#hints?.send({ type: 'ack', cursors })) return
    await this.#http.ask('POST', '/v1/ack', { cursors, device: this.device }, { keepalive: last })
  }

  /** Nothing changes by going on. @param {PushError} error */
  #stop(error) {
    if (this.closed.aborted) return
    this.#failed(error)
    this.#say({ state: 'closed', reason: error.message })
    this.#close.abort()
  }

  /** @param {{state: State, transport?: string, reason?: string}} state */
  #say(state) {
    const { state: was, transport } = this.#state
    if (was === 'closed' || (was === state.state && transport === state.transport)) return
    this.#state = state
    this.emit('state', state)
  }

  /** Nothing is silent: without a listener it is an uncaught error of the page. @param {unknown} error @param {string} [channel] */
  #failed(error, channel) {
    if (!this.emit('error', { error, channel })) report(error)
  }
}

/** Pages that nobody sees hold no polls. */
function visible() {
  return globalThis.document?.visibilityState !== 'hidden'
}

/** @param {import('./env.js').Env} env */
function randomId(env) {
  const bytes = globalThis.crypto?.getRandomValues(new Uint8Array(12))
    ?? Array.from({ length: 12 }, () => Math.floor(env.random() * 256))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** @param {Storage | undefined} storage @param {string} key @param {() => string} make */
function kept(storage, key, make) {
  const value = storage?.getItem(key) ?? make()
  try {
    storage?.setItem(key, value)
  } catch {
    // Full or forbidden: then it lives as long as the page.
  }
  return value
}

