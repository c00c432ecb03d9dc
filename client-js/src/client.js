import { Channel } from './channel.js'
import { isBeyond } from './cursors.js'
import { Emitter, report } from './emitter.js'
import { Engine } from './engine.js'
import { environment, sleep } from './env.js'
import { Inbox } from './inbox.js'
import { kept, randomId, watchPage } from './page.js'
import { Presence } from './presence.js'

/**
 * The client of one server, for one user: what applications hold in their hands.
 *
 * @extends {Emitter<import('./options.js').ClientEvents>}
 */
export class Client extends Emitter {
  #close = new AbortController()
  #env
  #engine
  /** @type {Map<string, Channel>} */
  #channels = new Map()
  /** @type {Inbox | undefined} */
  #inbox
  /** @type {Map<string, string>} read marks that the server was told */
  #told = new Map()

  /** The user's own channels (`user:ID…`, groups, `all`), whichever there are. @type {Channel} */
  own

  /** @param {string} base @param {import('./options.js').Options} options */
  constructor(base, options) {
    super()
    const env = (this.#env = environment({
      ...options.env,
      ...(options.fetch && { fetch: options.fetch }),
      ...('WebSocket' in options && { WebSocket: options.WebSocket })
    }))
    this.device = options.device ?? kept(env.storage, `pushd:${base}:device`, () => randomId(env))
    this.own = new Channel(this, '*')
    this.#engine = new Engine(base, options, env, {
      closed: this.closed,
      end: () => this.#close.abort(),
      device: this.device,
      own: this.own,
      known: (name) => this.#channels.get(name),
      emit: (event, value) => this.emit(event, value),
      failed: (error, channel) => this.failed(error, channel)
    })
    watchPage(this.closed, { wake: () => this.#engine.wake(), hide: () => this.#engine.confirm() })
    if (options.signal?.aborted) this.close()
    options.signal?.addEventListener('abort', () => this.close(), { signal: this.closed })
  }

  /** Aborts when the client is closed. */
  get closed() {
    return this.#close.signal
  }

  get state() {
    return this.#engine.state
  }

  /** Where each followed channel is; undefined while only the server knows. */
  get cursors() {
    return this.#engine.cursors
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
   * @param {import('./options.js').PublishOptions} [options]
   */
  async publish(to, data, { id = randomId(this.#env), type, signal } = {}) {
    await this.#engine.ready
    const body = { to, message: { data, id, ...(type && { type }) } }
    return this.#engine.outbox.add({ id, at: this.#env.wall(), body }, signal)
  }

  /** How many messages wait to be published. */
  get unsent() {
    return this.#engine.outbox.size
  }

  /** The user has read `channel` up to `cursor`. @param {string} channel @param {string} cursor */
  async read(channel, cursor) {
    // Marks only rise: what was told once needs no second request.
    if (!isBeyond(cursor, this.#told.get(channel))) return
    this.#told.set(channel, cursor)
    const path = `/v1/channels/${encodeURIComponent(channel)}/read`
    try {
      await this.#engine.http.ask('POST', path, { cursor, device: this.device })
    } catch (error) {
      this.#told.delete(channel)
      throw error
    }
    // The others are told by the server, this one knows.
    this.#engine.wasRead(channel, cursor)
  }

  /**
   * @param {string} channel
   * @param {{before?: number | string, limit?: number, signal?: AbortSignal}} [options]
   */
  async history(channel, { before, limit = 50, signal } = {}) {
    const query = before === undefined ? `last=${limit}` : `before=${before}&limit=${limit}`
    const path = `/v1/channels/${encodeURIComponent(channel)}/messages?${query}`
    const page = await this.#engine.http.ask('GET', path, undefined, { signal })
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
    const answer = await this.#engine.http.ask('POST', '/v1/call', { name, data, id }, { signal, waitMs: 60_000 })
    return answer?.data
  }

  /** What is unread in the user's own channels, kept current. */
  inbox() {
    this.#inbox ??= new Inbox(this)
    this.#inbox.load().catch((error) => this.failed(error))
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
    return this.#engine.http.ask(method, path, body, options)
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
    this.#engine.confirm().finally(() => this.#close.abort())
    this.#engine.say({ state: 'closed' })
  }

  /** Somebody listens to a channel. @param {Channel} channel */
  follow(channel) {
    if (channel !== this.own) this.#engine.follow(channel)
  }

  /** Nobody does any more. @param {Channel} channel */
  unfollow(channel) {
    if (channel !== this.own) this.#engine.unfollow(channel.name)
  }

  /** Nothing is silent: without a listener it is an uncaught error of the page. @param {unknown} error @param {string} [channel] */
  failed(error, channel) {
    if (!this.emit('error', { error, channel })) report(error)
  }
}
